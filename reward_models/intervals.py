"""How far a share or a difference of two shares can be trusted, where comparisons come in groups.

Comparisons of one prompt, topic or document are alike: a hundred of them tell less than a hundred of different ones.
Give `groups` wherever there are any.
"""

from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int
from scipy.stats import norm
from torch import Tensor

from reward_models.errors import InvalidInput, NonFinite

PerComparison: TypeAlias = Float[Tensor, " comparisons"]
Groups: TypeAlias = Int[Tensor, " comparisons"]

CONFIDENCE = 0.95


class Share(NamedTuple):
    """A mean of numbers in [0, 1], and where it may lie."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """A mean difference of paired numbers, and where it may lie."""

    value: float
    low: float
    high: float


def share(
    values: PerComparison,
    *,
    weights: PerComparison | None = None,
    groups: Groups | None = None,
    confidence: float = CONFIDENCE,
) -> Share:
    """Weighted mean m of values in [0, 1] with a Wilson score interval (Wilson 1927), which holds near 0 and 1 too.

        centre +- z sqrt(m (1 - m) / n + z^2 / (4 n^2)) / (1 + z^2 / n),    centre = (m + z^2 / (2 n)) / (1 + z^2 / n)

    n is the number of independent answers that would be as uncertain: m (1 - m) over the variance of m between groups
    (each comparison its own without any), at most (sum w)^2 / sum w^2; where all values are alike, as many as there
    are groups (Korn and Graubard 1998). Raises as `paired_difference`.
    """
    counts = _checked(values, values, weights, groups)
    values = values.double()
    if bool(((values < 0.0) | (values > 1.0)).any()):
        raise InvalidInput("a value lies outside [0, 1]; give 1 for right, 0 for wrong, 0.5 for neither")
    mean = float((counts * values).sum() / counts.sum())
    n = _independent(values, counts, mean, groups)
    z = float(norm.ppf(0.5 + 0.5 * _checked_confidence(confidence)))
    shrink = 1.0 + z * z / n
    centre = (mean + z * z / (2.0 * n)) / shrink
    half = z * (mean * (1.0 - mean) / n + z * z / (4.0 * n * n)) ** 0.5 / shrink
    # At 0 and 1 rounding would leave the mean outside by a hair.
    return Share(mean, max(0.0, min(centre - half, mean)), min(1.0, max(centre + half, mean)))


def paired_difference(
    one: PerComparison,
    other: PerComparison,
    *,
    generator: torch.Generator,
    weights: PerComparison | None = None,
    groups: Groups | None = None,
    confidence: float = CONFIDENCE,
    resamples: int = 2000,
) -> Difference:
    """Weighted mean of one - other on the same comparisons, with a percentile bootstrap over whole groups.

    Which of two models is right more often is known far better than either accuracy, because easy comparisons are easy
    for both. Raises InvalidInput for shapes that differ, weights that are negative or sum to 0, a confidence outside
    (0, 1) or no resamples; NonFinite for a number that is not finite.
    """
    counts = _checked(one, other, weights, groups)
    if resamples < 1:
        raise InvalidInput(f"resamples is {resamples}; give at least 1")
    tail = 0.5 - 0.5 * _checked_confidence(confidence)
    sums = _by_group(counts * (one.double() - other.double()), groups)
    sizes = _by_group(counts, groups)
    sums, sizes = sums[sizes > 0.0], sizes[sizes > 0.0]
    means = torch.empty(resamples, dtype=torch.float64)
    for place in range(resamples):
        drawn = torch.randint(len(sums), (len(sums),), generator=generator)
        means[place] = sums[drawn].sum() / sizes[drawn].sum()
    low, high = torch.quantile(means, torch.tensor([tail, 1.0 - tail], dtype=torch.float64)).tolist()
    return Difference(float(sums.sum() / sizes.sum()), low, high)


def _independent(values: Tensor, counts: Tensor, mean: float, groups: Tensor | None) -> float:
    """How many independent answers are as uncertain as these."""
    total = float(counts.sum())
    variance = float(_by_group(counts * (values - mean), groups).square().sum()) / total**2
    if bool(((values == values[0]) | (counts == 0.0)).all()):
        return total**2 / float(_by_group(counts, groups).square().sum())
    most = total**2 / float(counts.square().sum())
    return most if variance * most <= mean * (1.0 - mean) else mean * (1.0 - mean) / variance


def _by_group(values: Tensor, groups: Tensor | None) -> Tensor:
    if groups is None:
        return values
    _, place = torch.unique(groups.cpu(), return_inverse=True)
    return torch.zeros(int(place.max()) + 1, dtype=torch.float64).index_add_(0, place, values.cpu())


def _checked(one: Tensor, other: Tensor, weights: Tensor | None, groups: Tensor | None) -> Tensor:
    """The weights (ones for none) in float64."""
    counts = torch.ones(one.shape, dtype=torch.float64, device=one.device) if weights is None else weights.double()
    shapes = {tuple(part.shape) for part in (one, other, counts, *(() if groups is None else (groups,)))}
    if len(shapes) != 1 or one.ndim != 1:
        raise InvalidInput(f"shapes {sorted(shapes)} differ; give one value, weight and group for each comparison")
    if not all(bool(torch.isfinite(part).all()) for part in (one, other, counts)):
        raise NonFinite("a value or weight is not finite; find its origin before measuring")
    if bool((counts < 0.0).any()) or float(counts.sum()) <= 0.0:
        raise InvalidInput("weights are negative or sum to 0; give at least one comparison that counts")
    return counts


def _checked_confidence(confidence: float) -> float:
    if not 0.0 < confidence < 1.0:
        raise InvalidInput(f"confidence is {confidence}; give a share between 0 and 1, such as 0.95")
    return confidence
