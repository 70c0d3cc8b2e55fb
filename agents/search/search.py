"""What all searches have in common: prompts in, one completion of each out, with what it may have cost.

A search is a policy of its own: it turns a policy and a reward into a better distribution over completions, with more
computing and without training. How much better it can be at worst for something that the reward does not see is what
its certificate says.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agents.policy import Policy
from agents.rollout import Rollouts, rollout
from agents.sources import Reward, checked
from reward_models.errors import InvalidInput

SEQUENCES_AT_ONCE = 256
"""As many prompts go through the networks together as have so many completions."""


@dataclass(frozen=True)
class Certificate:
    """What a search can cost beside the policy that it searches with, whatever the reward.

    With S the distribution of what is chosen and pi the policy's, S(y) <= ratio pi(y) for all completions y. So for any
    cost c >= 0, known or not, E_S[c] <= ratio E_pi[c]: what the policy rarely does, the search rarely does.
    """

    ratio: float
    """At least 1; infinite where nothing is certain."""
    kl: float
    """Upper bound of KL(S || pi), in nats; never above log(ratio)."""


@dataclass(frozen=True, eq=False)
class Found:
    """What a search chose, one completion per prompt."""

    prompts: tuple[str, ...]
    completions: tuple[str, ...]
    """The texts, without the end-of-sequence token."""
    tokens: tuple[tuple[int, ...], ...]
    """The end-of-sequence token included, where the completion ended."""
    rewards: Float[Tensor, " prompts"]
    """Of the chosen completions."""
    candidate_rewards: Float[Tensor, "prompts candidates"]
    """Of all completions that the reward was asked about, in the order in which it was asked."""
    certificates: tuple[Certificate, ...]
    """One per prompt, relative to the policy that was searched with."""


class AbstractSearch(ABC):
    """Chooses one completion of each prompt. Implementations are frozen dataclasses of their settings."""

    @abstractmethod
    def choose(
        self,
        policy: Policy,
        prompts: Sequence[str],
        reward: Reward,
        generator: torch.Generator,
        *,
        reference: Policy,
    ) -> Found:
        """Search with `policy`; everything random comes from `generator`.

        `reference` reads the completions for the reward (`Rollouts.reference`), as in training; it is no part of the
        certificate, and is `policy` itself where the base is searched with. Raises `InvalidInput` as `rollout` does
        and for a reward of another shape, `NonFinite` for one that is NaN or infinite.
        """


def candidates(
    policy: Policy,
    prompts: Sequence[str],
    reward: Reward,
    generator: torch.Generator,
    *,
    reference: Policy,
    n: int,
    max_new_tokens: int,
) -> Iterator[tuple[Rollouts, Float[Tensor, "prompts n"]]]:
    """`n` independent draws of each prompt with their rewards, a few prompts at a time, in the order of the prompts."""
    at_once = max(1, SEQUENCES_AT_ONCE // n)
    for begin in range(0, len(prompts), at_once):
        drawn = rollout(
            policy,
            reference,
            prompts[begin : begin + at_once],
            group=n,
            max_new_tokens=max_new_tokens,
            generator=generator,
        )
        yield drawn, scores_of(reward, drawn)


@torch.no_grad()
def scores_of(reward: Reward, rollouts: Rollouts) -> Float[Tensor, "prompts group"]:
    """One number per completion, rewards of tokens added up; errors as `agents.sources.checked`."""
    return checked(reward(rollouts), rollouts).sum(dim=1).view(-1, rollouts.samples.group)


def found_of(parts: Sequence[tuple[Rollouts, Float[Tensor, "_ n"], Tensor]], certificate: Certificate) -> Found:
    """Put together chunks of (draws, their rewards, place of the chosen one in each group); `InvalidInput` for none.

    The chunks need not have equally many prompts.
    """
    if not parts:
        raise InvalidInput("A search needs at least one prompt, got none.")
    prompts: list[str] = []
    completions: list[str] = []
    tokens: list[tuple[int, ...]] = []
    for rollouts, _, places in parts:
        samples = rollouts.samples
        for number, place in enumerate(places.tolist()):
            row = number * samples.group + place
            prompts.append(samples.prompts[number])
            completions.append(samples.completions[row])
            tokens.append(tuple(samples.tokens[row][samples.mask[row]].tolist()))
    return Found(
        prompts=tuple(prompts),
        completions=tuple(completions),
        tokens=tuple(tokens),
        rewards=torch.cat([rewards.gather(1, places[:, None])[:, 0] for _, rewards, places in parts]),
        candidate_rewards=torch.cat([rewards for _, rewards, _ in parts]),
        certificates=(certificate,) * len(prompts),
    )


def at_least(name: str, value: float | int, smallest: float | int) -> None:
    """Raises `InvalidInput` for a value below the smallest one, or for NaN."""
    if not value >= smallest or not math.isfinite(value):
        raise InvalidInput(f"{name} must be a number of at least {smallest}, got {value}.")
