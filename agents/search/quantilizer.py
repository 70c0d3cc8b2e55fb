"""A quantilizer: one of the best q share of what the policy does, at random, instead of the best.

Taylor 2016, "Quantilizers: A Safer Alternative to Maximizers for Limited Optimization": what a reward misses can be
arbitrarily bad where the reward is highest, so take no completion much more often than the policy does. Here n
completions are drawn and one of the k = ceil(q n) best is taken, each with the same chance.

The certificate holds for finite n, every reward and every cost. Let y_1 .. y_n be the draws and I the number of the one
that is taken. Whatever the draws are, P(I = i | y_1 .. y_n) is 1 / k for the k best and 0 for the others, at most 1 / k
in any case. So for every completion y

    S(y) = sum_i P(I = i, y_i = y) <= sum_i (1 / k) P(y_i = y) = (n / k) pi(y),

hence E_S[c] <= (n / k) E_pi[c] for any cost c >= 0, and KL(S || pi) = E_S[ log S / pi ] <= log(n / k). As k >= q n,
that is at most 1 / q and log(1 / q), which are Taylor's and what is reached as n grows, where rewards do not tie.
Nothing was said of how the k are ranked: ties, noise or a hostile reward change nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch

from agents.policy import Policy
from agents.search.search import AbstractSearch, Certificate, Found, at_least, candidates, found_of
from agents.sources import Reward
from reward_models.errors import InvalidInput

ROUNDING = 1e-9
"""0.07 times 100 is a little above 7 in floating point, and means 7."""


@final
@dataclass(frozen=True)
class Quantilizer(AbstractSearch):
    """Takes one of the best `q` share of `n` draws at random. `InvalidInput` on unusable values."""

    q: float = 0.1
    """Above 0, at most 1, which is the policy itself."""
    n: int = 64
    """More draws reward better at the same certificate, up to a limit; 1 / q of them is `BestOfN`."""
    max_new_tokens: int = 64

    def __post_init__(self) -> None:
        if not 0.0 < self.q <= 1.0:
            raise InvalidInput(f"q must be a share above 0 and at most 1, got {self.q}.")
        at_least("n", self.n, 1)
        at_least("max_new_tokens", self.max_new_tokens, 1)

    @property
    def kept(self) -> int:
        """Among how many of the best the choice is: k = ceil(q n)."""
        return max(1, math.ceil(self.q * self.n - ROUNDING))

    @property
    def certificate(self) -> Certificate:
        """Ratio n / k and KL log(n / k)."""
        ratio = self.n / self.kept
        return Certificate(ratio=ratio, kl=math.log(ratio))

    def choose(
        self,
        policy: Policy,
        prompts: Sequence[str],
        reward: Reward,
        generator: torch.Generator,
        *,
        reference: Policy,
    ) -> Found:
        """One of the k best at random; of equally good ones the first drawn count as the better."""
        size = {"n": self.n, "max_new_tokens": self.max_new_tokens}
        parts = []
        for rollouts, rewards in candidates(policy, prompts, reward, generator, reference=reference, **size):
            best = rewards.argsort(dim=1, descending=True, stable=True)[:, : self.kept]
            pick = torch.randint(self.kept, (len(best), 1), generator=generator, device=generator.device)
            parts.append((rollouts, rewards, best.gather(1, pick.to(best.device))[:, 0]))
        return found_of(parts, self.certificate)
