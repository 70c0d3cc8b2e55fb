"""Are the stated probabilities true, and does the spread know when the ensemble is wrong?

Probabilities p are those that the first is better, labels y are in [0, 1] with 0.5 a tie. Every measure is the same
when the sides are swapped (p to 1 - p, y to 1 - y). Weights count judgements; none means 1 each.
"""

from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from scipy.optimize import minimize_scalar
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor

from reward_models.errors import InvalidInput, NonFinite
from reward_models.losses import bradley_terry, log_preference

PerComparison: TypeAlias = Float[Tensor, " comparisons"]

TEMPERATURE_RANGE = (0.02, 50.0)
"""Where `fit_temperature` looks: an answer at an end says that the judgements do not determine it."""


def fit_temperature(
    differences: PerComparison, labels: PerComparison, *, weights: PerComparison | None = None, rater_error: float = 0.0
) -> float:
    """The T > 0 for which sigmoid(d / T) has the least log loss on held-out judgements (Guo et al. 2017).

    Above 1 the scores were overconfident. The search is over log T within `TEMPERATURE_RANGE`. Use judgements that
    did not fit the scores. Raises as the measures below.
    """
    counts = _checked(differences, labels, weights)

    def loss(log_temperature: float) -> float:
        scaled = differences.double() / float(torch.tensor(log_temperature).exp())
        each = bradley_terry(scaled, torch.zeros_like(scaled), labels.double(), rater_error=rater_error)
        return float((counts * each).sum())

    low, high = torch.tensor(TEMPERATURE_RANGE, dtype=torch.float64).log().tolist()
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return float(torch.tensor(float(found.x), dtype=torch.float64).exp())


def probabilities(differences: PerComparison, *, rater_error: float = 0.0) -> PerComparison:
    """Probability that a rater prefers the first, from score differences (as in `losses.log_preference`)."""
    return log_preference(differences, rater_error=rater_error).exp()


def nll(predicted: PerComparison, labels: PerComparison, *, weights: PerComparison | None = None) -> float:
    """Mean  -y log p - (1 - y) log(1 - p)  in nats; infinite if a certain prediction was wrong."""
    counts = _checked(predicted, labels, weights)
    p, y = predicted.double(), labels.double()
    return _mean(-torch.xlogy(y, p) - torch.xlogy(1.0 - y, 1.0 - p), counts)


def brier(predicted: PerComparison, labels: PerComparison, *, weights: PerComparison | None = None) -> float:
    """Mean (p - y)^2: 0 is perfect, 0.25 is what 0.5 everywhere earns on labels 0 and 1 (Brier 1950)."""
    counts = _checked(predicted, labels, weights)
    return _mean((predicted.double() - labels.double()).square(), counts)


def accuracy(predicted: PerComparison, labels: PerComparison, *, weights: PerComparison | None = None) -> float:
    """Expected agreement of the side with p > 1/2 with the rater: y if that is the first, 1 - y if the second.

    A prediction of exactly 1/2 and a tie both earn 1/2.
    """
    counts = _checked(predicted, labels, weights)
    side = 0.5 + 0.5 * torch.sign(predicted.double() - 0.5)
    y = labels.double()
    return _mean(side * y + (1.0 - side) * (1.0 - y), counts)


def ece(
    predicted: PerComparison, labels: PerComparison, *, bins: int = 20, weights: PerComparison | None = None
) -> float:
    """Expected calibration error  sum_b (n_b / n) |mean p - mean y|  over equal bins of [0, 1] (Naeini et al. 2015).

    Symmetrised: each comparison enters as (p, y) and as (1 - p, 1 - y), so that which side stood first is without
    effect. Biased upwards for few comparisons per bin; compare only equal numbers of them.
    """
    if bins < 1:
        raise InvalidInput(f"bins is {bins}; give at least 1")
    counts = _checked(predicted, labels, weights).repeat(2)
    p = torch.cat([predicted.double(), 1.0 - predicted.double()])
    y = torch.cat([labels.double(), 1.0 - labels.double()])
    index = (p * bins).long().clamp(max=bins - 1).cpu()
    gap = torch.zeros(bins, dtype=torch.float64).index_add_(0, index, (counts * (p - y)).cpu())
    return float(gap.abs().sum() / counts.sum())


def spearman(spread: PerComparison, error: PerComparison) -> float | None:
    """Rank correlation of the ensemble's spread with its absolute error; None where either is constant."""
    _checked(spread, error, None)
    if bool((spread == spread[0]).all()) or bool((error == error[0]).all()):
        return None
    return float(spearmanr(spread.double().cpu().numpy(), error.double().cpu().numpy()).statistic)


def auroc(spread: PerComparison, wrong: Bool[Tensor, " comparisons"]) -> float | None:
    """Probability that a wrong preference has a larger spread than a right one; None where all are alike."""
    _checked(spread, wrong.double(), None)
    if bool(wrong.all()) or not bool(wrong.any()):
        return None
    return float(roc_auc_score(wrong.cpu().numpy(), spread.double().cpu().numpy()))


def _checked(values: Tensor, others: Tensor, weights: Tensor | None) -> Tensor:
    """The weights (ones for none) in float64, after the checks every measure needs."""
    counts = torch.ones_like(values, dtype=torch.float64) if weights is None else weights.double()
    if not (values.shape == others.shape == counts.shape) or values.ndim != 1:
        raise InvalidInput(
            f"shapes {tuple(values.shape)}, {tuple(others.shape)} and {tuple(counts.shape)} of values, labels and "
            "weights differ; give one number of each per comparison"
        )
    if not all(bool(torch.isfinite(part).all()) for part in (values, others, counts)):
        raise NonFinite("a prediction, label or weight is not finite; find its origin before measuring")
    if bool((counts < 0.0).any()) or float(counts.sum()) <= 0.0:
        raise InvalidInput("weights are negative or sum to 0; give at least one comparison that counts")
    return counts


def _mean(values: Tensor, weights: Tensor) -> float:
    return float((weights * values).sum() / weights.sum())
