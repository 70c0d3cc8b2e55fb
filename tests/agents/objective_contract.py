"""What every objective has to keep; the test file of an objective subclasses this, once for each way to set it."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from agents.batch import Batch
from agents.learner import Learner
from agents.objectives.objective import AbstractObjective
from agents.policy import Policy
from agents.regularizer import FixedPenalty
from agents.sources import AbstractSource, generator_of
from agents.training import TrainSettings, train
from reward_models.errors import NonFinite
from tests.agents.enumerable import World, world

EveryCompletion = Callable[[int, int], list[tuple[int, ...]]]


def weights(policy: Policy) -> dict[str, Tensor]:
    """A copy of all weights."""
    return {name: value.clone() for name, value in policy.model.state_dict().items()}


def distance(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Largest difference of any weight."""
    return max(float((first[name] - second[name]).abs().max()) for name in first)


class ObjectiveContract:
    """Subclasses define `objective`, and `source` if it does not learn from its own samples."""

    learning_rate = 1e-3
    steps = 15
    """Small steps after which the sign of the change in expected reward is certain."""

    def objective(self) -> AbstractObjective:
        """The implementation under test."""
        raise NotImplementedError

    def source(self, of: World, *, sign: float = 1.0) -> AbstractSource:
        """What it learns from; with `sign` -1, the same with the reward (or the preference) turned round."""
        return of.source(group=128, sign=sign)

    @pytest.fixture
    def small(self, every_completion: EveryCompletion) -> World:
        """Seven completions of one prompt."""
        return world(every_completion)

    def run(self, of: World, *, steps: int, sign: float = 1.0, checkpoint: Path | None = None) -> Policy:
        """Train a copy of the reference."""
        policy = of.reference.copy()
        train(
            policy,
            of.reference,
            source=self.source(of, sign=sign),
            objective=self.objective(),
            regularizer=FixedPenalty(of.beta),
            settings=TrainSettings(steps=steps, learning_rate=self.learning_rate, checkpoint_every=2),
            seed=3,
            checkpoint=checkpoint,
        )
        return policy

    def update(self, of: World, change: Callable[[Batch], Batch]) -> Policy:
        """One update on a changed batch."""
        policy = of.reference.copy()
        self.update_of(policy, of, change)
        return policy

    def update_of(self, policy: Policy, of: World, change: Callable[[Batch], Batch]) -> None:
        """The same, of a given policy."""
        objective = self.objective()
        learner = Learner(policy, of.reference, learning_rate=1e-2, with_critic=objective.needs_critic)
        material = self.source(of).draw(learner, samples_from=objective.samples_from, seed=1, step=0)
        batch = Batch(*material[:2], beta=of.beta, preferences=material.preferences)
        objective.update(learner, change(batch), generator_of("update", seed=1, number=0))

    def test_it_raises_the_reward_and_the_turned_reward_lowers_it(self, small: World) -> None:
        """A sign flip anywhere on the way would show."""
        start = small.expected_reward(small.reference)
        assert small.expected_reward(self.run(small, steps=self.steps)) > start + 0.02
        assert small.expected_reward(self.run(small, steps=self.steps, sign=-1.0)) < start - 0.02

    def test_padding_may_hold_anything(self, small: World) -> None:
        def dirty(batch: Batch) -> Batch:
            samples = batch.rollouts.samples
            assert not bool(samples.mask.all())
            tokens = torch.where(samples.mask, samples.tokens, (samples.tokens + 1) % 3)
            odd = torch.where(samples.mask, samples.log_probabilities, torch.full_like(samples.log_probabilities, -9.0))
            rewards = torch.where(samples.mask, batch.rewards, torch.full_like(batch.rewards, 7.0))
            changed = replace(samples, tokens=tokens, log_probabilities=odd)
            return replace(batch, rollouts=replace(batch.rollouts, samples=changed), rewards=rewards)

        clean, other = (self.update(small, change) for change in (lambda batch: batch, dirty))
        assert distance(weights(clean), weights(other)) < 1e-6
        assert distance(weights(clean), weights(small.reference)) > 1e-5

    def test_a_batch_that_is_not_finite_leaves_the_weights(self, small: World) -> None:
        def spoiled(batch: Batch) -> Batch:
            bad = torch.full_like(batch.rewards, float("nan"))
            preferences = None if batch.preferences is None else torch.full_like(batch.preferences, float("nan"))
            samples = replace(batch.rollouts.samples, log_probabilities=bad)
            logits = batch.rollouts.reference_logits * bad.sum()
            rollouts = replace(batch.rollouts, samples=samples, reference_logits=logits)
            return replace(batch, rewards=bad, preferences=preferences, rollouts=rollouts)

        policy = small.reference.copy()
        with pytest.raises(NonFinite):
            self.update_of(policy, small, spoiled)
        assert distance(weights(policy), weights(small.reference)) == 0.0

    def test_five_steps_are_three_and_two(self, small: World, tmp_path: Path) -> None:
        straight = self.run(small, steps=5)
        self.run(small, steps=3, checkpoint=tmp_path)
        resumed = self.run(small, steps=5, checkpoint=tmp_path)
        assert distance(weights(straight), weights(resumed)) == 0.0
        assert distance(weights(straight), weights(small.reference)) > 1e-5

    def test_global_randomness_is_neither_read_nor_changed(self, small: World) -> None:
        torch.manual_seed(1)
        first = weights(self.run(small, steps=2))
        torch.manual_seed(2)
        before = torch.get_rng_state()
        second = weights(self.run(small, steps=2))
        assert torch.equal(torch.get_rng_state(), before)
        assert distance(first, second) == 0.0

    def test_its_settings_are_in_its_name(self) -> None:
        """A checkpoint is refused to a training with other settings, which are compared by their representation."""
        objective = self.objective()
        assert is_dataclass(objective)
        for setting in fields(objective):
            assert f"{setting.name}=" in repr(objective)
