"""Who wrote what: told only after the final answer, and written down, because an answer given later is not blind."""

from collections.abc import Sequence
from dataclasses import dataclass

from reward_models.errors import InvalidInput
from rrm.store.canonical import canonical_json
from rrm.store.leases import leased
from rrm.store.records import Leased, Purpose
from rrm.store.run import Run
from rrm.store.samples import completion
from rrm.store.sittings import final_stage, live_answer, sitting_of
from rrm.store.times import timestamp
from rrm.store.transaction import execute, rows, rows_in
from rrm.store.waiting import asked_because

_REASONS = {
    "random": "It was drawn at random.",
    "spread": "The members of the reward model disagreed about it.",
    "planted": "It is a check: the better one is known.",
}
_PURPOSES = {
    Purpose.TRAIN: "Your answer trains the reward model.",
    Purpose.VALIDATION: "Your answer is held out to measure the reward model.",
    Purpose.PROMOTION: "Your answer helps to decide whether a new agent replaces the old one.",
    Purpose.TEST: "Your answer is only reported; nothing is decided by it.",
}


@dataclass(frozen=True, slots=True)
class Revealed:
    """What a rater may know of a comparison after the final answer."""

    lease_id: str
    left: str
    """Who wrote the completion on the left."""
    right: str
    level: int
    round: int
    reason: str
    """Why it was asked, in a sentence."""
    purpose: str
    """What the answer is for, in a sentence."""
    left_probability: float | None = None
    """Probability, by the current reward model, that the left is better; None where no session has predicted it."""


def reveal(run: Run, lease_id: str, *, rater_id: str, now: str) -> Revealed:
    """Tell a rater who wrote what; from now on their answers to this comparison are kept as unblinded.

    A lease of somebody else, or one without a final answer -> InvalidInput.
    """
    with run.transaction():
        sitting = sitting_of(run, lease_id)
        if sitting["rater_id"] != rater_id:
            raise InvalidInput(f"lease {lease_id} is another rater's; each sees what belongs to their own answers")
        if not live_answer(run, lease_id, final_stage(sitting)):
            raise InvalidInput("who wrote what is told after the final answer; answer this comparison first")
        if not rows(run.database, "SELECT 1 FROM reveals WHERE lease_id = ?", (lease_id,)):
            execute(
                run.database,
                "INSERT INTO reveals (lease_id, revealed_at) VALUES (?, ?)",
                (lease_id, timestamp(now)),
            )
    return _revealed(run, leased(run, [lease_id])[0])


def note_revealed(run: Run, comparison_ids: Sequence[str], *, rater_id: str, now: str) -> None:
    """Write down that a rater was told something of comparisons that they have judged."""
    query = """SELECT id FROM leases WHERE rater_id = ? AND comparison_id IN (SELECT value FROM json_each(?))
        AND state = 'answered' AND id NOT IN (SELECT lease_id FROM reveals)"""
    with run.transaction():
        for row in rows(run.database, query, (rater_id, canonical_json(list(comparison_ids)))):
            execute(
                run.database,
                "INSERT INTO reveals (lease_id, revealed_at) VALUES (?, ?)",
                (row["id"], timestamp(now)),
            )


def revealed(run: Run, lease_ids: Sequence[str]) -> dict[str, Revealed]:
    """What was told already, by lease."""
    found = rows_in(run.database, "SELECT lease_id FROM reveals WHERE lease_id IN ({})", dict.fromkeys(lease_ids))
    told = [str(row["lease_id"]) for row in found]
    return {each.lease_id: _revealed(run, each) for each in leased(run, told)}


def is_unblinded(run: Run, *, comparison_id: str, rater_id: str) -> bool:
    """Whether this rater was told who wrote what in this comparison, in whichever sitting."""
    query = """SELECT 1 FROM leases JOIN reveals ON lease_id = leases.id
        WHERE comparison_id = ? AND rater_id = ? LIMIT 1"""
    return bool(rows(run.database, query, (comparison_id, rater_id)))


def _revealed(run: Run, one: Leased) -> Revealed:
    comparison = one.comparison
    writers = [_writer(run, each) for each in (comparison.first_completion_id, comparison.second_completion_id)]
    left, right = writers if one.first_on_left else reversed(writers)
    reason = asked_because(run, comparison.id)
    return Revealed(
        lease_id=one.lease_id,
        left=left,
        right=right,
        level=comparison.level,
        round=comparison.round,
        reason=_REASONS.get(reason, f"It was asked because of: {reason}."),
        purpose=_PURPOSES[comparison.purpose],
    )


def _writer(run: Run, completion_id: str) -> str:
    agent_id = completion(run, completion_id).agent_id
    if agent_id == "base":
        return "base (before any training)"
    found = rows(run.database, "SELECT level, round FROM artifacts WHERE id = ?", (agent_id,))
    return f"{agent_id} (level {found[0]['level']}, round {found[0]['round']})" if found else agent_id
