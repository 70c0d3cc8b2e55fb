"""Documents and the completions that agents wrote for them: put in once under an id, and read back.

Every `put_*` of the store takes many records, is one transaction, and may be called again: a record that is stored
already is left alone, one with the same id and another content -> RunCorrupt, a pointer to something unknown ->
InvalidInput.
"""

from collections.abc import Sequence

from rrm.store.records import StoredCompletion, StoredDocument
from rrm.store.rows import to_record
from rrm.store.run import Run
from rrm.store.texts import conditions, one, put_with_text
from rrm.store.transaction import rows

_DOCUMENTS = "SELECT documents.*, texts.text FROM documents JOIN texts ON texts.sha256 = text_sha256"
_COMPLETIONS = "SELECT completions.*, texts.text FROM completions JOIN texts ON texts.sha256 = text_sha256"


def put_documents(run: Run, new: Sequence[StoredDocument]) -> None:
    """Store documents; in one call (or transaction) a part may come before its parent."""
    put_with_text(run, "documents", new)


def documents(run: Run, *, level: int | None = None, split: str | None = None) -> list[StoredDocument]:
    """The documents of a level and split (None: of all), by level, position and id."""
    where, parameters = conditions({"level": level, "split": split})
    found = rows(run.database, f"{_DOCUMENTS}{where} ORDER BY level, position, id", parameters)
    return [to_record(StoredDocument, row) for row in found]


def document(run: Run, document_id: str) -> StoredDocument:
    """One document; an unknown id -> InvalidInput."""
    found = rows(run.database, f"{_DOCUMENTS} WHERE id = ?", (document_id,))
    return to_record(StoredDocument, one(found, "document", document_id))


def parts_of(run: Run, document_id: str) -> list[StoredDocument]:
    """The parts of a document in their order; none for a leaf."""
    found = rows(run.database, f"{_DOCUMENTS} WHERE parent_id = ? ORDER BY position, id", (document_id,))
    return [to_record(StoredDocument, row) for row in found]


def put_completions(run: Run, new: Sequence[StoredCompletion]) -> None:
    """Store completions of documents that are stored."""
    put_with_text(run, "completions", new)


def completions(
    run: Run, *, level: int | None = None, round: int | None = None, agent_id: str | None = None
) -> list[StoredCompletion]:
    """The completions of a level, round and agent (None: of all), in the order they were stored."""
    where, parameters = conditions({"level": level, "round": round, "agent_id": agent_id})
    found = rows(run.database, f"{_COMPLETIONS}{where} ORDER BY completions.rowid", parameters)
    return [to_record(StoredCompletion, row) for row in found]


def completion(run: Run, completion_id: str) -> StoredCompletion:
    """One completion; an unknown id -> InvalidInput."""
    found = rows(run.database, f"{_COMPLETIONS} WHERE id = ?", (completion_id,))
    return to_record(StoredCompletion, one(found, "completion", completion_id))
