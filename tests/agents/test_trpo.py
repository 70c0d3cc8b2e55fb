"""TRPO: its surrogate by hand and by its gradient, its line search on real weights, its contract, and where it ends."""

from collections.abc import Callable

import pytest
import torch

from agents.batch import Batch
from agents.learner import Learner
from agents.objectives.natural_gradient import NaturalGradient
from agents.objectives.objective import AbstractObjective
from agents.objectives.policy_gradient import policy_gradient_loss
from agents.objectives.rloo import RLOO
from agents.objectives.trpo import TRPO
from agents.policy import Policy
from agents.second_order.local_model import surrogate_gain
from reward_models.errors import InvalidInput, NonFinite
from tests.agents.enumerable import World, batch_of, trained, world
from tests.agents.objective_contract import EveryCompletion, ObjectiveContract, distance, weights


class TestTRPO(ObjectiveContract):
    steps = 4

    def objective(self) -> TRPO:
        return TRPO()


@pytest.fixture
def small(every_completion: EveryCompletion) -> World:
    return world(every_completion)


def drawn(of: World, *, beta: float) -> tuple[Learner, Batch]:
    """A learner at the reference and 128 completions."""
    learner = Learner(of.reference.copy(), of.reference, learning_rate=1e-2)
    source = of.source(group=16, prompts_per_step=8)
    return learner, Batch(*source.draw(learner, samples_from="policy", seed=1, step=0)[:2], beta=beta)


def test_the_surrogate_by_hand() -> None:
    """Ratios 2 and 1/2, advantages 3 and -1: (1 * 3 + 0.5 * 1) / 2 = 1.75; KL 0.4 more in all at beta 0.5: -0.1."""
    mask = torch.tensor([[True, True], [True, False]])
    log_ratio = torch.tensor([[2.0, 1.0], [0.5, 9.0]]).log()
    advantage = torch.tensor([[3.0, 7.0], [-1.0, 9.0]])
    change = torch.tensor([[0.3, 0.0], [0.1, 9.0]])
    assert float(surrogate_gain(log_ratio, change, advantage, mask, beta=0.5)) == pytest.approx(1.75 - 0.1)
    zero = torch.zeros_like(change)
    assert float(surrogate_gain(zero, zero, advantage, mask, beta=0.5)) == 0.0


@pytest.mark.parametrize("objective", [TRPO(), NaturalGradient()])
def test_the_gradient_is_that_of_rloo(
    small: World, make_policy: Callable[..., Policy], objective: AbstractObjective
) -> None:
    """Away from the reference, where later tokens pay; in one batch, read by another attention kernel."""
    policy = make_policy(7, vocabulary=3, spread=0.4)
    norms = []
    for one in (objective, RLOO()):
        learner, batch = batch_of(small, group=16, prompts=2, policy=policy.copy())
        norms.append(one.update(learner, batch, torch.Generator()).gradient_norm)
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    assert norms[1] > 0.1


def test_at_the_old_policy_the_surrogate_rises_as_the_policy_gradient_says() -> None:
    generator = torch.Generator().manual_seed(0)
    old, kl, advantage = torch.randn(3, 4, 2, generator=generator)
    mask = torch.tensor([[True, True], [True, False], [True, True], [True, False]])
    chosen, divergence = old.clone().requires_grad_(), kl.clone().requires_grad_()
    gain = surrogate_gain(chosen - old, divergence - kl, advantage, mask, beta=0.3)
    loss = policy_gradient_loss(chosen, divergence, advantage, mask, beta=0.3)
    for one, other in zip(
        torch.autograd.grad(gain, (chosen, divergence)), torch.autograd.grad(loss, (chosen, divergence)), strict=True
    ):
        torch.testing.assert_close(one, -other)


def test_a_step_keeps_its_promise_and_is_what_was_accepted(small: World) -> None:
    learner, batch = drawn(small, beta=0.1)
    with torch.no_grad():
        old = learner.read(batch)
    record = TRPO(max_kl=0.05).update(learner, batch, torch.Generator())
    with torch.no_grad():
        new = learner.read(batch)
    kl = (old.distributions.exp() * (old.distributions - new.distributions)).sum(-1) * batch.mask
    measured = float(kl.sum() / len(kl))
    assert measured == pytest.approx(record.measures["kl_measured"], rel=1e-3)
    assert 0 < measured <= 0.05
    assert record.measures["surrogate_gain"] > 0
    assert record.measures["accepted_share"] in {0.5**number for number in range(10)}


def test_a_step_that_is_refused_leaves_the_weights(small: World) -> None:
    """A trust region below the rounding of float32 holds no step."""
    learner, batch = drawn(small, beta=0.1)
    record = TRPO(max_kl=1e-30, trials=2).update(learner, batch, torch.Generator())
    assert distance(weights(learner.policy), weights(small.reference)) == 0.0
    assert [record.measures[name] for name in ("accepted_share", "kl_measured", "step_length")] == [0.0, 0.0, 0.0]
    assert record.gradient_norm > 0


def test_a_long_step_is_shortened(small: World) -> None:
    """A region of 3 nats at 50 reward units a nat: the surrogate falls there, and it has the last word."""
    learner, batch = drawn(small, beta=50.0)
    record = TRPO(max_kl=3.0).update(learner, batch, torch.Generator())
    assert record.measures["accepted_share"] < 1
    assert record.measures["kl_predicted"] < 3.0


def test_a_search_that_fails_leaves_the_weights(small: World) -> None:
    learner, batch = drawn(small, beta=0.0)
    with pytest.raises(NonFinite):
        TRPO(max_kl=1e200).update(learner, batch, torch.Generator())
    assert distance(weights(learner.policy), weights(small.reference)) == 0.0


def test_unusable_settings_are_refused() -> None:
    for bad in ({"max_kl": 0.0}, {"shrink": 1.0}, {"trials": 0}, {"damping": 0.0}, {"iterations": 0}):
        with pytest.raises(InvalidInput, match=next(iter(bad))):
            TRPO(**bad)


def test_it_reaches_the_posterior(small: World) -> None:
    """Seeds 0, 1, 2 ended at 0.0017, 0.0098 and 0.0069 nats, from 1.21."""
    before = small.posterior_gap(small.reference)
    source = small.source(group=64, prompts_per_step=8)
    policy, _ = trained(small, TRPO(), stages=((1e-3, 25),), source=source)
    after = small.posterior_gap(policy)
    print(f"posterior gap: {before:.3f} nats before, {after:.5f} after")
    assert before > 1
    assert after < 0.03
