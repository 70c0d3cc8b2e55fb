"""PPO's loss by hand, its first step against the actor-critic's, its passes over a batch, and where it ends."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from agents.divergence import exact_kl
from agents.objectives.actor_critic import ActorCritic
from agents.objectives.clipped import clipped_loss, kl_from_previous, several_passes
from agents.objectives.ppo import PPO
from agents.policy import Policy
from agents.sources import generator_of
from reward_models.errors import InvalidInput
from tests.agents.enumerable import World, batch_of, gradient_of, trained, world
from tests.agents.objective_contract import EveryCompletion, ObjectiveContract


@pytest.fixture
def small(every_completion: EveryCompletion) -> World:
    return world(every_completion)


@pytest.mark.parametrize(
    ("ratio", "advantage", "surrogate", "slope"),
    [
        (1.5, 1.0, 1.2, 0.0),  # good and already likelier: no more
        (1.5, -1.0, -1.5, -1.5),  # bad and likelier: back
        (0.5, 1.0, 0.5, 0.5),  # good and less likely: back
        (0.5, -1.0, -0.8, 0.0),  # bad and already less likely: no more
        (1.1, 2.0, 2.2, 2.2),  # within the clip
        (1.0, 3.0, 3.0, 3.0),  # the first step
    ],
)
def test_the_clipped_loss_by_hand(ratio: float, advantage: float, surrogate: float, slope: float) -> None:
    """`slope` is d surrogate / d log pi: the ratio times the advantage, or 0 where the clip has the say."""
    log_ratio = torch.tensor([[ratio]]).log().requires_grad_()
    mask = torch.ones(1, 1, dtype=torch.bool)
    penalty = torch.full((1, 1), 0.5)
    loss = clipped_loss(
        log_ratio, penalty, torch.tensor([[advantage]]), mask, clip=0.2, beta=0.1, averaging="per_sequence"
    )
    # The penalty of 0.1 * 0.5 stands outside the clip.
    assert float(loss.detach()) == pytest.approx(0.05 - surrogate, abs=1e-6)
    (gradient,) = torch.autograd.grad(loss, log_ratio)
    assert float(gradient) == pytest.approx(-slope, abs=1e-6)


def test_the_first_step_is_that_of_the_actor_critic(small: World, make_policy: Callable[..., Policy]) -> None:
    """At ratio 1, from a policy away from the reference, with a critic that has an opinion: the same gradient."""
    policy = make_policy(7, vocabulary=3, spread=0.4)
    mine = gradient_of(small, PPO(epochs=1), group=32, policy=policy)
    other = gradient_of(small, ActorCritic(), group=32, policy=policy)
    torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-4)
    assert float(other.abs().max()) > 1e-2
    assert float((gradient_of(small, PPO(epochs=2), group=32, policy=policy) - mine).abs().max()) > 1e-4


def test_minibatches_are_whole_prompts_and_every_epoch_has_them_all(small: World) -> None:
    learner, batch = batch_of(small, group=2, prompts=5)
    seen: list[list[int]] = []

    def loss(reading: object, part: object, rows: Tensor) -> Tensor:
        assert torch.equal(part.tokens, batch.tokens[rows])  # type: ignore[attr-defined]
        seen.append(rows.tolist())
        return reading.chosen.sum() * 0.0  # type: ignore[attr-defined, no-any-return]

    generator = torch.Generator().manual_seed(0)
    record = several_passes(learner, batch, loss, generator, epochs=3, minibatches=2, clip=0.2)
    assert record.measures["epochs"] == 3.0
    assert len(seen) == 6
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        assert sorted(first + second) == list(range(10))
        assert (len(first), len(second)) == (6, 4)
        assert all(first[at] % 2 == 0 and first[at + 1] == first[at] + 1 for at in range(0, len(first), 2))
    assert len({tuple(rows) for rows in seen[::2]}) > 1


def test_more_minibatches_than_prompts_are_refused(small: World) -> None:
    learner, batch = batch_of(small, group=4, prompts=2)
    with pytest.raises(InvalidInput, match="as many prompts"):
        PPO(minibatches=3).update(learner, batch, torch.Generator())
    for unusable in ({"epochs": 0}, {"minibatches": 0}, {"clip": 0.0}, {"kl_stop": 0.0}, {"gae_lambda": 2.0}):
        with pytest.raises(InvalidInput):
            PPO(**unusable)  # type: ignore[arg-type]


def test_passes_end_once_the_policy_has_moved_too_far(small: World) -> None:
    measures = []
    for stop in (None, 1e-3, 1e3):
        learner, batch = batch_of(small, group=64)
        learner.optimizer.param_groups[0]["lr"] = 3e-2
        measures.append(PPO(epochs=3, kl_stop=stop).update(learner, batch, torch.Generator()).measures)
    assert [measure["epochs"] for measure in measures] == [3.0, 1.0, 3.0]
    # Rounding at the first step, where nothing has moved, does not end it before it began.
    learner, batch = batch_of(small, group=64)
    samples = batch.rollouts.samples
    noisy = replace(samples, log_probabilities=samples.log_probabilities + 1e-2)
    batch = replace(batch, rollouts=replace(batch.rollouts, samples=noisy))
    assert PPO(epochs=2, kl_stop=1e-9).update(learner, batch, torch.Generator()).measures["epochs"] == 1.0
    # What stopped it is what is reported, and it is what the second step of the others saw.
    assert measures[1]["approximate_kl"] > 1e-3
    assert measures[1]["clip_fraction"] == 0.0
    assert measures[0]["clip_fraction"] > 0.0
    assert measures[0] == measures[2]


def test_the_divergence_from_the_previous_policy_is_a_kl_of_whole_completions(small: World) -> None:
    """KL(previous || policy) over the vocabulary, summed over the tokens; the other direction is another number."""
    learner, batch = batch_of(small, group=4096)
    with torch.no_grad():
        for parameter in learner.parameters:
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)), alpha=0.1)
        learner.forget()
        reading = learner.read(batch)
    before = batch.rollouts.samples.distributions
    assert before is not None
    exact, turned = (
        float(kl.masked_fill(~batch.mask, 0.0).sum(1).mean())
        for kl in (exact_kl(before, reading.distributions), exact_kl(reading.distributions, before))
    )
    found = kl_from_previous(reading, batch)
    print(f"{exact=:.4f} {turned=:.4f} {found=:.4f}")
    assert found == pytest.approx(exact, rel=0.05)
    assert abs(turned - exact) > 0.1 * exact


def test_measures_of_one_pass_by_hand(small: World) -> None:
    """Nothing has moved before the only step; the critic knows nothing, so its loss is half the mean squared return."""
    learner, batch = batch_of(small, group=32)
    record = PPO(epochs=1).update(learner, batch, torch.Generator())
    returns = batch.returns(batch.rollouts.kl)[batch.mask]
    assert record.measures["clip_fraction"] == 0.0
    assert record.measures["approximate_kl"] == pytest.approx(0.0, abs=1e-6)
    assert record.measures["epochs"] == 1.0
    assert record.measures["value_loss"] == pytest.approx(float(returns.square().mean()) / 2, rel=1e-5)
    assert record.measures["explained_variance"] == 0.0


class TestPPO(ObjectiveContract):
    def objective(self) -> PPO:
        return PPO(epochs=2)


def test_minibatches_learn_too(small: World) -> None:
    """From 4 groups of the prompt in 2 parts; the division follows from the generator."""
    ends = []
    for seed in (0, 0, 1):
        learner, batch = batch_of(small, group=64, prompts=4)
        PPO(epochs=2, minibatches=2).update(learner, batch, generator_of("update", seed=seed, number=0))
        ends.append(small.log_distribution(learner.policy))
        assert small.expected_reward(learner.policy) > small.expected_reward(small.reference) + 0.005
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_it_reaches_the_posterior(small: World) -> None:
    """Seeds 0, 1, 2 ended at 0.0042, 0.0018, 0.0080 nats."""
    policy, _ = trained(small, PPO(), stages=((1e-2, 6), (1e-3, 8)), source=small.source(group=256))
    assert small.posterior_gap(small.reference) > 1.0
    assert small.posterior_gap(policy) < 0.04


def test_without_a_price_it_collapses(small: World) -> None:
    policy, _ = trained(small, PPO(), beta=0.0, stages=((3e-2, 10),), source=small.source(group=128))
    assert small.entropy(small.reference) > 0.5
    assert small.entropy(policy) < 0.03
    assert small.expected_reward(policy) > 0.98
