"""Documents and completions of a task as the store names them."""

from rrm.store.records import StoredDocument
from rrm.tasks.document import Document
from rrm.tasks.task import AbstractTask, Split


def stored_document(task: AbstractTask, document: Document, *, split: Split, level: int, place: int) -> StoredDocument:
    """The record of a document of the task."""
    return StoredDocument(
        id=document.id,
        task=task.name,
        level=level,
        split=split.value,
        position=place,
        title=document.title,
        text=document.text,
    )


def completion_id(document_id: str, round: int, agent: str, place: int) -> str:
    """Name of the `place`-th completion that an agent wrote for a document in a round."""
    return f"{document_id}/round-{round}/{agent}/{place}"
