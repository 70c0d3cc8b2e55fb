"""Documents and completions of a task as the store names them."""

from collections.abc import Sequence

from rrm.store.records import StoredCompletion, StoredDocument
from rrm.store.run import Run
from rrm.store.samples import put_completions, put_documents
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


def store_completions(
    run: Run,
    task: AbstractTask,
    found: Sequence[Document],
    texts: Sequence[Sequence[str]],
    *,
    split: Split,
    level: int,
    round: int,
    agent: str,
    places: Sequence[int],
    numbered_from: int = 0,
) -> None:
    """Put documents, of these places of the task, and what `agent` wrote of them into the store, in one transaction."""
    with run.transaction():
        put_documents(
            run,
            [
                stored_document(task, document, split=split, level=level, place=place)
                for place, document in zip(places, found, strict=True)
            ],
        )
        put_completions(
            run,
            [
                StoredCompletion(
                    id=completion_id(document.id, round, agent, number),
                    document_id=document.id,
                    level=level,
                    round=round,
                    agent_id=agent,
                    text=text,
                )
                for document, group in zip(found, texts, strict=True)
                for number, text in enumerate(group, numbered_from)
            ],
        )
