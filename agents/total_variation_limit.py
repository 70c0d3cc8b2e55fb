"""A limit on the total variation of every episode from the reference, summed over its tokens.

With a the policy's and b the reference's distribution of the next token, and C_t what is left of the allowance,

    m_t = alpha_t a + (1 - alpha_t) b,    TV(m_t, b) = alpha_t TV(a, b) exactly, since m_t - b = alpha_t (a - b),
    alpha_t = min(1, C_t / TV(a, b)),     C_{t+1} = C_t - TV(m_t, b)

so that sum_t TV(m_t, b) <= C_0 along every path. The total variation of whole episodes P (acting) and Q (reference) is
then at most C_0 as well: in prod_t m_t - prod_t b_t = sum_t (prod_{s<t} m_s) (m_t - b_t) (prod_{s>t} b_s) the absolute
values, halved and summed over episodes, give TV(P, Q) <= E_P[sum_t TV(m_t, b)] <= C_0. So no event, and in particular
no harm, is more likely by more than C_0 than under the reference.

It is here to be compared with the budget of nats (`hard_budget`), not because it is safer. Theorem 2 of Cohen, Hutter,
Bengio & Russell 2024: of all policies within a total variation of the reference, the best raises *only* the actions
that are optimal for the reward, even where the reference would never take them. KL keeps a token impossible that the
reference makes impossible; total variation buys it at its probability.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from agents.divergence import total_variation
from agents.limits import AbstractLimit, Acting, mixture
from reward_models.errors import InvalidInput

ROUNDING = 1e-6
"""What a token pays beyond its total variation: more than float32 can be wrong by."""


@final
@dataclass(frozen=True)
class TotalVariationLimit(AbstractLimit):
    """The total variations of the tokens of an episode sum to no more than this, whatever the weights are."""

    total: float = 0.5
    """Positive. From 1 upwards it says nothing about whole episodes, whose total variation is at most 1."""

    def __post_init__(self) -> None:
        if not 0 < self.total < float("inf"):
            raise InvalidInput(f"A total variation must be a positive number, got {self.total}.")

    @property
    def allowance(self) -> float:
        """The total."""
        return self.total

    def act(
        self,
        policy: Float[Tensor, "sequences vocabulary"],
        reference: Float[Tensor, "sequences vocabulary"],
        left: Float[Tensor, " sequences"],
    ) -> Acting:
        """The acting distribution: the policy's own while it fits, then once a mixture that spends what is left."""
        target = (left - ROUNDING * (self.total + 1)).clamp(min=0.0)
        distance = total_variation(policy, reference)
        fits = distance <= target
        one = torch.ones_like(left)
        share = torch.where(fits, one, target / torch.where(fits, one, distance))
        # A mixture has spent everything; taking the difference would leave rounding, and a gradient of rounding.
        after = torch.where(fits, target - distance, torch.zeros_like(left))
        return Acting(log_probabilities=mixture(policy, reference, share), left=after)
