"""Texts, each stored once under its sha256, and the helpers that every table with texts shares."""

from collections.abc import Iterable, Sequence

from reward_models.errors import InvalidInput
from rrm.store.canonical import sha256_text
from rrm.store.rows import to_row
from rrm.store.run import Run
from rrm.store.transaction import Row, SqlValue, insert_once, rows


def put_texts(run: Run, texts: Iterable[str]) -> list[str]:
    """Store texts, each once, and return their sha256 in the order given."""
    given = [(sha256_text(text), text) for text in texts]
    new: list[Row] = [{"sha256": digest, "text": text} for digest, text in given]
    with run.transaction():
        insert_once(run.database, "texts", "sha256", new)
    return [digest for digest, _ in given]


def put_text(run: Run, text: str) -> str:
    """Store one text and return its sha256."""
    return put_texts(run, [text])[0]


def get_text(run: Run, sha256: str) -> str:
    """The text with this sha256; an unknown one -> InvalidInput."""
    return str(one(rows(run.database, "SELECT text FROM texts WHERE sha256 = ?", (sha256,)), "text", sha256)["text"])


def put_with_text(run: Run, table: str, records: Sequence[object], *, field: str = "text") -> None:
    """Store records in a table, the text in `field` of each in the table of texts; all in one transaction."""
    with run.transaction():
        digests = put_texts(run, (getattr(record, field) for record in records))
        new = [to_row(record, texts={field: digest}) for record, digest in zip(records, digests, strict=True)]
        insert_once(run.database, table, "id", new)


def one(found: list[Row], what: str, key: str) -> Row:
    """The only row found; none -> InvalidInput that names what was looked for."""
    if not found:
        raise InvalidInput(f"the run has no {what} {key!r}; expected one that was stored before")
    return found[0]


def conditions(wanted: dict[str, SqlValue]) -> tuple[str, list[SqlValue]]:
    """The WHERE clause for the columns whose wanted value is not None, and its parameters."""
    given = {name: value for name, value in wanted.items() if value is not None}
    clause = " AND ".join(f"{name} = ?" for name in given)
    return (f" WHERE {clause}" if given else ""), list(given.values())
