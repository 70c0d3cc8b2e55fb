"""Which tab holds a lease, so that two tabs of one rater never show the same comparison.

A tab keeps what it holds by a sign of life. What a tab holds that gives none runs out by time and goes to whoever
draws next, another tab of the same rater included; the first tab then learns that it is lost.
"""

from collections.abc import Sequence
from typing import NamedTuple

from rrm.judging.queue import LEASE_SECONDS, renew
from rrm.store.run import Run
from rrm.store.times import timestamp
from rrm.store.transaction import execute, rows

_HELD = """
    SELECT expires_at, repeat,
        coalesce(raters_missing, 0) > (
            SELECT count(*) FROM leases AS other WHERE other.comparison_id = leases.comparison_id
            AND other.rater_id != leases.rater_id AND other.repeat = 0 AND other.state = 'open'
            AND other.expires_at > ?) AS wanted
    FROM leases LEFT JOIN hands ON lease_id = leases.id LEFT JOIN waiting USING (comparison_id)
    WHERE leases.id = ? AND rater_id = ? AND tab = ? AND state = 'open'"""


class Held(NamedTuple):
    """What became of the leases that a tab says it holds."""

    kept: list[str]
    """Renewed, in the order given."""
    lost: list[str]
    """Answered, taken by another tab, or no longer needed."""


def take(run: Run, lease_ids: Sequence[str], *, tab: str) -> None:
    """Write down that a tab holds these leases now. Call it inside a transaction."""
    for lease_id in lease_ids:
        execute(
            run.database,
            "INSERT INTO hands (lease_id, tab) VALUES (?, ?) ON CONFLICT (lease_id) DO UPDATE SET tab = excluded.tab",
            (lease_id, tab),
        )


def keep(
    run: Run,
    lease_ids: Sequence[str],
    *,
    rater_id: str,
    tab: str,
    now: str,
    lease_seconds: float = LEASE_SECONDS,
) -> Held:
    """Renew what a tab of a rater holds, and say what it holds no longer."""
    kept: list[str] = []
    lost: list[str] = []
    with run.transaction():
        for lease_id in dict.fromkeys(lease_ids):
            if _is_kept(run, lease_id, rater_id, tab, timestamp(now)):
                renew(run, lease_id, now=now, lease_seconds=lease_seconds)
                kept.append(lease_id)
            else:
                lost.append(lease_id)
    return Held(kept, lost)


def _is_kept(run: Run, lease_id: str, rater_id: str, tab: str, time: str) -> bool:
    found = rows(run.database, _HELD, (time, lease_id, rater_id, tab))
    # One that ran out is still this tab's unless somebody else has begun it meanwhile.
    return any(str(row["expires_at"]) > time or bool(row["repeat"]) or bool(row["wanted"]) for row in found)


def held_elsewhere(run: Run, *, rater_id: str, tab: str, now: str) -> bool:
    """Whether other tabs of this rater hold something now."""
    query = """SELECT 1 FROM leases LEFT JOIN hands ON lease_id = leases.id
        WHERE rater_id = ? AND state = 'open' AND expires_at > ? AND tab IS NOT ? LIMIT 1"""
    return bool(rows(run.database, query, (rater_id, timestamp(now), tab)))
