"""Judgements that were given elsewhere, as part of a run: prompts, completions, comparisons, raters, answers.

Every answer goes through the queue like one from the page, so that it is chained, traced and counted like any other.
Its id follows from what it says: to import the same again adds nothing, and an import that was killed goes on.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from reward_models.preference_columns import PreferenceColumns
from reward_models.preference_data import PreferenceData, read_preferences
from reward_models.read_report import ReadReport
from rrm.errors import RunError
from rrm.imported_rows import ImportedRow, RowRejected, imported_row, person_of
from rrm.judging.imported import REASON
from rrm.judging.queue import answer_many
from rrm.progress import AbstractProgress
from rrm.store import (
    Answer,
    Choice,
    Purpose,
    Rater,
    Run,
    Stage,
    StoredComparison,
    StoredCompletion,
    StoredDocument,
    documents,
    put_comparisons,
    put_completions,
    put_documents,
    put_rater,
)
from rrm.store.canonical import derived_id
from rrm.store.leases import LEASE_SECONDS, lease
from rrm.store.times import timestamp
from rrm.store.transaction import rows
from rrm.store_documents import completion_id, stored_document
from rrm.tasks.own_text import OwnText
from rrm.tasks.task import AbstractTask, Split
from rrm.texts.prompts import prompt_document
from rrm.texts.splits import split_of

BATCH = 200
"""Rows of one transaction: the most that a kill can cost."""
HELD_OUT = 0.2
"""Share of the groups of imported prompts whose judgements are held out, where the task does not say."""
_SHARES = (1.0 - HELD_OUT, HELD_OUT / 2, HELD_OUT / 2)
_OTHER = {Choice.FIRST: Choice.SECOND, Choice.SECOND: Choice.FIRST, Choice.TIE: Choice.TIE}


@dataclass(frozen=True)
class ImportReport:
    """What came into a run, and what did not."""

    read: ReadReport
    """The rows of the source; those that cannot be read are named there."""
    judgements: int
    """Answers that are in the run now and were not before."""
    known: int
    """Answers that were there already."""
    refused: tuple[tuple[str, int], ...]
    """Rows that were read and are no answers of a rater: (why, rows)."""
    prompts: int
    comparisons: int
    raters: int
    train: int
    """Of all answers of the source, those that reward models are fitted to."""
    validation: int
    """Those that are held out."""

    def text(self) -> str:
        """For a person."""
        lines = [
            str(self.read),
            f"{self.judgements} judgements imported ({self.known} were there already): {self.comparisons} comparisons "
            f"of {self.prompts} prompts by {self.raters} raters; {self.train} to learn from, {self.validation} held "
            "out.",
        ]
        return "\n".join([*lines, *(f"  {count} rows left out: {why}" for why, count in self.refused)])

    def to_json(self) -> dict[str, object]:
        """For a program."""
        return asdict(self)


def import_preferences(
    run: Run,
    task: AbstractTask,
    source: str | Path,
    *,
    now: str,
    progress: AbstractProgress,
    level: int = 0,
    columns: PreferenceColumns | None = None,
    split: str | None = None,
    encoding: str | None = None,
) -> ImportReport:
    """Read preference data of any format that `read_preferences` takes into round 0 of a level.

    Several raters of one pair stay apart; one that judged it twice has a repeat, which is never learned from.
    Judgements of a prompt of the task go where the task has it (training or validation); of others, a fifth is held
    out, whole groups at a time. Raises ArtifactError where the source cannot be read, RunError for a level that the
    run does not have.
    """
    _check_level(task, level)
    found = read_preferences(
        source, generator=torch.Generator().manual_seed(run.seed), columns=columns, split=split, encoding=encoding
    )
    return import_rows(run, task, found, now=now, progress=progress, level=level)


def import_rows(
    run: Run, task: AbstractTask, found: PreferenceData, *, now: str, progress: AbstractProgress, level: int = 0
) -> ImportReport:
    """Preference data that was read already; as `import_preferences`."""
    _check_level(task, level)
    importer = _Importer(run, task, level=level, time=timestamp(now))
    progress.start("import", len(found.dataset))
    for batch in found.dataset.iter(batch_size=BATCH):
        columns = list(batch)
        given = [dict(zip(columns, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        with run.transaction():
            importer.put(given)
        progress.advance(len(given))
    progress.finish()
    return importer.report(found.report)


class _Importer:
    """Rows on their way into a run."""

    def __init__(self, run: Run, task: AbstractTask, *, level: int, time: str) -> None:
        self._run, self._level, self._time = run, level, time
        self._places = _Places(run, task, level=level)
        self._comparisons, self._judgements, self._raters = (
            {str(row["id"]) for row in rows(run.database, f"SELECT id FROM {table}")}
            for table in ("comparisons", "judgements", "raters")
        )
        self._votes: Counter[tuple[str, str | None]] = Counter()
        self._refused: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._seen: dict[str, set[str]] = {"prompts": set(), "comparisons": set(), "raters": set()}

    def put(self, batch: Sequence[Mapping[str, object]]) -> None:
        """One batch, inside a transaction."""
        for row in batch:
            try:
                given = imported_row(row)
                for _ in range(given.votes):
                    self._put(given)
            except RowRejected as rejection:
                self._refused[str(rejection)] += 1

    def report(self, read: ReadReport) -> ImportReport:
        """What came of all batches."""
        return ImportReport(
            read=read,
            judgements=self._counts["new"],
            known=self._counts["known"],
            refused=tuple(self._refused.most_common()),
            prompts=len(self._seen["prompts"]),
            comparisons=len(self._seen["comparisons"]),
            raters=len(self._seen["raters"]),
            train=self._counts[Purpose.TRAIN.value],
            validation=self._counts[Purpose.VALIDATION.value],
        )

    def _put(self, given: ImportedRow) -> None:
        document = self._places.document(given)
        purpose = Purpose.TRAIN if document.split == Split.TRAIN.value else Purpose.VALIDATION
        comparison, first = self._comparison(given, document, purpose)
        pair = (comparison, given.rater)
        repeat = 0 if given.rater is None else self._votes[pair]
        if repeat > 1:
            raise RowRejected("its rater judged the same pair twice before, and a repeat is kept once")
        rater = person_of(given.rater, self._votes[pair])
        choice = given.choice if given.first == first else _OTHER[given.choice]
        self._votes[pair] += 1
        self._answer(comparison, rater, choice, given, repeat=repeat)
        self._counts[purpose.value] += 1
        for name, value in (("prompts", document.id), ("comparisons", comparison), ("raters", rater.id)):
            self._seen[name].add(value)

    def _comparison(self, given: ImportedRow, document: StoredDocument, purpose: Purpose) -> tuple[str, str]:
        """The id of the comparison, stored if it was not, and its first text: an order that no preference decides."""
        numbers = {_number(text): text for text in (given.first, given.second)}
        ids = {number: completion_id(document.id, 0, REASON, number) for number in sorted(numbers)}
        one, other = ids.values()
        identifier = f"{purpose.value}/{one}+{other.removeprefix(document.id + '/')}"
        if identifier not in self._comparisons:
            put_documents(self._run, [document])
            put_completions(
                self._run,
                [
                    StoredCompletion(ids[number], document.id, document.level, 0, REASON, numbers[number])
                    for number in ids
                ],
            )
            put_comparisons(
                self._run,
                [
                    StoredComparison(
                        id=identifier,
                        level=document.level,
                        round=0,
                        purpose=purpose,
                        document_id=document.id,
                        prompt=self._places.prompt(given),
                        first_completion_id=one,
                        second_completion_id=other,
                        reason=REASON,
                        position=len(self._comparisons),
                    )
                ],
            )
            self._comparisons.add(identifier)
        return identifier, numbers[min(numbers)]

    def _answer(self, comparison: str, rater: Rater, choice: Choice, given: ImportedRow, *, repeat: int) -> None:
        identifier = derived_id("imported", comparison, rater.id, repeat)
        if identifier in self._judgements:
            self._counts["known"] += 1
            return
        if rater.id not in self._raters:
            put_rater(self._run, rater)
            self._raters.add(rater.id)
        found = lease(
            self._run, [comparison], rater_id=rater.id, repeat=repeat, time=self._time, lease_seconds=LEASE_SECONDS
        )
        answer = Answer(
            found[0].lease_id,
            Stage.ALONE,
            choice,
            comment=given.comment,
            details={REASON: dict(given.kept)} if given.kept else {},
            judgement_id=identifier,
        )
        answer_many(self._run, [answer], now=self._time)
        self._judgements.add(identifier)
        self._counts["new"] += 1


class _Places:
    """Which document a prompt is, and where it belongs."""

    def __init__(self, run: Run, task: AbstractTask, *, level: int) -> None:
        self._task, self._level, self._seed = task, level, run.seed
        self._own = _held(task, level=level) if isinstance(task, OwnText) else {}
        self._others = {each.id: each for each in documents(run) if each.task == REASON}

    def document(self, given: ImportedRow) -> StoredDocument:
        """The task's document with this prompt, else one of its own; a group is never divided."""
        if given.prompt in self._own:
            return self._own[given.prompt][0]
        made = prompt_document(given.prompt)
        identifier = f"{REASON}-{self._level}-{made.id}"
        if identifier not in self._others:
            self._others[identifier] = StoredDocument(
                id=identifier,
                task=REASON,
                level=self._level,
                split=split_of_group(given.group, seed=self._seed).value,
                position=len(self._others),
                title=made.title,
                text=given.prompt,
            )
        return self._others[identifier]

    def prompt(self, given: ImportedRow) -> str:
        """What both completions answer, in the words that agents read: within the template, where there is one."""
        return self._own[given.prompt][1] if given.prompt in self._own else given.prompt


def _held(task: OwnText, *, level: int) -> dict[str, tuple[StoredDocument, str]]:
    """The task's documents of a level with their prompts, by their texts and by their prompts.

    Not those for tests, which nothing is fitted to.
    """
    found: dict[str, tuple[StoredDocument, str]] = {}
    for split in (Split.TRAIN, Split.VALIDATION):
        for place in range(task.size(split=split, level=level)):
            document = task.document(split=split, level=level, index=place)
            stored = stored_document(task, document, split=split, level=level, place=place)
            prompt = task.prompt(document)
            found |= {document.text: (stored, prompt), prompt: (stored, prompt)}
    return found


def _check_level(task: AbstractTask, level: int) -> None:
    """Reward models of a level that is never played would never learn from it."""
    if not 0 <= level < task.levels:
        raise RunError(
            f"This run has the levels 0 to {task.levels - 1}, so nothing can be imported into level {level}."
        )


def split_of_group(group: str, *, seed: int) -> Split:
    """Whether judgements of a group are learned from or held out."""
    return Split.TRAIN if split_of(group, seed=seed, shares=_SHARES) is Split.TRAIN else Split.VALIDATION


def _number(text: str) -> int:
    """A number for a completion that only its text decides."""
    return int(hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12], 16)
