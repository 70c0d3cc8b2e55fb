"""Best of n: draw n completions, take the one of the highest reward.

With F(r) the probability that a completion of the policy has at most the reward r, and F(r-) that of less, the chosen
one is y with probability

    S(y) = pi(y) ( F(r)^n - F(r-)^n ) / ( F(r) - F(r-) ),    r = r(y),

since the best reward of n is r with probability F(r)^n - F(r-)^n, and among completions of one reward the policy's own
proportions remain. The fraction is at most n, so S <= n pi; and KL(S || pi) <= log n - (n - 1) / n nats, with equality
where no two completions have the same reward (Beirami et al. 2024; Hilton & Gao 2022, "Measuring Goodhart's law").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch

from agents.policy import Policy
from agents.search.search import AbstractSearch, Certificate, Found, at_least, candidates, found_of
from agents.sources import Reward
from reward_models.best_of_n import best_of_n_kl


@final
@dataclass(frozen=True)
class BestOfN(AbstractSearch):
    """Draws `n` completions and takes the best; of equally good ones the first. `InvalidInput` on unusable values."""

    n: int = 16
    max_new_tokens: int = 64

    def __post_init__(self) -> None:
        at_least("n", self.n, 1)
        at_least("max_new_tokens", self.max_new_tokens, 1)

    @property
    def certificate(self) -> Certificate:
        """Ratio n, and the KL above; both hold for every reward and policy."""
        return Certificate(ratio=float(self.n), kl=best_of_n_kl(self.n))

    def choose(
        self,
        policy: Policy,
        prompts: Sequence[str],
        reward: Reward,
        generator: torch.Generator,
        *,
        reference: Policy,
    ) -> Found:
        """The first completion of the highest reward."""
        size = {"n": self.n, "max_new_tokens": self.max_new_tokens}
        parts = [
            (rollouts, rewards, rewards.argmax(dim=1))
            for rollouts, rewards in candidates(policy, prompts, reward, generator, reference=reference, **size)
        ]
        return found_of(parts, self.certificate)
