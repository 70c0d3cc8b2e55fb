"""Plain prompts out of a file, a folder or a data set: word for word, each once."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from reward_models.errors import ArtifactError
from reward_models.preference_files import GivenRow
from rrm.tasks.document import Document
from rrm.texts.columns import row_text, text_column
from rrm.texts.ids import document_id
from rrm.texts.reading import LARGEST
from rrm.texts.rejection import Rejection
from rrm.texts.rows import open_rows
from rrm.texts.text_report import TextReport, TextTally
from rrm.texts.words import clean, decode, one_line

LONGEST_TITLE = 60
TOO_LONG = "longer than the model reads"
_LINE_ENDS = re.compile("\r\n|[\r\n]")
_TEXT_SUFFIXES = (".txt", ".text", "")


def read_prompts(
    source: Path | str,
    *,
    fits: Callable[[str], bool],
    column: str | None = None,
    encoding: str | None = None,
) -> tuple[tuple[Document, ...], TextReport]:
    """The prompts of a source as documents without parts, with an account of what was read.

    `fits` says whether a model can read a prompt; the others are counted.
    A text file (.txt or no suffix) has one prompt a line; a data set has one a row, in `column` (none: `prompt` where
    there is one, else as `columns.text_column` finds it). Raises ArtifactError if nothing of it can be used.
    """
    tally = TextTally()
    found: dict[str, Document] = {}
    for name, given in _given(source, column, encoding, tally):
        if isinstance(given, Rejection):
            tally.reject(name, given.kind, given.reason)
        elif not given.strip():
            tally.reject(name, "empty", "is empty; leave it out")
        elif not fits(given):
            tally.reject(name, TOO_LONG, "is longer than what the model reads beside its answer; shorten it")
        elif given in found:
            tally.reject(name, "said before", f"says what {found[given].title!r} says; it is kept once")
        else:
            found[given] = prompt_document(given)
            tally.accept(len(given.split()))
    report = tally.report(str(source))
    if not found:
        raise ArtifactError(f"{source} holds no prompt that can be used; {one_line(report.text())}")
    return tuple(found.values()), report


def prompt_document(prompt: str) -> Document:
    """A prompt as a document, named by what it says."""
    line = one_line(prompt)
    title = line if len(line) <= LONGEST_TITLE else f"{line[: LONGEST_TITLE - 1]}…"
    return Document(id=document_id("prompt", prompt), title=title, text=prompt)


def _given(
    source: Path | str, column: str | None, encoding: str | None, tally: TextTally
) -> Iterator[tuple[str, str | Rejection]]:
    path = Path(source)
    if path.is_file() and path.suffix.lower() in _TEXT_SUFFIXES:
        try:
            lines = _LINE_ENDS.split(decode(path.read_bytes(), encoding))
        except Rejection as rejection:
            yield path.name, rejection
            return
        places = ((f"{path.name}, line {number}", line) for number, line in enumerate(lines, 1) if line.strip())
        yield from ((place, _word_for_word(line)) for place, line in places)
        return
    rows = list(open_rows(source, split=None, encoding=encoding))
    if column is None and any("prompt" in row.values for row in rows):
        column = "prompt"
    chosen = text_column(rows, column, str(source))
    tally.columns.append(chosen)
    yield from ((f"{row.file}, row {row.line}", _prompt(row, chosen)) for row in rows)


def _prompt(row: GivenRow, column: str) -> str | Rejection:
    """The text of a cell; of a chat with one message, what the user says."""
    value = row.values.get(column)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and value[0].get("role") == "user":
        row = row._replace(values={column: value[0].get("content")})
    try:
        return _word_for_word(row_text(row, column, LARGEST))
    except Rejection as rejection:
        return rejection


def _word_for_word(text: str) -> str | Rejection:
    try:
        # Only for what it refuses, which no database keeps: a prompt stays as it is.
        clean(text)
    except Rejection as rejection:
        return rejection
    return text
