"""Where the batches of a training come from: the policy's own completions of prompts, or completions that are given."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, final

import torch
from torch import Tensor

from agents.held import Held, rollouts_of_all
from agents.learner import Learner
from agents.policy import Policy
from agents.returns import at_the_end
from agents.rollout import Among, Rollouts, read_given
from reward_models.errors import InvalidInput, NonFinite
from reward_models.processes import Processes

Reward = Callable[[Rollouts], Tensor]
"""One number per sequence (or one per token) in the order of the sequences; called without autocast or gradient. With
several processes each asks it for its own completions."""


Given = Literal["rewards", "preferences", "demonstrations"]
"""What is said of the completions of a source; demonstrations are only there, with rewards of 0."""


class Material(NamedTuple):
    """What one step learns from."""

    rollouts: Rollouts
    rewards: Tensor
    """(sequences, time)."""
    preferences: Tensor | None
    """(pairs,), as `Batch.preferences`."""
    held: Held | None = None
    """As `Batch.held`."""


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
        draw = learner.sample if samples_from == "policy" else learner.sample_reference
        share = share_of(learner.processes, len(prompts))
        with learner.processes.together("Sampling"):
            rollouts = draw(
                prompts[share.start : share.stop],
                group=self.group,
                max_new_tokens=self.max_new_tokens,
                generator=generator,
                among=Among(share.start, len(prompts)),
            )
            with torch.no_grad():
                own = Material(rollouts, checked(self.reward(rollouts), rollouts), preferences=None)
        writer = learner.policy if samples_from == "policy" else learner.reference
        return of_all(own, writer, prompts, learner.processes)

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
        prompts, completions = [pair.prompt for pair in chosen], [(pair.first, pair.second) for pair in chosen]
        material = _read(learner, prompts, completions)
        labels = torch.tensor([pair.label for pair in chosen], device=material.rewards.device)
        return material._replace(preferences=labels)

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
        return _read(learner, prompts, completions)

    def identity(self) -> dict[str, object]:
        """The examples and their number in a step."""
        return {
            "examples": digest([list(example) for example in self.examples]),
            "examples_per_step": self.examples_per_step,
        }


def _read(learner: Learner, prompts: Sequence[str], completions: Sequence[tuple[str, ...]]) -> Material:
    """Given completions, without rewards."""
    share = share_of(learner.processes, len(prompts))
    part = slice(share.start, share.stop)
    with learner.processes.together("Reading"):
        rollouts = read_given(learner.policy, learner.reference, prompts[part], completions[part])
        own = Material(rollouts, torch.zeros_like(rollouts.kl), preferences=None)
    return of_all(own, learner.policy, prompts, learner.processes)


def share_of(processes: Processes, prompts: int) -> range:
    """This process's part of the prompts of a step; `InvalidInput` if there are fewer of them than processes."""
    if prompts < processes.count:
        raise InvalidInput(
            f"{prompts} prompts (or pairs, or examples) in a step cannot be divided among {processes.count} processes; "
            "launch fewer processes, or take more prompts in a step."
        )
    return processes.share(prompts)


def of_all(own: Material, policy: Policy, prompts: Sequence[str], processes: Processes) -> Material:
    """What all processes drew, where there are several, with `own` the part of this one; `policy` as it wrote them."""
    if not processes.several:
        return own
    rollouts, held = rollouts_of_all(own.rollouts, policy, prompts, processes.share(len(prompts)), processes)
    return Material(rollouts, held.everywhere(own.rewards), preferences=None, held=held)


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
