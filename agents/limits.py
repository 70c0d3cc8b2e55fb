"""How far one episode may go from the reference, whatever the weights are: a limit on the distributions that act.

A limit stands between the policy's network and its samples. At each token it is given the policy's and the reference's
distribution and what is left of the episode's allowance, and answers with the distribution that acts, a mixture of the
two, and with what is left after it. Nothing is learned here, and nothing can be overdrawn.

    m = alpha a + (1 - alpha) b,    a the policy's distribution, b the reference's, alpha the largest that fits.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Acting(NamedTuple):
    """One token of a limited episode, for each sequence."""

    log_probabilities: Float[Tensor, "sequences vocabulary"]
    """Of the distribution that acts, in nats."""
    left: Float[Tensor, " sequences"]
    """What is left of the allowance afterwards, never negative."""


class AbstractLimit(ABC):
    """Mixes the policy with the reference so that an allowance per episode is never overdrawn."""

    @property
    @abstractmethod
    def allowance(self) -> float:
        """What an episode may spend in all."""

    @abstractmethod
    def act(
        self,
        policy: Float[Tensor, "sequences vocabulary"],
        reference: Float[Tensor, "sequences vocabulary"],
        left: Float[Tensor, " sequences"],
    ) -> Acting:
        """The acting distribution, given both log-probabilities; differentiable in `policy` and in `left`."""


def mixture(
    policy: Float[Tensor, "sequences vocabulary"],
    reference: Float[Tensor, "sequences vocabulary"],
    share: Float[Tensor, " sequences"],
) -> Float[Tensor, "sequences vocabulary"]:
    """log(share a + (1 - share) b) of two log-probabilities: exactly the policy's at share 1, the reference's at 0.

    Differentiable in `policy` and `share`; where the share is 0 or 1, its gradient is 0. A token impossible to both
    stays so.
    """
    impossible = policy.isneginf() & reference.isneginf()
    inside = torch.where((share > 0) & (share < 1), share, torch.full_like(share, 0.5))[:, None]
    # Two tokens of probability 0 would have a gradient of 0 / 0.
    first = policy.masked_fill(impossible, 0.0) + inside.log()
    second = reference.masked_fill(impossible, 0.0) + torch.log1p(-inside)
    mixed = torch.logaddexp(first, second).masked_fill(impossible, -torch.inf)
    mixed = torch.where((share >= 1)[:, None], policy, mixed)
    return torch.where((share <= 0)[:, None], reference, mixed)


def acting_distributions(
    limit: AbstractLimit,
    policy: Float[Tensor, "sequences time vocabulary"],
    reference: Float[Tensor, "sequences time vocabulary"],
    mask: Bool[Tensor, "sequences time"],
) -> Float[Tensor, "sequences time vocabulary"]:
    """The distributions that act along given completions, token after token; with gradient where it is enabled.

    Both arguments are log-probabilities. A masked token spends nothing.
    """
    left = policy.new_full((policy.shape[0],), limit.allowance)
    acting: list[Tensor] = []
    for time in range(policy.shape[1]):
        found = limit.act(policy[:, time], reference[:, time], left)
        acting.append(found.log_probabilities)
        left = torch.where(mask[:, time], found.left, left)
    return torch.stack(acting, dim=1)
