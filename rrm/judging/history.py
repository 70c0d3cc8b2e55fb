"""What a rater answered, newest first: to be looked at, opened again and changed."""

from dataclasses import dataclass

from rrm.judging.reveals import Revealed, revealed
from rrm.judging.sides import Side, side_of
from rrm.store.canonical import read_object
from rrm.store.records import Choice, Stage
from rrm.store.run import Run
from rrm.store.sittings import live_answer
from rrm.store.transaction import Row, rows

# The answer that ends a sitting; one given alone, where aids are planned, comes with it. The order of the tables is
# forced: the answers are walked from the newest, and only as far as one page goes.
_ANSWERS = """
    SELECT answer.*, leases.first_on_left, documents.title,
        first_text.text AS first_text, second_text.text AS second_text
    FROM live_judgements AS answer
    CROSS JOIN leases ON leases.id = answer.lease_id
    CROSS JOIN comparisons ON comparisons.id = answer.comparison_id
    CROSS JOIN documents ON documents.id = comparisons.document_id
    CROSS JOIN completions AS first ON first.id = first_completion_id
    CROSS JOIN completions AS second ON second.id = second_completion_id
    CROSS JOIN texts AS first_text ON first_text.sha256 = first.text_sha256
    CROSS JOIN texts AS second_text ON second_text.sha256 = second.text_sha256
    WHERE answer.rater_id = ? AND answer.position < ? AND (answer.stage = 'aided' OR aids_planned = 0)
    ORDER BY answer.position DESC LIMIT ?"""

_NEWEST = 2**62


@dataclass(frozen=True, slots=True)
class Entry:
    """A final answer of a rater."""

    judgement_id: str
    lease_id: str
    position: int
    """Its place in the chain: `before` of the next page."""
    title: str
    left: str
    right: str
    stage: Stage
    side: Side
    side_alone: Side | None
    """What was answered before the aids were shown, where they were."""
    strength: int | None
    comment: str
    flagged: bool
    decided_at: str
    changed: bool
    """Whether it replaces an earlier answer."""
    unblinded: bool
    """Whether it was given after the rater was told who wrote what."""
    revealed: Revealed | None
    """Who wrote what, where the rater was told."""


def history(run: Run, *, rater_id: str, before: int | None = None, count: int = 20) -> list[Entry]:
    """The final answers of a rater that count, newest first; `before` is the position where the last page ended."""
    found = rows(run.database, _ANSWERS, (rater_id, _NEWEST if before is None else before, count))
    told = revealed(run, [str(row["lease_id"]) for row in found])
    return [_entry(run, row, told.get(str(row["lease_id"]))) for row in found]


def _entry(run: Run, row: Row, told: Revealed | None) -> Entry:
    on_left = bool(row["first_on_left"])
    details = read_object(str(row["details"]))
    strength = details.get("strength")
    texts = (str(row["first_text"]), str(row["second_text"]))
    left, right = texts if on_left else reversed(texts)
    stage = Stage(str(row["stage"]))
    return Entry(
        judgement_id=str(row["id"]),
        lease_id=str(row["lease_id"]),
        position=int(row["position"] or 0),
        title=str(row["title"]),
        left=left,
        right=right,
        stage=stage,
        side=side_of(Choice(str(row["choice"])), first_on_left=on_left),
        side_alone=_side_alone(run, str(row["lease_id"]), on_left) if stage is Stage.AIDED else None,
        strength=strength if isinstance(strength, int) else None,
        comment=str(row["comment"]),
        flagged=bool(details.get("flagged")),
        decided_at=str(row["decided_at"]),
        changed=row["supersedes"] is not None,
        unblinded=bool(details.get("unblinded")),
        revealed=told,
    )


def _side_alone(run: Run, lease_id: str, on_left: bool) -> Side | None:
    alone = live_answer(run, lease_id, Stage.ALONE)
    return side_of(alone.choice, first_on_left=on_left) if alone else None
