"""A batch of candidates that are each worth asking and do not repeat one another.

The members' spread rates candidates one by one, and the most disputed of them are often one question asked many times
(Melo et al. 2024 on BAL-PM, arXiv:2406.10023). Here a candidate loses what the rest of the batch would tell anyway.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from reward_models.errors import NonFinite

NOISE = 0.1
"""Variance of an answer, in units of a candidate's variance before the batch: one answer leaves NOISE / (1 + NOISE)."""


def directions(features: Float[Tensor, "candidates width"], places: Sequence[int]) -> Float[Tensor, "places width"]:
    """Features at the given places, in units of their root mean square over all candidates, each turned to length 1.

    Neither the scale of a feature nor the sign of a candidate changes what is chosen, so features of the first
    completion less those of the second serve as well as the reverse. A candidate whose features are all 0 stays 0.
    Raises NonFinite for a feature that is not finite.
    """
    size = features.square().mean(dim=0).sqrt()
    if not bool(torch.isfinite(size).all()):
        raise NonFinite("a feature of a candidate is not finite; check the pass of the reference model that made it")
    # Single precision: what the greedy steps cost is reading this matrix.
    scaled = features[list(places)].float() / torch.where(size > 0.0, size, torch.ones_like(size)).float()
    length = scaled.norm(dim=1, keepdim=True)
    return scaled / torch.where(length > 0.0, length, torch.ones_like(length))


def greedy(
    values: Float[Tensor, "rows candidates"],
    slots: Sequence[int],
    candidates: Float[Tensor, "candidates width"],
    given: Float[Tensor, "given width"],
    *,
    diversity: float,
) -> list[int]:
    """One candidate for each slot, each different: slot by slot the largest  value * novelty^diversity, ties by place.

    Slot t reads row slots[t] of the values. The novelty of a candidate with direction x, after the set A of those that
    are `given` or chosen, is what the answers to A would leave open about x under a linear reward:

        novelty(x | A) = (variance(x | A) + NOISE) / (1 + NOISE),   variance(x | A) = x.(I + X_A^T X_A / NOISE)^-1 x

    The product of the novelties is det(S + NOISE I) / (1 + NOISE)^n with S the cosines between all that were chosen,
    so that the steps climb  sum log value + diversity * log det(S + NOISE I): the greedy maximum of a determinantal
    point process (Chen, Zhang and Zhou 2018). A step costs (candidates + slots) * width.
    """
    state = _Novelty(candidates, capacity=len(given) + len(slots))
    for direction in given:
        state.learn(direction)
    chosen: list[int] = []
    taken = torch.zeros(candidates.shape[0], dtype=torch.bool)
    for slot in slots:
        rating = values[slot] * state.novelty().pow(diversity)
        # Every rating is at least 0, and argmax takes the first of equals.
        place = int(rating.masked_fill(taken, -1.0).argmax())
        state.learn(candidates[place])
        taken[place] = True
        chosen.append(place)
    return chosen


class _Novelty:
    """Variances of all candidates given what was learned; the covariance is  I - sum_t turned_t turned_t^T."""

    def __init__(self, candidates: Tensor, *, capacity: int) -> None:
        self._candidates = candidates
        self._variance = candidates.square().sum(dim=1)
        self._turned = candidates.new_zeros(capacity, candidates.shape[1])
        self._learned = 0

    def novelty(self) -> Tensor:
        return (self._variance.clamp(min=0.0) + NOISE) / (1.0 + NOISE)

    def learn(self, direction: Tensor) -> None:
        """Take an answer about a direction into account: one step of the Kalman filter."""
        known = self._turned[: self._learned]
        covariance = direction - (known @ direction) @ known
        turned = covariance / (direction @ covariance + NOISE).sqrt()
        self._turned[self._learned] = turned
        self._variance -= (self._candidates @ turned).square()
        self._learned += 1
