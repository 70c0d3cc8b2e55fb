"""How far the judging has come, and how fast a rater is: what stands quietly above the card."""

from dataclasses import dataclass
from statistics import median

from rrm.store.run import Run
from rrm.store.times import timestamp
from rrm.store.transaction import rows

RECENT = 40
"""Answers whose time is looked at."""

# What is asked now is the lowest level and round that waits for anything. Planted comparisons and repeats count like
# all others: a goal that did not move with an answer would give them away.
_GOAL = """
    WITH now_asked AS (
        SELECT level, round FROM waiting WHERE raters_missing > 0 ORDER BY level, round LIMIT 1)
    SELECT coalesce(sum(raters_planned), 0) AS needed, coalesce(sum(max(raters_missing, 0)), 0) AS missing,
        (SELECT count(*) FROM leases JOIN waiting USING (comparison_id) JOIN now_asked USING (level, round)
            WHERE leases.repeat = 1 AND leases.state = 'answered') AS repeats
    FROM waiting JOIN now_asked USING (level, round)"""

_TODAY = """
    SELECT count(*) AS number FROM leases
    WHERE rater_id = ? AND state = 'answered' AND repeat < 2 AND released_at >= ?"""

_RECENT = """
    SELECT json_extract(details, '$.milliseconds') AS milliseconds FROM judgements
    WHERE rater_id = ? AND choice NOT IN ('skip', 'undo') ORDER BY position DESC LIMIT ?"""


@dataclass(frozen=True, slots=True)
class Pace:
    """Progress towards the goal."""

    given: int
    """Judgements given of what is asked now, by all raters together."""
    needed: int
    """How many it takes until the round can go on; 0 where nothing is asked."""
    mine_today: int
    """Comparisons that this rater judged since the day began."""
    median_seconds: float | None
    """Time of this rater for one comparison, over the last ones."""


def pace(run: Run, *, rater_id: str, since: str, repeat_share: float) -> Pace:
    """How far the round is that is asked now, and what this rater did `since` a time.

    The goal holds the repeats that `repeat_share` lets expect, whatever number the coins come to in the end.
    """
    goal = rows(run.database, _GOAL)[0]
    today = rows(run.database, _TODAY, (rater_id, timestamp(since)))[0]
    planned, missing, repeats = (int(goal[name] or 0) for name in ("needed", "missing", "repeats"))
    needed = planned + round(repeat_share * planned)
    return Pace(
        given=min(needed, planned - missing + repeats),
        needed=needed,
        mine_today=int(today["number"] or 0),
        median_seconds=_median_seconds(run, rater_id),
    )


def _median_seconds(run: Run, rater_id: str) -> float | None:
    found = rows(run.database, _RECENT, (rater_id, RECENT))
    times = [float(row["milliseconds"]) / 1000 for row in found if row["milliseconds"] is not None]
    return median(times) if times else None
