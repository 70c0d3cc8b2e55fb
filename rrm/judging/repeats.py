"""Silent repeats: now and then a comparison comes again, sides swapped: does the rater agree with themselves?"""

from rrm.judging.queue import LEASE_SECONDS
from rrm.store.canonical import canonical_json, sha256_text
from rrm.store.leases import lease
from rrm.store.records import Leased
from rrm.store.run import Run
from rrm.store.times import timestamp
from rrm.store.transaction import rows

ANSWERS_BETWEEN = 10
"""Answers after which a comparison may come again; sooner it would be recognised."""

# What was revealed is no longer blind, and who skipped has no answer to agree with.
_REPEATABLE = """
    SELECT comparison_id FROM live_judgements AS answer
    WHERE rater_id = ? AND repeat = 0 AND choice NOT IN ('skip', 'cannot_tell')
    AND position <= (SELECT position FROM live_judgements WHERE rater_id = answer.rater_id
        ORDER BY position DESC LIMIT 1 OFFSET ?)
    AND EXISTS (SELECT 1 FROM leases WHERE leases.id = answer.lease_id AND state = 'answered')
    AND NOT EXISTS (SELECT 1 FROM leases JOIN reveals ON lease_id = leases.id
        WHERE leases.comparison_id = answer.comparison_id AND leases.rater_id = answer.rater_id)
    AND NOT EXISTS (SELECT 1 FROM leases AS again
        WHERE again.comparison_id = answer.comparison_id AND again.rater_id = answer.rater_id AND again.repeat = 1
        AND (again.state = 'answered' OR (again.state = 'open' AND again.expires_at > ?)))
    ORDER BY position LIMIT 1"""


def repeats_due(run: Run, *, rater_id: str, count: int, share: float) -> list[int]:
    """Which of the next `count` comparisons of a rater should be repeats, by their place among them.

    A coin for each, from the run's seed and how many the rater was given before: nothing that a rater sees tells.
    """
    given = rows(run.database, "SELECT count(*) AS number FROM leases WHERE rater_id = ?", (rater_id,))[0]["number"]
    return [place for place in range(count) if _coin(run.seed, rater_id, int(given or 0) + place) < share]


def _coin(seed: int, rater_id: str, number: int) -> float:
    return int(sha256_text(canonical_json(["repeat", seed, rater_id, number]))[:8], 16) / 2.0**32


def draw_repeat(
    run: Run,
    *,
    rater_id: str,
    now: str,
    lease_seconds: float = LEASE_SECONDS,
    answers_between: int = ANSWERS_BETWEEN,
) -> Leased | None:
    """Lease once more, sides swapped, what this rater answered longest ago, of any level and purpose.

    Each comparison is repeated once at most; None where nothing is left to repeat, or too little was answered since.
    """
    time = timestamp(now)
    with run.transaction():
        found = rows(run.database, _REPEATABLE, (rater_id, answers_between, time))
        ids = [str(row["comparison_id"]) for row in found]
        leased = lease(run, ids, rater_id=rater_id, repeat=1, time=time, lease_seconds=lease_seconds)
    return leased[0] if leased else None
