"""Completions that are given, not sampled: what people or other models wrote, beside what the run's agents do."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from reward_models.errors import ArtifactError
from reward_models.preference_files import GivenRow
from rrm.errors import RunError
from rrm.store.run import Run
from rrm.store.steps import steps
from rrm.store_documents import store_completions
from rrm.tasks.document import Document
from rrm.tasks.own_text import OwnText
from rrm.tasks.task import AbstractTask
from rrm.texts.rows import open_rows

NAMES = ("document", "prompt", "title", "id")
"""Columns that say what a completion is about, the first that a row has."""
SHOWN = 5
"""Rows that are named for each reason why they were left out."""
WRITER = "given"
"""How the agent id of a given completion begins; who wrote it follows."""


@dataclass(frozen=True)
class GivenReport:
    """What became of the rows: stored and rejected together are those given."""

    given: int
    stored: int
    rejected: tuple[tuple[str, tuple[str, ...]], ...]
    """(why, which rows), the most frequent first."""
    levels: tuple[tuple[int, int], ...]
    """(level, completions)."""

    def text(self) -> str:
        """For a person."""
        where = ", ".join(f"{count} at level {level}" for level, count in self.levels) or "none"
        lines = [f"{self.stored} of {self.given} completions are in the run now ({where})."]
        return "\n".join([*lines, *(f"  {_counted(which)} left out: {why}" for why, which in self.rejected)])


def give_completions(run: Run, task: AbstractTask, source: str | Path, *, round: int = 0) -> GivenReport:
    """Put completions of a data set beside those that agents will write for the same documents.

    A row has `completion`, optionally `by` (who wrote it), and says what it is about in one of `document`, `prompt`,
    `title` or `id`: the id of a document of the run, its title where only one has it, or its whole text. Comparisons
    with them are chosen when the round is sampled. Raises ArtifactError where the source cannot be read, or has no such
    rows, RunError for a task without documents of its own, and where the comparisons of the round are chosen already.
    """
    if not isinstance(task, OwnText):
        raise RunError(f"Completions can be given for your own text; this run is on the task {task.name}.")
    rows = list(open_rows(source, split=None, encoding=None))
    if not any("completion" in row.values for row in rows):
        columns = ", ".join(dict.fromkeys(name for row in rows for name in row.values)) or "none"
        raise ArtifactError(f"{source} has the columns {columns}; expected completion, and one of {', '.join(NAMES)}")
    chosen = {(step.level, step.round) for step in steps(run) if step.name == "select"}
    refused: dict[str, list[str]] = {}
    levels: Counter[int] = Counter()
    with run.transaction():
        for row in rows:
            found = _understood(task, row)
            if isinstance(found, str):
                refused.setdefault(found, []).append(f"{row.file}, line {row.line}" if row.file else f"line {row.line}")
                continue
            document, text, writer = found
            if (document.height, round) in chosen:
                raise RunError(
                    f"The comparisons of level {document.height}, round {round} are chosen already, so nothing can be "
                    "added to them; give completions before `rrm sample`, or for a later round."
                )
            _put(run, task, document, text, writer, round=round)
            levels[document.height] += 1
    return GivenReport(
        given=len(rows),
        stored=sum(levels.values()),
        rejected=tuple((why, tuple(refused[why])) for why in sorted(refused, key=lambda why: -len(refused[why]))),
        levels=tuple(sorted(levels.items())),
    )


def _understood(task: OwnText, row: GivenRow) -> tuple[Document, str, str] | str:
    """Document, text and writer of a row, or why it cannot be used."""
    if row.flaw is not None:
        return row.flaw
    text = row.values.get("completion")
    if not isinstance(text, str) or not text.strip():
        return "it has no text as its completion"
    name = next((row.values[column] for column in NAMES if isinstance(row.values.get(column), str)), None)
    if name is None:
        return f"it has none of the columns {', '.join(NAMES)} that say what it is about"
    documents = task.named(str(name))
    if len(documents) != 1:
        return (
            f"its title or words are those of {len(documents)} documents of this run; name one by its id"
            if documents
            else "what it is about is no document of this run"
        )
    by = row.values.get("by")
    writer = f"{WRITER}-{by}" if isinstance(by, str) and by else WRITER
    if any("\ud800" <= character <= "\udfff" for character in text + writer):
        return "it holds half a surrogate pair, which is no character"
    return documents[0], text, writer


def _counted(which: tuple[str, ...]) -> str:
    """How many rows, and the first of them by their places."""
    more = ", ..." if len(which) > SHOWN else ""
    return f"{len(which)} ({', '.join(which[:SHOWN])}{more})"


def _put(run: Run, task: OwnText, document: Document, text: str, writer: str, *, round: int) -> None:
    place = task.place(document.id)
    assert place is not None  # it was found in the task
    split, level, index = place
    number = int(hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12], 16)
    store_completions(
        run,
        task,
        [document],
        [[text]],
        split=split,
        level=level,
        round=round,
        agent=writer,
        places=[index],
        numbered_from=number,
    )
