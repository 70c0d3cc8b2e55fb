"""What the held-out predictions of an ensemble on people's preferences are worth, in figures.

`spread` is the deviation of the members' probabilities. `dissent` is the chance that a member drawn at random takes the
other side, Phi(-|mean| / deviation) of the members' score differences. `distance` is |p - 1/2| turned round, which
needs no ensemble. Ceiling: how often a rater's side is that of most others of the same pair.
Of pairs that have a majority, chosen by these very votes, the ceiling is too high: read it on `votes`, over all pairs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import NamedTuple

import torch
from jaxtyping import Float
from scipy.stats import norm, t
from torch import Tensor

from benchmarks.human_preferences import HumanComparison, Preferences
from reward_models import calibration
from reward_models.intervals import paired_difference


@dataclass(frozen=True, eq=False)
class Task:
    """One data set with one kind of label."""

    name: str
    comparisons: Sequence[HumanComparison]
    data: Preferences
    weights: Float[Tensor, " comparisons"]


class HeldOut(NamedTuple):
    """What was predicted of each comparison by models that had not seen its group."""

    differences: Float[Tensor, "members comparisons"]
    """Score of the first minus that of the second, divided by the temperature."""
    uncalibrated: Float[Tensor, " comparisons"]
    """Their mean before the temperature."""
    logistic: Float[Tensor, " comparisons"]
    """Probability of the first by the logistic regression."""


def figures(task: Task, runs: Sequence[HeldOut]) -> dict[str, object]:
    """Means over the seeds with 95% intervals; the two accuracies compared on the same comparisons, by groups."""
    each = [measures(task, run) for run in runs]
    right = [torch.stack([_right(p, task.data.labels) for p in side]).mean(dim=0)
             for side in ([_mean(run) for run in runs], [run.logistic for run in runs])]  # fmt: skip
    lead = paired_difference(*right, generator=torch.Generator().manual_seed(0), groups=task.data.groups)
    return {
        "comparisons": len(task.data.labels),
        "groups": len(task.data.groups.unique()),
        **{name: _interval([one[name] for one in each]) for name in each[0]},
        "accuracy_lead": [round(value, 4) for value in lead],
    }


def measures(task: Task, run: HeldOut) -> dict[str, float]:
    """All figures of one seed, pooled over the folds."""
    y, p = task.data.labels, _mean(run)
    decided = y != 0.5
    wrong = (p > 0.5) != (y > 0.5)
    found = {
        "accuracy": calibration.accuracy(p, y),
        "accuracy_logistic": calibration.accuracy(run.logistic, y),
        "loss": calibration.nll(p, y),
        "loss_logistic": calibration.nll(run.logistic, y),
        "ece": calibration.ece(p, y),
        "ece_before_temperature": calibration.ece(torch.sigmoid(run.uncalibrated), y),
        "ece_logistic": calibration.ece(run.logistic, y),
    }
    for name, doubt in doubts(run).items():
        found[f"auroc_{name}"] = calibration.auroc(doubt[decided], wrong[decided]) or math.nan
        found[f"spearman_{name}"] = calibration.spearman(doubt, (p - y).square()) or math.nan
    return {**found, **against_raters(task.comparisons, p)}


def doubts(run: HeldOut) -> dict[str, Float[Tensor, " comparisons"]]:
    """Three numbers that should be larger where the ensemble errs."""
    middle, deviation = run.differences.mean(dim=0), run.differences.std(dim=0, correction=0)
    other_side = norm.cdf(-(middle.abs() / deviation.clamp(min=1e-12)).numpy())
    return {
        "spread": torch.sigmoid(run.differences).std(dim=0, correction=0),
        "dissent": torch.from_numpy(other_side),
        "distance": -(_mean(run) - 0.5).abs(),
    }


def against_raters(comparisons: Sequence[HumanComparison], p: Tensor) -> dict[str, float]:
    """How often a rater's side is the model's, and that of most other raters; over the same answers."""
    model, others = [], []
    for one, probability in zip(comparisons, p.tolist(), strict=True):
        for vote in one.votes:
            rest = sum(one.votes) - vote - 0.5 * (len(one.votes) - 1)
            if vote != 0.5 and rest != 0.0:
                model.append((probability > 0.5) == (vote > 0.5))
                others.append((rest > 0.0) == (vote > 0.5))
    return {"agreement_with_a_rater": mean(model), "ceiling_of_raters": mean(others)} if model else {}


def _mean(run: HeldOut) -> Float[Tensor, " comparisons"]:
    return torch.sigmoid(run.differences.mean(dim=0))


def _right(p: Tensor, y: Tensor) -> Float[Tensor, " comparisons"]:
    side = 0.5 + 0.5 * torch.sign(p - 0.5)
    return side * y + (1.0 - side) * (1.0 - y)


def _interval(values: Sequence[float]) -> list[float | None]:
    """Mean, and half the width of its 95% interval over seeds; None for a single one."""
    count = len(values)
    half = float(t.ppf(0.975, count - 1)) * stdev(values) / math.sqrt(count) if count > 1 else None
    return [round(mean(values), 4), None if half is None else round(half, 4)]
