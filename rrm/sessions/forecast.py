"""How many more judgements would help: a learning curve through the points of a session.

    value(n) = limit + scale n^(-rate)

with n the judgements used; scale is negative for an accuracy, which rises, and positive for a spread, which falls. For
a given rate that is a straight line in n^(-rate), so limit and scale follow by least squares; the rate is the one of a
grid with the smallest remainder. A curve is only read on where its points moved further than chance moves them, and
never beyond ten times the judgements there are.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

RATES = tuple(round(0.2 + 0.05 * step, 2) for step in range(27))
"""0.2 to 1.5: statistics teaches 0.5 to 1, and what people disagree about flattens a curve."""
FEWEST_POINTS = 4
GAIN = 0.01
"""One more point of held-out accuracy."""
REDUCTION = 0.1
"""A tenth of the spread."""
FURTHEST = 10
"""Times the judgements used so far, beyond which nothing is foretold."""

Goal = Literal["accuracy", "spread"]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One point of a session's curve."""

    judgements: int
    """Judgements used."""
    accuracy: float
    """Agreement with answers that were not used, a tie one half."""
    answers: int
    """How many answers the accuracy rests on."""
    loss: float
    """Log loss on them, nats an answer."""
    spread: float | None
    """Mean disagreement of the members; None with a single member."""


def curve_point(record: Mapping[str, Any]) -> CurvePoint:
    """A point as the store has it."""
    return CurvePoint(
        judgements=record["judgements"],
        accuracy=record["accuracy"],
        answers=record["answers"],
        loss=record["loss"],
        spread=record["spread"],
    )


@dataclass(frozen=True, slots=True)
class Forecast:
    """How many more judgements, or why that cannot be told."""

    judgements: int | None
    """None where it cannot be told."""
    goal: Goal | None
    """What they would bring: a point of accuracy, or a tenth less spread."""
    sentence: str


class _Fitted(NamedTuple):
    limit: float
    scale: float
    rate: float
    remainder: float


def forecast(points: Sequence[CurvePoint]) -> Forecast:
    """What a session's points say about more judgements."""
    if len({point.judgements for point in points}) < FEWEST_POINTS:
        return _cannot_tell("there are too few judgements to see how the curve runs")
    used = points[-1].judgements
    rising = _rises(points)
    more = _judgements_for(_curve(points, "accuracy"), now=used, step=GAIN) if rising else None
    if more is not None:
        return Forecast(
            more,
            "accuracy",
            f"About {rounded(more)} more judgements should bring one more point of agreement in 100, if the "
            "curve goes on as it ran.",
        )
    spreads = _curve(points, "spread")
    if spreads and spreads[-1][1] < (1.0 - REDUCTION) * spreads[0][1]:
        more = _judgements_for(spreads, now=used, step=-REDUCTION * spreads[-1][1])
    if more is not None:
        return Forecast(
            more,
            "spread",
            f"About {rounded(more)} more judgements should make the members disagree a tenth less. What that brings in "
            "agreement cannot be told yet.",
        )
    if rising:
        return _cannot_tell("the curve has become flat: more judgements of the same kind would hardly help")
    return _cannot_tell(f"with {points[-1].answers} answers to test on, the curve moves no more than chance moves it")


def rounded(number: int) -> str:
    """A forecast in no more digits than it deserves: two."""
    digits = len(str(number)) - 2
    return f"{round(number, -digits):,}" if digits > 0 else str(number)


def _cannot_tell(reason: str) -> Forecast:
    return Forecast(None, None, f"How many more judgements would help cannot be told yet: {reason}.")


def standard_error(point: CurvePoint) -> float:
    """Of a point's accuracy, from the number of answers it rests on."""
    return math.sqrt(max(point.accuracy * (1.0 - point.accuracy), 0.0) / point.answers)


def _rises(points: Sequence[CurvePoint]) -> bool:
    """Whether the accuracy rose by more than two standard errors of a difference, the answers taken as unpaired."""
    first, last = points[0], points[-1]
    return last.accuracy - first.accuracy > 2.0 * math.hypot(standard_error(first), standard_error(last))


def _curve(points: Sequence[CurvePoint], name: Goal) -> list[tuple[int, float]]:
    values = [(point.judgements, point.accuracy if name == "accuracy" else point.spread) for point in points]
    return [(judgements, value) for judgements, value in values if value is not None]


def _judgements_for(curve: Sequence[tuple[int, float]], *, now: int, step: float) -> int | None:
    """More judgements until the fitted curve has moved by `step` from where it is now; None where it never does."""
    if len(curve) < FEWEST_POINTS:
        return None
    fitted = min((_at_rate(curve, rate) for rate in RATES), key=lambda one: one.remainder)
    if fitted.scale * step >= 0.0:
        return None
    # scale needed^(-rate) = scale now^(-rate) + step
    share = now ** (-fitted.rate) + step / fitted.scale
    if share <= 0.0:
        return None
    needed = share ** (-1.0 / fitted.rate)
    return max(1, math.ceil(needed - now)) if needed <= FURTHEST * now else None


def _at_rate(curve: Sequence[tuple[int, float]], rate: float) -> _Fitted:
    judgements, values = (np.array(column, dtype=float) for column in zip(*curve, strict=True))
    design = np.stack([np.ones_like(judgements), judgements**-rate], axis=1)
    (limit, scale), *_ = np.linalg.lstsq(design, values, rcond=None)
    remainder = float(((design @ np.array([limit, scale]) - values) ** 2).sum())
    return _Fitted(float(limit), float(scale), rate, remainder)
