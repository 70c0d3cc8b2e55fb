"""Fit on growing shares of the judgements: the curve that people watch, and that the forecast is made from."""

from collections.abc import Callable, Sequence

import torch

from reward_models.acquisition import preference_spread
from reward_models.calibration import accuracy, probabilities
from reward_models.ensemble import Ensemble
from reward_models.fitting import FitResult, FitSettings, FitStep, fit
from reward_models.losses import bradley_terry
from rrm.sessions.forecast import CurvePoint
from rrm.sessions.material import Material
from rrm.sessions.settings import FEWEST_JUDGEMENTS
from rrm.workbench import Workbench

POINTS = 6
"""Shares of the judgements, the last of which is all of them."""
ORDERS = 3
"""Orders of the judgements over which the point of a share is averaged."""


def shares(judgements: int) -> list[int]:
    """How many judgements the points use, evenly spaced on a logarithmic scale, up to all."""
    lowest = min(judgements, max(FEWEST_JUDGEMENTS, judgements // 32))
    ratio = judgements / lowest
    return sorted({round(lowest * ratio ** (step / (POINTS - 1))) for step in range(POINTS)})


def share_point(bench: Workbench, material: Material, share: int) -> CurvePoint:
    """The figures of a share, averaged over seeded orders of the judgements."""
    found: list[CurvePoint] = []
    for order in range(ORDERS):
        generator = bench.generator("session", material.level, "order", order)
        rows = torch.randperm(len(material.train[2]), generator=generator)[:share]
        result = fitted(bench, material, rows, order=order)
        found.append(point_of(result, material))
        bench.progress.advance()
    spreads = [point.spread for point in found if point.spread is not None]
    return CurvePoint(
        judgements=share,
        accuracy=_mean([point.accuracy for point in found]),
        answers=found[0].answers,
        loss=_mean([point.loss for point in found]),
        spread=_mean(spreads) if spreads else None,
    )


def fitted(bench: Workbench, material: Material, rows: torch.Tensor, *, order: int = 0) -> FitResult:
    """Fit to these judgements. Equal judgements and settings give an equal model, in whichever session."""
    first, second, labels = (part[rows] for part in material.train)
    return fit(
        first,
        second,
        labels,
        feature_names=material.settings.features,
        settings=FitSettings(members=material.settings.members, rater_error=material.settings.rater_error),
        generator=bench.generator("session", material.level, "fit", len(rows), order),
        on_step=_watch(bench),
    )


def point_of(result: FitResult, material: Material) -> CurvePoint:
    """The figures of one fit."""
    record = result.record.held_out_after
    right, loss = record.accuracy, record.loss
    if material.test is not None:
        first, second, labels = material.test
        differences = mean_difference(result.ensemble, first, second)
        right = accuracy(probabilities(differences), labels)
        # From the scores: a probability that rounds to 0 or 1 would have an infinite loss.
        zero = torch.zeros_like(differences)
        loss = float(bradley_terry(differences, zero, labels, rater_error=material.settings.rater_error).mean())
    spread = preference_spread(*(result.ensemble.scores(side).double() for side in material.predicted))
    return CurvePoint(
        judgements=result.record.comparisons,
        accuracy=right,
        answers=result.record.comparisons if material.test is None else len(material.test[2]),
        loss=loss,
        spread=float(spread.mean()) if result.record.members > 1 else None,
    )


def mean_difference(ensemble: Ensemble, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Difference of the members' mean scores, the first minus the second."""
    return (ensemble.scores(first) - ensemble.scores(second)).double().mean(dim=0)


def _watch(bench: Workbench) -> Callable[[FitStep], None]:
    """Every step of a fit is a place where a request to stop is heard."""
    words = {"choose": "choosing the strength", "fit": "fitting the members", "calibrate": "calibrating"}
    return lambda step: bench.progress.note(words[step.stage])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
