"""The natural gradient: its step by hand, its contract, and where it ends."""

import pytest
import torch

from agents.batch import Batch
from agents.learner import Learner
from agents.objectives.natural_gradient import NaturalGradient
from agents.objectives.objective import UpdateRecord
from agents.policy import Policy
from reward_models.errors import InvalidInput, NonFinite
from tests.agents.enumerable import World, trained, world
from tests.agents.objective_contract import EveryCompletion, ObjectiveContract, distance, weights


class TestNaturalGradient(ObjectiveContract):
    steps = 4

    def objective(self) -> NaturalGradient:
        return NaturalGradient()


def one_update(of: World, objective: NaturalGradient, *, beta: float, sign: float = 1.0) -> tuple[UpdateRecord, Policy]:
    """One update of a copy of the reference on 128 completions."""
    policy = of.reference.copy()
    learner = Learner(policy, of.reference, learning_rate=1e-2)
    source = of.source(group=16, prompts_per_step=8, sign=sign)
    material = source.draw(learner, samples_from="policy", seed=1, step=0)
    return objective.update(learner, Batch(*material[:2], beta=beta), torch.Generator()), policy


@pytest.fixture
def small(every_completion: EveryCompletion) -> World:
    return world(every_completion)


def test_the_step_is_the_shorter_of_the_trust_region_and_newton() -> None:
    """step / beta = 0.5 / 0.25 = 2; without a price there is no Newton step."""
    objective = NaturalGradient(step=0.5)
    assert objective.multiple(3.0, beta=0.25) == 2.0
    assert objective.multiple(1.5, beta=0.25) == 1.5
    assert objective.multiple(3.0, beta=0.0) == 3.0


@pytest.mark.parametrize("max_kl", [1e-4, 1e-3])
def test_a_step_is_as_long_as_it_was_said_to_be(small: World, max_kl: float) -> None:
    """Predicted at most max_kl (less what damping takes), and measured the same to first order in its length."""
    record, policy = one_update(small, NaturalGradient(max_kl=max_kl, damping=1e-6), beta=0.1)
    measures = record.measures
    assert measures["kl_predicted"] == pytest.approx(max_kl, rel=0.01)
    assert measures["kl_measured"] == pytest.approx(max_kl, rel=0.25)
    moved = sum(
        float((new - old).detach().square().sum())
        for new, old in zip(policy.model.parameters(), small.reference.model.parameters(), strict=True)
    )
    assert measures["step_length"] == pytest.approx(moved**0.5, rel=1e-3)
    assert measures["residual"] <= 0.1


def test_equal_rewards_at_the_reference_move_nothing(small: World) -> None:
    """The gradient is rounding noise there, and must not be blown up to a whole trust region."""
    record, policy = one_update(small, NaturalGradient(), beta=0.5, sign=0.0)
    assert record.gradient_norm < 1e-4
    assert record.measures["kl_measured"] < 1e-6
    assert distance(weights(policy), weights(small.reference)) < 1e-3


def test_a_step_to_where_nothing_is_finite_is_taken_back(small: World) -> None:
    policy = small.reference.copy()
    with pytest.raises(NonFinite, match="lower max_kl"):
        learner = Learner(policy, small.reference, learning_rate=1e-2)
        material = small.source(group=16).draw(learner, samples_from="policy", seed=1, step=0)
        batch = Batch(*material[:2], beta=0.0)
        NaturalGradient(max_kl=1e70).update(learner, batch, torch.Generator())
    assert distance(weights(policy), weights(small.reference)) == 0.0


def test_unusable_settings_are_refused() -> None:
    for bad in ({"max_kl": 0.0}, {"step": -1.0}, {"damping": 0.0}, {"iterations": 0}, {"tolerance": float("nan")}):
        with pytest.raises(InvalidInput, match=next(iter(bad))):
            NaturalGradient(**bad)


def test_it_reaches_the_posterior(small: World) -> None:
    """Seeds 0, 1, 2 ended at 0.0018, 0.0018 and 0.0022 nats, from 1.21."""
    before = small.posterior_gap(small.reference)
    source = small.source(group=64, prompts_per_step=8)
    policy, _ = trained(small, NaturalGradient(), stages=((1e-3, 25),), source=source)
    after = small.posterior_gap(policy)
    print(f"posterior gap: {before:.3f} nats before, {after:.5f} after")
    assert before > 1
    assert after < 0.03
