"""Whose answers are left out of fits: each decision is appended, and the last one about a rater counts."""

from dataclasses import dataclass

from reward_models.errors import InvalidInput
from rrm.people.accounts import Person, require_lead
from rrm.store.run import Run
from rrm.store.texts import one
from rrm.store.times import timestamp
from rrm.store.transaction import execute, rows
from rrm.store.waiting import count_answered_by

LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Exclusion:
    """That a rater was left out, or taken in again."""

    rater_id: str
    left_out: bool
    reason: str
    decided_by: str
    """Rater id of the lead."""
    decided_at: str


def leave_out(run: Run, *, rater_id: str, left_out: bool, reason: str, by: Person, now: str) -> None:
    """Leave a rater's answers out of what is fitted and decided from now on, or take them in again; leads only.

    What only they judged waits for others then.
    """
    require_lead(by, "leave somebody out")
    why = reason.strip()
    if not 1 <= len(why) <= LONGEST_REASON:
        raise InvalidInput(f"a reason of {len(why)} characters came; write 1 to {LONGEST_REASON}, it is kept for good")
    with run.transaction():
        one(rows(run.database, "SELECT 1 FROM raters WHERE id = ?", (rater_id,)), "rater", rater_id)
        execute(
            run.database,
            """INSERT INTO exclusions (rater_id, left_out, reason, decided_by, decided_at) VALUES (?, ?, ?, ?, ?)""",
            (rater_id, int(left_out), why, by.rater_id, timestamp(now)),
        )
        count_answered_by(run, rater_id)


def exclusions(run: Run) -> list[Exclusion]:
    """Every decision, oldest first."""
    return [
        Exclusion(
            rater_id=str(row["rater_id"]),
            left_out=bool(row["left_out"]),
            reason=str(row["reason"]),
            decided_by=str(row["decided_by"]),
            decided_at=str(row["decided_at"]),
        )
        for row in rows(run.database, "SELECT * FROM exclusions ORDER BY position")
    ]


def left_out(run: Run) -> frozenset[str]:
    """The raters whose answers do not count now, by id."""
    last = {each.rater_id: each.left_out for each in exclusions(run)}
    return frozenset(rater_id for rater_id, out in last.items() if out)
