"""Where the batches of a training come from: the policy's own completions of prompts, or completions that are given."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, final

import torch
from torch import Tensor

from agents.learner import Learner
from agents.returns import at_the_end
from agents.rollout import Rollouts, read_given
from reward_models.errors import InvalidInput, NonFinite

Reward = Callable[[Rollouts], Tensor]
"""One number per sequence (or one per token) in the order of the sequences; called without autocast or gradient."""


Given = Literal["rewards", "preferences", "demonstrations"]
"""What is said of the completions of a source; demonstrations are only there, with rewards of 0."""


class Material(NamedTuple):
    """What one step learns from."""

    rollouts: Rollouts
    rewards: Tensor
    """(sequences, time)."""
    preferences: Tensor | None
    """(pairs,), as `Batch.preferences`."""


class AbstractSource(ABC):
    """Completions with rewards, or with preferences, for every step of a training."""

    gives: ClassVar[Given] = "rewards"
    """What is said of its completions."""

    @abstractmethod
    def draw(self, learner: Learner, *, samples_from: Literal["policy", "reference"], seed: int, step: int) -> Material:
        """The material of a step; everything random in it follows from (seed, step)."""

    @abstractmethod
    def identity(self) -> dict[str, object]:
        """What two sources must share for a training to go on with the other one; JSON values."""


@final
@dataclass(frozen=True)
class OnPolicy(AbstractSource):
    """Completions that are drawn as training goes, and scored by a reward. Raises `InvalidInput` on unusable values."""

    prompts: Sequence[str]
    reward: Reward
    prompts_per_step: int = 12
    group: int = 8
    """Completions per prompt."""
    max_new_tokens: int = 64

    def __post_init__(self) -> None:
        if not self.prompts:
            raise InvalidInput("Training needs at least one prompt, got none.")
        for name in ("prompts_per_step", "group", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} must be at least 1, got {getattr(self, name)}.")

    def draw(self, learner: Learner, *, samples_from: Literal["policy", "reference"], seed: int, step: int) -> Material:
        """Sample, then ask the reward."""
        prompts = batch_of_step(self.prompts, self.prompts_per_step, seed=seed, step=step)
        generator = generator_of("sampling", seed=seed, number=step)
        group, max_new_tokens = self.group, self.max_new_tokens
        if samples_from == "policy":
            rollouts = learner.sample(prompts, group=group, max_new_tokens=max_new_tokens, generator=generator)
        else:
            rollouts = learner.sample_reference(
                prompts, group=group, max_new_tokens=max_new_tokens, generator=generator
            )
        with torch.no_grad():
            return Material(rollouts, checked(self.reward(rollouts), rollouts), preferences=None)

    def identity(self) -> dict[str, object]:
        """The prompts and the sizes; whether the reward is the same cannot be known here."""
        sizes = {name: getattr(self, name) for name in ("prompts_per_step", "group", "max_new_tokens")}
        return {"prompts": digest(list(self.prompts)), **sizes}


class GivenPair(NamedTuple):
    """A judged comparison."""

    prompt: str
    first: str
    second: str
    label: float
    """Probability that the first is better."""


@final
@dataclass(frozen=True)
class Comparisons(AbstractSource):
    """Judged pairs, all in a random order, then all in another, and so on."""

    pairs: Sequence[GivenPair]
    pairs_per_step: int = 32

    gives: ClassVar[Given] = "preferences"

    def __post_init__(self) -> None:
        if not self.pairs or self.pairs_per_step < 1:
            raise InvalidInput(
                f"Training needs at least one pair and pairs_per_step >= 1, got {len(self.pairs)} and "
                f"{self.pairs_per_step}."
            )
        for pair in self.pairs:
            if not 0 <= pair.label <= 1:
                raise InvalidInput(f"The label of a pair is a probability from 0 to 1, got {pair.label}.")

    def draw(self, learner: Learner, *, samples_from: Literal["policy", "reference"], seed: int, step: int) -> Material:
        """Read the next pairs; there is no reward but the label."""
        chosen = [
            self.pairs[place] for place in places_of_step(len(self.pairs), self.pairs_per_step, seed=seed, step=step)
        ]
        rollouts = read_given(
            learner.policy,
            learner.reference,
            [pair.prompt for pair in chosen],
            [(pair.first, pair.second) for pair in chosen],
        )
        labels = torch.tensor([pair.label for pair in chosen], device=rollouts.kl.device)
        return Material(rollouts, torch.zeros_like(rollouts.kl), preferences=labels)

    def identity(self) -> dict[str, object]:
        """The pairs and their number in a step."""
        return {"pairs": digest([list(pair) for pair in self.pairs]), "pairs_per_step": self.pairs_per_step}


@final
@dataclass(frozen=True)
class Demonstrations(AbstractSource):
    """Given completions of prompts, to be imitated: (prompt, completion) each."""

    examples: Sequence[tuple[str, str]]
    examples_per_step: int = 32

    gives: ClassVar[Given] = "demonstrations"

    def __post_init__(self) -> None:
        if not self.examples or self.examples_per_step < 1:
            raise InvalidInput(
                f"Training needs at least one example and examples_per_step >= 1, got {len(self.examples)} and "
                f"{self.examples_per_step}."
            )

    def draw(self, learner: Learner, *, samples_from: Literal["policy", "reference"], seed: int, step: int) -> Material:
        """Read the next examples; a demonstration has no reward."""
        places = places_of_step(len(self.examples), self.examples_per_step, seed=seed, step=step)
        prompts = [self.examples[place][0] for place in places]
        completions = [(self.examples[place][1],) for place in places]
        rollouts = read_given(learner.policy, learner.reference, prompts, completions)
        return Material(rollouts, torch.zeros_like(rollouts.kl), preferences=None)

    def identity(self) -> dict[str, object]:
        """The examples and their number in a step."""
        return {
            "examples": digest([list(example) for example in self.examples]),
            "examples_per_step": self.examples_per_step,
        }


def checked(rewards: Tensor, rollouts: Rollouts) -> Tensor:
    """Rewards of tokens out of what a reward gave; `InvalidInput` for another shape, `NonFinite` for NaN."""
    samples = rollouts.samples
    if rewards.shape not in {(len(samples),), tuple(samples.mask.shape)}:
        raise InvalidInput(
            f"The reward must be one number for each of {len(samples)} sequences, or for each of their tokens "
            f"({tuple(samples.mask.shape)}), got {tuple(rewards.shape)}."
        )
    if not bool(rewards.isfinite().all()):
        raise NonFinite("the reward of a completion is NaN or infinite; look at the reward model.")
    rewards = rewards.detach().to(rollouts.kl.device, torch.float32)
    return at_the_end(rewards, samples.mask) if rewards.ndim == 1 else rewards * samples.mask


def generator_of(stream: str, *, seed: int, number: int) -> torch.Generator:
    """A generator of its own for each (stream, seed, number); different ones are independent."""
    key = hashlib.sha256(json.dumps([stream, seed, number]).encode()).digest()
    # The mt19937 of the CPU reads 32 bits of its seed only.
    return torch.Generator().manual_seed(int.from_bytes(key[:4], "little"))


def places_of_step(total: int, count: int, *, seed: int, step: int) -> list[int]:
    """The places of a step: all in a random order, then all in another, and so on, `count` at a time."""
    places = range(step * count, (step + 1) * count)
    orders = {
        epoch: torch.randperm(total, generator=generator_of("order", seed=seed, number=epoch)).tolist()
        for epoch in {place // total for place in places}
    }
    return [orders[place // total][place % total] for place in places]


def batch_of_step(prompts: Sequence[str], count: int, *, seed: int, step: int) -> list[str]:
    """The prompts of a step."""
    return [prompts[place] for place in places_of_step(len(prompts), count, seed=seed, step=step)]


def digest(values: Sequence[object]) -> str:
    """A hash of JSON values."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
