"""The reward that an agent leaves on the table: what its own best-of-n would earn, less what it earns."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from agents.policy import Policy
from agents.search.search import at_least, candidates
from agents.sources import Reward
from reward_models.errors import InvalidInput
from reward_models.intervals import paired_difference


@dataclass(frozen=True)
class RewardResultGap:
    """Means over prompts, in units of the reward."""

    best: float
    """E[ max of n completions ]."""
    own: float
    """E[ one completion ]."""
    gap: float
    """best - own, never negative."""
    low: float
    """95% interval of the gap, a percentile bootstrap over prompts; of one prompt it has no width."""
    high: float
    n: int
    prompts: int


def reward_result_gap(
    policy: Policy,
    prompts: Sequence[str],
    reward: Reward,
    *,
    reference: Policy,
    n: int = 64,
    max_new_tokens: int,
    generator: torch.Generator,
) -> RewardResultGap:
    """What is left within reach of best-of-n, at log n - (n - 1) / n nats from the policy.

    Both means are of the same n draws, so the difference is unbiased and far less noisy than two separate runs. The
    reward is the one it is asked with: that of a reward model may be there to be left. `reference` reads the
    completions for the reward, as in training. Raises `InvalidInput` for no prompts or n < 2; else as `rollout`.
    """
    at_least("n", n, 2)
    if not prompts:
        raise InvalidInput("A gap needs at least one prompt, got none.")
    size = {"n": n, "max_new_tokens": max_new_tokens}
    rewards = torch.cat(
        [found for _, found in candidates(policy, prompts, reward, generator, reference=reference, **size)]
    )
    best, own = rewards.double().max(dim=1).values.cpu(), rewards.double().mean(dim=1).cpu()
    difference = paired_difference(best, own, generator=generator)
    return RewardResultGap(
        best=float(best.mean()),
        own=float(own.mean()),
        gap=difference.value,
        low=difference.low,
        high=difference.high,
        n=n,
        prompts=len(prompts),
    )
