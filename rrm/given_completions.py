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
WRITER = "given"
"""How the agent id of a given completion begins; who wrote it follows."""


@dataclass(frozen=True)
class GivenReport:
    """What became of the rows: stored and rejected together are those given."""

    given: int
    stored: int
    rejected: tuple[tuple[str, int], ...]
    """(why, rows), the most frequent first."""
    levels: tuple[tuple[int, int], ...]
    """(level, completions)."""

    def text(self) -> str:
        """For a person."""
        where = ", ".join(f"{count} at level {level}" for level, count in self.levels) or "none"
        lines = [f"{self.stored} of {self.given} completions are in the run now ({where})."]
        return "\n".join([*lines, *(f"  {count} left out: {why}" for why, count in self.rejected)])


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
    refused: Counter[str] = Counter()
    levels: Counter[int] = Counter()
    with run.transaction():
        for row in rows:
            found = _understood(task, row)
            if isinstance(found, str):
                refused[found] += 1
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
        rejected=tuple(refused.most_common()),
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
    document = task.named(str(name))
    if document is None:
        return "what it is about is no document of this run, or more than one"
    by = row.values.get("by")
    writer = f"{WRITER}-{by}" if isinstance(by, str) and by else WRITER
    if any("\ud800" <= character <= "\udfff" for character in text + writer):
        return "it holds half a surrogate pair, which is no character"
    return document, text, writer


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
