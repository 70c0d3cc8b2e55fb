"""What reading preference data found: how many rows, which could not be used and why, what is odd about the rest.

Rows read and rows rejected are the rows given, always. Odd rows (repeated, contradictory, tied) are counted and kept.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy

from reward_models.preference_columns import BadCell, ParsedRow, PreferenceColumns, Row

NAMED = 20
"""So many bad rows are named; all are counted."""
ONE_SIDED = 20
"""From so many judged rows on it is odd that one place always wins: by chance, once in half a million."""


@dataclass(frozen=True)
class BadRow:
    """A row that could not be used."""

    file: str
    """Where it stands, seen from the source."""
    line: int
    """Line of the file (a table of Parquet, or a data set: the row), from 1."""
    column: str | None
    """What is wrong in it; None for the row as a whole."""
    reason: str
    """What came, and what was expected."""

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}{f', column {self.column}' if self.column else ''}: {self.reason}"


@dataclass(frozen=True)
class FileCount:
    """Rows of one file."""

    file: str
    """Its name, seen from the source."""
    given: int
    """Rows in it."""
    read: int
    """Rows that can be used."""


@dataclass(frozen=True, kw_only=True)
class ReadReport:
    """The account of a reading; plain numbers and texts, ready for JSON through `dataclasses.asdict`."""

    given: int
    """Rows in the source: `read` and `rejected` together. Of a row with votes, each vote is a row here."""
    read: int
    """Rows in the data set."""
    rejected: int
    """Rows that could not be used."""
    rejected_by_column: tuple[tuple[str | None, int], ...]
    """(column, rejected rows), the most frequent first; None counts rows that are broken as a whole."""
    bad_rows: tuple[BadRow, ...]
    """The first of the rejected rows."""
    ties: int
    """Rows whose label is 0.5."""
    implicit_prompts: int
    """Rows whose prompt is what both completions begin with."""
    repeated_prompts: int
    """Rows with a prompt text with which both completions begin as well; it is kept in both places."""
    prompts_as_completions: int
    """Rows whose prompt is one of the completions: are the columns what their names say?"""
    contradicting_labels: int
    """Rows whose label, which is not read beside chosen and rejected, would say that the rejected one is better."""
    first_better: int
    """Rows of first and second, or of votes, whose first is better."""
    second_better: int
    """Rows of first and second, or of votes, whose second is better."""
    duplicates: int
    """Rows that say what an earlier row says: same prompt, completions, answer and rater."""
    contradictory_pairs: int
    """Pairs of completions of which some rows prefer one, and some the other."""
    files: tuple[FileCount, ...]
    """Each file that was read."""
    ignored_files: tuple[str, ...]
    """Files of the source folder that are not of a format that is read."""
    ignored_columns: tuple[str, ...]
    """Columns, and keys of messages, that nobody asked for."""

    def __str__(self) -> str:
        lines = [
            f"{self.read} of {self.given} rows read, {self.rejected} rejected; {self.ties} ties, {self.duplicates} "
            f"duplicates, {self.contradictory_pairs} contradictory pairs, {self.implicit_prompts} implicit prompts"
        ]
        text = "\n".join([*lines, *(f"  {one}" for one in (*self.oddities(), *self.bad_rows))])
        # Names of columns can hold what no terminal and no file can: half a surrogate pair.
        return text.encode(errors="backslashreplace").decode()

    def oddities(self) -> tuple[str, ...]:
        """A sentence about each thing that columns which were exchanged or misnamed would look like."""
        found = []
        if self.contradicting_labels:
            found.append(
                f"in {self.contradicting_labels} rows the label, which is not read beside chosen and rejected, would "
                "say that the rejected one is better; if it means that, name the two as first and second"
            )
        if self.prompts_as_completions:
            found.append(
                f"in {self.prompts_as_completions} rows the prompt is one of the completions; check the columns"
            )
        if self.first_better + self.second_better >= ONE_SIDED and 0 in (self.first_better, self.second_better):
            side = "first" if self.first_better else "second"
            found.append(f"the {side} is better wherever one is; whoever reads both in order could learn just that")
        return tuple(found)


class ReadTally:
    """Counts while rows stream by; what it keeps of a row is 17 bytes."""

    def __init__(self) -> None:
        self._given: Counter[str] = Counter()
        self._read: Counter[str] = Counter()
        self._rejected: Counter[str | None] = Counter()
        self._bad: list[BadRow] = []
        self._counts: Counter[str] = Counter()
        self._ignored: set[str] = set()
        self._pairs, self._answers, self._sides = array("Q"), array("Q"), array("b")

    def reject(self, file: str, line: int, cell: BadCell) -> None:
        """Count a row that cannot be used, and name it if it is among the first."""
        self._given[file] += 1
        self._rejected[cell.column] += 1
        if len(self._bad) < NAMED:
            self._bad.append(BadRow(file=file, line=line, column=cell.column, reason=cell.reason))

    def accept(self, file: str, raw: Row, row: ParsedRow, columns: PreferenceColumns) -> None:
        """Count a row that can be used, and was read from these columns."""
        self._given[file] += 1
        self._read[file] += 1
        self._ignored.update(_unknown(raw, columns.names(ranked=row.ranked)))
        self._counts["contradicted"] += row.contradicted
        self._counts["prompt"] += row.prompt != "" and row.prompt in (row.first, row.second)
        if not row.ranked:
            self._counts["first"] += row.label > 0.5
            self._counts["second"] += row.label < 0.5
        self._counts["ties"] += row.label == 0.5
        self._counts["implicit"] += row.implicit
        self._counts["repeated"] += _repeats(row)
        # Which completion comes first means nothing here: the two stand in the order of their digests.
        sides = [_digest(repr(side)) for side in (row.first, row.second)]
        lead = row.label if sides[0] < sides[1] else 1.0 - row.label
        pair = _digest(f"{row.prompt!r} {min(sides)} {max(sides)}")
        self._pairs.append(pair)
        self._answers.append(_digest(f"{pair} {lead} {row.rater!r}"))
        self._sides.append((lead > 0.5) - (lead < 0.5))

    def report(self, files: Sequence[str], ignored_files: Sequence[str]) -> ReadReport:
        """The account so far; of the files that were read, those without a row are named too."""
        read = sum(self._read.values())
        return ReadReport(
            given=sum(self._given.values()),
            read=read,
            rejected=sum(self._rejected.values()),
            rejected_by_column=tuple(self._rejected.most_common()),
            bad_rows=tuple(self._bad),
            ties=self._counts["ties"],
            implicit_prompts=self._counts["implicit"],
            repeated_prompts=self._counts["repeated"],
            prompts_as_completions=self._counts["prompt"],
            contradicting_labels=self._counts["contradicted"],
            first_better=self._counts["first"],
            second_better=self._counts["second"],
            duplicates=read - len(numpy.unique(numpy.asarray(self._answers, dtype=numpy.uint64))),
            contradictory_pairs=self._contradictory(),
            files=tuple(
                FileCount(file, self._given[file], self._read[file]) for file in dict.fromkeys([*files, *self._given])
            ),
            ignored_files=tuple(ignored_files),
            ignored_columns=tuple(sorted(self._ignored)),
        )

    def _contradictory(self) -> int:
        pairs, sides = numpy.asarray(self._pairs, dtype=numpy.uint64), numpy.asarray(self._sides)
        return len(numpy.intersect1d(pairs[sides > 0], pairs[sides < 0]))


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _repeats(row: ParsedRow) -> bool:
    prompt, *sides = (row.prompt, row.first, row.second)
    if not isinstance(prompt, str) or prompt == "" or row.implicit:
        return False
    return all(isinstance(side, str) and side.startswith(prompt) for side in sides)


def _unknown(raw: Row, known: frozenset[str]) -> set[str]:
    columns = {str(name) for name in raw if name not in known}
    keys = {
        f"{name}[].{key}"
        for name, value in raw.items()
        if name in known and isinstance(value, list)
        for message in value
        if isinstance(message, Mapping)
        for key in message
        if key not in ("role", "content")
    }
    return columns | keys
