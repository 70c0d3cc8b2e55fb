"""Features in units of their own spread, around the mean of the training completions."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

_CONSTANT = 1e-7
"""A feature whose deviation is below this share of its size is constant up to single-precision rounding."""


class Standardisation(NamedTuple):
    """What is taken from a feature, and what the rest is divided by."""

    mean: Float[Tensor, " features"]
    """Weighted mean over the completions of both sides."""
    scale: Float[Tensor, " features"]
    """Weighted population standard deviation over them; 1 where it vanishes."""


def standardisation(
    first: Float[Tensor, "comparisons features"],
    second: Float[Tensor, "comparisons features"],
    weights: Float[Tensor, " comparisons"],
) -> Standardisation:
    """Mean and deviation of each feature; a feature that is constant up to rounding keeps its unit (scale 1)."""
    values = torch.cat([first, second])
    share = (weights.repeat(2) / (2.0 * weights.sum()))[:, None]
    mean = (share * values).sum(dim=0)
    deviation = (share * (values - mean).square()).sum(dim=0).sqrt()
    size = (share * values.square()).sum(dim=0).sqrt()
    scale = torch.where(deviation <= _CONSTANT * size, torch.ones_like(deviation), deviation)
    return Standardisation(mean=mean, scale=scale)
