"""Fit on growing shares of the judgements: the curve that people watch, and that the forecast is made from."""

from collections.abc import Sequence
from pathlib import Path

import torch

from reward_models.calibration import accuracy, probabilities
from reward_models.losses import bradley_terry
from rrm.config import Kind
from rrm.rewards.fitting import Fitted, Watch, fit_rewards
from rrm.rewards.held_out import differences, disagreement
from rrm.sessions.forecast import CurvePoint
from rrm.sessions.material import Material
from rrm.sessions.settings import FEWEST_JUDGEMENTS
from rrm.workbench import Workbench

POINTS = 6
"""Shares of the judgements, the last of which is all of them."""
ORDERS = 3
"""Orders of the judgements over which the point of a share is averaged."""
POINTS_BY_GRADIENT = 4
"""Where a fit takes long: half, a quarter and an eighth of the judgements beside all, in one order."""


def shares(judgements: int, *, kind: Kind = "heads") -> list[int]:
    """How many judgements the points use, evenly spaced on a logarithmic scale, up to all."""
    points, smallest = (POINTS, 32) if kind == "heads" else (POINTS_BY_GRADIENT, 2 ** (POINTS_BY_GRADIENT - 1))
    lowest = min(judgements, max(FEWEST_JUDGEMENTS, judgements // smallest))
    ratio = judgements / lowest
    return sorted({round(lowest * ratio ** (step / (points - 1))) for step in range(points)})


def orders(kind: Kind) -> int:
    """How many fits stand behind the point of a share."""
    return ORDERS if kind == "heads" else 1


def share_point(bench: Workbench, material: Material, share: int, *, unfinished: Path) -> CurvePoint:
    """The figures of a share, averaged over seeded orders of the judgements."""
    found: list[CurvePoint] = []
    for order in range(orders(material.settings.kind)):
        generator = bench.generator("session", material.level, "order", order)
        rows = torch.randperm(len(material.train), generator=generator)[:share]
        found.append(point_of(fitted(bench, material, rows, order=order, unfinished=unfinished), material))
        bench.progress.advance()
    spreads = [point.spread for point in found if point.spread is not None]
    return CurvePoint(
        judgements=share,
        accuracy=_mean([point.accuracy for point in found]),
        answers=found[0].answers,
        loss=_mean([point.loss for point in found]),
        spread=_mean(spreads) if spreads else None,
    )


def fitted(
    bench: Workbench,
    material: Material,
    rows: torch.Tensor,
    *,
    unfinished: Path,
    order: int = 0,
    watch: Watch | None = None,
) -> Fitted:
    """Fit to these judgements. Equal judgements and settings give an equal model, in whichever session.

    A fit by gradient leaves where it stands in the folder `unfinished`, and goes on from there. Every step of a fit is
    a place where a request to stop is heard.
    """
    return fit_rewards(
        material.train.rows(rows),
        settings=material.settings,
        generator=bench.generator("session", material.level, "fit", len(rows), order),
        backbone=bench.backbone,
        chat=bench.base.chat,
        checkpoint=unfinished / f"fit-{len(rows)}-{order}.safetensors",
        watch=watch or (lambda stage: bench.progress.note(stage.words)),
    )


def point_of(result: Fitted, material: Material) -> CurvePoint:
    """The figures of one fit."""
    unseen = result.unseen
    right, loss, answers = unseen.accuracy, unseen.loss, unseen.answers
    if material.test is not None:
        mean, labels = differences(result.rewards, material.test).mean(dim=0), material.test.labels
        right, answers = accuracy(probabilities(mean), labels), len(labels)
        # From the scores: a probability that rounds to 0 or 1 would have an infinite loss.
        loss = float(
            bradley_terry(mean, torch.zeros_like(mean), labels, rater_error=material.settings.rater_error).mean()
        )
    return CurvePoint(
        judgements=result.comparisons,
        accuracy=right,
        answers=answers,
        loss=loss,
        spread=float(disagreement(result.rewards, *material.predicted).mean()) if result.rewards.members > 1 else None,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
