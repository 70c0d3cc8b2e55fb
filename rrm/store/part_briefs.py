"""What was written of the parts of a document, for whoever reads the document by them: agents, and people as an aid."""

from collections.abc import Sequence
from dataclasses import dataclass

from rrm.store.run import Run
from rrm.store.texts import put_with_text
from rrm.store.transaction import rows


@dataclass(frozen=True, slots=True)
class StoredPartBrief:
    """What an agent wrote of one part."""

    id: str
    document_id: str
    """The document that the part belongs to; it need not be stored itself."""
    agent_id: str
    """The artifact that wrote it, or the name of the base policy."""
    part_position: int
    text: str


def put_part_briefs(run: Run, document_id: str, agent_id: str, texts: Sequence[str]) -> None:
    """Store what was written of all parts of a document, in their order; all in one transaction."""
    put_with_text(
        run,
        "part_briefs",
        [
            StoredPartBrief(f"{document_id}/{agent_id}/part-{place}", document_id, agent_id, place, text)
            for place, text in enumerate(texts)
        ],
    )


def part_briefs(run: Run, document_id: str, agent_id: str) -> tuple[str, ...]:
    """What this agent wrote of the parts, in their order; nothing where it has not read them yet."""
    found = rows(
        run.database,
        "SELECT texts.text FROM part_briefs JOIN texts ON texts.sha256 = text_sha256 "
        "WHERE document_id = ? AND agent_id = ? ORDER BY part_position",
        (document_id, agent_id),
    )
    return tuple(str(row["text"]) for row in found)
