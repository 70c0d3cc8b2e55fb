"""The law by which best-of-n gains and then loses as it trusts a proxy further (Gao et al. 2023, section 3).

With d = sqrt(KL(best-of-n || the policy)), the gold gained over the policy is

    R(d) = d (alpha - beta d)

It climbs with alpha, peaks at d = alpha / (2 beta) where beta is positive, and falls below the policy beyond
alpha / beta. The two numbers come from small n and are tested on large n, which is what makes it a law.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from reward_models.errors import InvalidInput, NonFinite


@dataclass(frozen=True)
class OveroptimizationLaw:
    """The two numbers of the law."""

    alpha: float
    """Gold gained per unit of d at the start."""
    beta: float
    """How fast that is lost; negative where the gain still speeds up."""

    def gain(self, distances: Float[Tensor, " points"]) -> Float64[Tensor, " points"]:
        """R(d) = d (alpha - beta d)."""
        d = distances.double()
        return d * (self.alpha - self.beta * d)

    @property
    def peak(self) -> float | None:
        """The d of the largest gain, alpha / (2 beta); None where the law never turns down."""
        return self.alpha / (2.0 * self.beta) if self.alpha > 0.0 and self.beta > 0.0 else None


def fit_law(distances: Float[Tensor, " points"], gains: Float[Tensor, " points"]) -> OveroptimizationLaw:
    """Least squares of gains over the policy on d and -d^2; there is no intercept, as R(0) = 0.

    Raises InvalidInput for lengths that differ or fewer than two different positive d, NonFinite for a point that is
    not finite.
    """
    d, gained = _checked(distances, gains)
    if len(d[d > 0.0].unique()) < 2:
        raise InvalidInput(f"distances are {d.tolist()}; two unknowns need at least two different positive ones")
    columns = torch.stack([d, -d.square()], dim=1)
    alpha, beta = torch.linalg.lstsq(columns, gained[:, None]).solution[:, 0].tolist()
    return OveroptimizationLaw(alpha=alpha, beta=beta)


def r_squared(predicted: Float[Tensor, " points"], observed: Float[Tensor, " points"]) -> float | None:
    """1 - sum (y - p)^2 / sum (y - mean y)^2: 1 is perfect, 0 is what the observed mean would earn.

    Negative for worse than that, and strict where the observed points are nearly level; None where they are equal.
    Raises InvalidInput for lengths that differ or no points, NonFinite for one that is not finite.
    """
    p, y = _checked(predicted, observed)
    if bool((y == y[0]).all()):
        return None
    return float(1.0 - (y - p).square().sum() / (y - y.mean()).square().sum())


def _checked(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    if first.ndim != 1 or first.shape != second.shape or len(first) == 0:
        raise InvalidInput(
            f"got shapes {tuple(first.shape)} and {tuple(second.shape)}; give one number of each per point of the curve"
        )
    if not (bool(torch.isfinite(first).all()) and bool(torch.isfinite(second).all())):
        raise NonFinite("a point of the curve is not finite; find its origin before fitting")
    return first.double(), second.double()
