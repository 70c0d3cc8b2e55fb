"""Cost in labels: what was judged, and the time that people gave for it."""

from dataclasses import dataclass

from rrm.store.records import RaterKind
from rrm.store.run import Run
from rrm.store.transaction import rows
from rrm.watching.pace import SECONDS

_ANSWERED = """
    SELECT level, round, raters.kind, count(*) AS answers, sum(stage = 'alone' AND answers.repeat = 0) AS judged
    FROM live_judgements AS answers JOIN comparisons ON comparisons.id = comparison_id
    JOIN raters ON raters.id = rater_id GROUP BY level, round, raters.kind ORDER BY level, round, raters.kind"""

# Answers that were taken back, or given again as a check, took their time too.
_TIME = f"""
    SELECT level, round, raters.kind, sum({SECONDS}) AS seconds
    FROM judgements AS answers JOIN comparisons ON comparisons.id = comparison_id
    JOIN raters ON raters.id = rater_id WHERE choice != 'undo' GROUP BY level, round, raters.kind"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one kind of rater did in a round."""

    level: int
    round: int
    kind: RaterKind
    judgements: int
    """Comparisons that were judged, once for each rater who did."""
    answers: int
    """Answers that count: alone and aided, first ones and repeats."""
    seconds: float | None
    """Time of people over all answers, those taken back too; None for simulated raters, and where none was timed."""


def cost(run: Run) -> list[Cost]:
    """By level, round and kind of rater, in that order."""
    times = {(row["level"], row["round"], row["kind"]): row["seconds"] for row in rows(run.database, _TIME)}
    return [
        Cost(
            level=int(row["level"] or 0),
            round=int(row["round"] or 0),
            kind=(kind := RaterKind(str(row["kind"]))),
            judgements=int(row["judged"] or 0),
            answers=int(row["answers"] or 0),
            seconds=_seconds(times.get((row["level"], row["round"], row["kind"])))
            if kind is RaterKind.PERSON
            else None,
        )
        for row in rows(run.database, _ANSWERED)
    ]


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, float | int) else None
