"""Which column of a data set holds the texts, and the text of a row."""

from collections.abc import Sequence

from reward_models.errors import ArtifactError
from reward_models.preference_files import GivenRow
from rrm.texts.rejection import Rejection
from rrm.texts.words import shown

USUAL = ("text", "document", "content", "article", "story", "body")
"""Names that a text column usually has, the most usual first; letters of either size."""


def text_column(rows: Sequence[GivenRow], wanted: str | None, source: str) -> str:
    """The column that was named, else the one with a usual name, else the only one that holds text.

    Raises ArtifactError, which lists the columns, if there is no such column or more than one.
    """
    columns = list(dict.fromkeys(str(column) for row in rows for column in row.values))
    if not columns:
        flaw = next((f": {row.file}, line {row.line} {row.flaw}" for row in rows if row.flaw is not None), "")
        raise ArtifactError(f"{source} holds no row that can be read{flaw or ' (it is empty)'}; give another")
    listed = ", ".join(repr(shown(column)) for column in columns)
    if wanted is not None:
        if wanted in columns:
            return wanted
        raise ArtifactError(f"{source} has no column {wanted!r}; it has {listed}")
    texts = [column for column in columns if any(_is_text(row, column) for row in rows)]
    usual = [column for name in USUAL for column in texts if column.casefold() == name]
    if usual or len(texts) == 1:
        return (usual or texts)[0]
    found = f"text stands in {len(texts)} of them" if texts else "none of them holds text"
    raise ArtifactError(f"{source} has the columns {listed}, and {found}; name the one to read as `column`")


def row_text(row: GivenRow, column: str, largest: int) -> str:
    """The text of a row. Raises Rejection if it has none that can be used."""
    if row.flaw is not None:
        raise Rejection("not a row", row.flaw)
    if column not in row.values:
        raise Rejection("without the column", f"has no column {column!r}; expected a text")
    value = row.values[column]
    if not isinstance(value, str):
        kind = "nothing" if value is None else f"a {type(value).__name__}"
        raise Rejection("without text in the column", f"has {kind} in the column {column!r}; expected a text")
    if len(value) > largest:
        raise Rejection("too large", f"has {len(value):,} characters; expected at most {largest:,}; cut it into rows")
    return value


def _is_text(row: GivenRow, column: str) -> bool:
    value = row.values.get(column)
    return isinstance(value, str) and bool(value.strip())
