"""Which comparison to ask next.

A random share is always drawn, and drawn first, from all candidates: those judgements are an unbiased sample, on which
gain over random is measured rather than believed.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from reward_models.errors import InvalidInput, NonFinite

Method = Literal["random", "spread"]


@dataclass(frozen=True)
class Selected:
    """One candidate that will be asked, and why."""

    index: int
    """Its place among the candidates."""
    reason: Method
    """`random` for the random share, else the rule that chose it."""


def preference_spread(
    scores_first: Float[Tensor, "members candidates"], scores_second: Float[Tensor, "members candidates"]
) -> Float[Tensor, " candidates"]:
    """Standard deviation over members of the probability that the first is better (Christiano et al. 2017).

    Of the probability, not of the score difference: members that agree on the winner and differ in how clear the case
    is have nothing to ask.
    """
    return torch.sigmoid(scores_first - scores_second).std(dim=0, correction=0)


def select(
    scores_first: Float[Tensor, "members candidates"],
    scores_second: Float[Tensor, "members candidates"],
    *,
    count: int,
    method: Method,
    random_share: float,
    generator: torch.Generator,
) -> list[Selected]:
    """Choose `count` different candidates, in random order so that neither share is judged first.

    `random` draws all uniformly. `spread` draws ceil(random_share * count) of them uniformly from all candidates, and
    takes the rest from what is left by largest `preference_spread`, ties by place. Comparisons chosen by spread are
    hard ones: accuracy on them says nothing about accuracy on typical ones.

    Raises InvalidInput for unequal shapes, a count outside 0..candidates, an unknown method, or a random share outside
    (0, 1]; NonFinite for scores that are not finite.
    """
    _check(scores_first, scores_second, count=count, method=method, random_share=random_share)
    candidates = scores_first.shape[1]
    order = torch.randperm(candidates, generator=generator).tolist()
    # Rounded before the ceiling: 0.07 * 100 is a little more than 7 in binary.
    drawn = count if method == "random" else math.ceil(round(random_share * count, 9))
    chosen = [Selected(index=index, reason="random") for index in order[:drawn]]
    if drawn < count:
        spread = preference_spread(scores_first, scores_second).tolist()
        ranked = sorted(order[drawn:], key=lambda index: (-spread[index], index))
        chosen += [Selected(index=index, reason="spread") for index in ranked[: count - drawn]]
    return [chosen[place] for place in torch.randperm(count, generator=generator).tolist()]


def _check(first: Tensor, second: Tensor, *, count: int, method: str, random_share: float) -> None:
    if first.shape != second.shape or first.ndim != 2 or first.shape[0] == 0:
        raise InvalidInput(
            f"scores are {tuple(first.shape)} and {tuple(second.shape)}; expected twice (members, candidates)"
        )
    if not 0 <= count <= first.shape[1]:
        raise InvalidInput(f"count is {count} with {first.shape[1]} candidates; ask for fewer or offer more candidates")
    if method not in ("random", "spread"):
        raise InvalidInput(f"method is {method!r}; choose 'random' or 'spread'")
    if not 0.0 < random_share <= 1.0:
        raise InvalidInput(
            f"random_share is {random_share}; give more than 0 and at most 1, some are always drawn at random"
        )
    if not (bool(torch.isfinite(first).all()) and bool(torch.isfinite(second).all())):
        raise NonFinite("a score is not finite; refit the ensemble or check its features")
