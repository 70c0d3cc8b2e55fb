"""Pace: how long people take for an answer, and how that changes as they go on."""

from dataclasses import dataclass
from statistics import quantiles

from rrm.store.judgements import chain_head
from rrm.store.records import Stage
from rrm.store.run import Run
from rrm.store.transaction import rows

LONGEST = 600.0
"""Seconds that one answer can count at most; whoever takes longer has left the page open."""
LOOKED_AT = 20_000
"""Answers that are looked at, at least, where there are more: every second one, every third, and so on."""
POINTS = 24
"""Points of the curve at most."""
FEWEST = 5
"""Answers that one point stands for at least."""

SECONDS = f"""min({LONGEST}, max(0.0, coalesce(
    json_extract(details, '$.milliseconds') / 1000.0, 86400.0 * (julianday(decided_at) - julianday(shown_at)))))"""
"""SQL: what a row of judgements took; what the page measured, else from the showing to the answer; null if unknown."""

_PACE = f"""
    SELECT stage, {SECONDS} AS seconds FROM live_judgements AS answers JOIN raters ON raters.id = answers.rater_id
    WHERE raters.kind = 'person' AND position % ? = 0 ORDER BY position"""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds an answer within a block of consecutive ones."""

    stage: Stage
    answers: int
    """Answers of people at this stage up to the end of the block, as far as their time is known."""
    lower: float
    """A quarter took less."""
    median: float
    upper: float
    """A quarter took more."""


def pace(run: Run) -> list[Pace]:
    """Seconds an answer over the answers that count, in blocks of equal size; people only."""
    every = max(1, chain_head(run)[0] // LOOKED_AT)
    seconds: dict[str, list[float]] = {}
    for row in rows(run.database, _PACE, (every,)):
        if row["seconds"] is not None:
            seconds.setdefault(str(row["stage"]), []).append(float(row["seconds"]))
    return [point for stage in Stage for point in _points(stage, seconds.get(stage.value, []), every)]


def _points(stage: Stage, seconds: list[float], every: int) -> list[Pace]:
    blocks = min(POINTS, len(seconds) // FEWEST)
    ends = [len(seconds) * (block + 1) // blocks for block in range(blocks)]
    return [
        Pace(stage, end * every, *quantiles(seconds[begin:end], n=4, method="inclusive"))
        for begin, end in zip([0, *ends], ends, strict=False)
    ]
