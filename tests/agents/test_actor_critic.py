"""The actor-critic's gradient against that of the objective, enumerated; what its critic learns; and where it ends."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from agents.advantages import generalised_advantages
from agents.learner import Learner
from agents.objectives.actor_critic import ActorCritic, values_of
from agents.objectives.policy_gradient import policy_gradient_loss
from agents.objectives.reinforce import REINFORCE
from agents.policy import Policy
from agents.returns import at_the_end, returns_to_go, transition_rewards
from agents.sources import generator_of
from agents.value_function import explained_variance, value_loss
from reward_models.errors import InvalidInput
from tests.agents.enumerable import batch_of, gradient_of, trained, world
from tests.agents.objective_contract import EveryCompletion, ObjectiveContract
from tests.agents.tabular import Completions, Pieces, Tabular, objective_gradient, pieces

BETA = 0.4


def true_values(completions: Completions, seen: Pieces, returns: Tensor) -> Tensor:
    """E[R_t | y_<t] for every completion and time, by summing over the completions with that prefix."""
    values = torch.zeros_like(returns)
    for row, sequence in enumerate(completions):
        for time in range(len(sequence)):
            same = [number for number, other in enumerate(completions) if other[:time] == sequence[:time]]
            share = seen.probability[same] / seen.probability[same].sum()
            values[row, time] = (share * returns[same, time]).sum()
    return values


@pytest.mark.parametrize(
    ("gae_lambda", "critic", "unbiased"),
    [(1.0, "wrong", True), (0.0, "true", True), (0.6, "true", True), (0.0, "wrong", False)],
)
def test_expected_gradient_is_that_of_the_objective(
    every_completion: EveryCompletion, gae_lambda: float, critic: str, unbiased: bool
) -> None:
    """With lambda = 1 whatever the critic believes, and with a true critic whatever lambda is; not with neither."""
    completions = every_completion(3, 3)
    policy, reference = Tabular(completions, 1), Tabular(completions, 2)
    generator = torch.Generator().manual_seed(3)
    reward = torch.randn(len(completions), generator=generator)
    seen = pieces(policy, reference, completions)
    rewards, kl = at_the_end(reward, seen.mask), seen.kl.detach()
    opinion = torch.randn(len(policy.row), generator=generator)
    values = torch.stack([opinion[[policy.row.get(one[:time], 0) for time in range(3)]] for one in completions])
    if critic == "true":
        values = true_values(completions, seen, returns_to_go(rewards, kl, seen.mask, beta=BETA))
    transitions = transition_rewards(rewards, kl, seen.mask, beta=BETA)
    advantage = generalised_advantages(transitions, values, seen.mask, discount=1.0, gae_lambda=gae_lambda)
    total = torch.zeros(())
    for row in range(len(completions)):
        one = slice(row, row + 1)
        loss = policy_gradient_loss(
            seen.log_probabilities[one], seen.kl[one], advantage[one], seen.mask[one], beta=BETA
        )
        total = total + seen.probability[row] * loss
    (gradient,) = torch.autograd.grad(total, policy.logits)
    expected = objective_gradient(policy, reference, completions, reward, beta=BETA)
    error = float((-gradient - expected).abs().max())
    assert error < 2e-6 if unbiased else error > 1e-2


def test_value_loss_and_explained_variance_by_hand() -> None:
    """Returns 1, 3 and values 0, 2 (7 on padding): errors 1, 1, so half their mean square is 1/2, and all is explained.

    With values 0, 0 nothing is; with 2, 0 the errors -1, 3 have variance 4 against that of the returns, 1: 1 - 4.
    """
    mask = torch.tensor([[True, True, False]])
    returns = torch.tensor([[1.0, 3.0, 0.0]])
    values = torch.tensor([[0.0, 2.0, 7.0]])
    assert float(value_loss(values, returns, mask)) == 0.5
    assert explained_variance(values, returns, mask) == 1.0
    assert explained_variance(torch.zeros(1, 3), returns, mask) == 0.0
    assert explained_variance(torch.tensor([[2.0, 0.0, 7.0]]), returns, mask) == -3.0
    assert explained_variance(values, torch.ones(1, 3), mask) == 0.0


def test_the_critic_learns_what_is_still_to_come(
    make_policy: Callable[..., Policy], every_completion: EveryCompletion
) -> None:
    """At every prefix: the mean of the returns seen there, the KL of later tokens in it and its own not."""
    small = world(every_completion)
    learner, batch = batch_of(small, group=256, policy=make_policy(7, vocabulary=3, spread=0.4))
    for group, rate in zip(learner.optimizer.param_groups, (0.0, 0.1), strict=True):
        group["lr"] = rate  # the policy stands still
    objective = ActorCritic()
    records = [objective.update(learner, batch, generator_of("update", seed=0, number=step)) for step in range(100)]
    values = values_of(learner, learner.read(batch), batch).detach()
    returns = batch.returns(batch.rollouts.kl)
    table = small.next_tokens(small.log_distribution(learner.policy))
    base = small.next_tokens(small.log_distribution(small.reference))
    price = {
        prefix: small.beta * float((table[prefix].exp() * (table[prefix] - base[prefix])).sum()) for prefix in table
    }
    for first in (1, 2):
        behind = (batch.tokens[:, 0] == first) & batch.mask[:, 1]
        assert float(values[behind, 1].mean()) == pytest.approx(float(returns[behind, 1].mean()), abs=0.03)
    assert float(values[:, 0].mean()) == pytest.approx(float(returns[:, 0].mean()), abs=0.03)
    # By enumeration: E[r] - beta E[KL_2], where KL_2 stands behind w1 and w2 only.
    shares = table[()].exp()
    expected = small.expected_reward(learner.policy) - sum(float(shares[one]) * price[(one,)] for one in (1, 2))
    assert sum(price.values()) > 0.1
    assert float(values[:, 0].mean()) == pytest.approx(expected, abs=0.1)
    assert records[-1].measures["value_loss"] < records[0].measures["value_loss"]
    assert records[0].measures["explained_variance"] == pytest.approx(0.0, abs=1e-6)
    assert records[-1].measures["explained_variance"] > 0.05


def test_before_its_critic_has_an_opinion_it_is_reinforce_without_a_baseline(
    make_policy: Callable[..., Policy], every_completion: EveryCompletion
) -> None:
    small = world(every_completion)
    policy = make_policy(7, vocabulary=3, spread=0.4)
    norms = []
    for objective in (ActorCritic(gae_lambda=1.0), REINFORCE(baseline="none")):
        learner, batch = batch_of(small, group=16, policy=policy.copy())
        norms.append(objective.update(learner, batch, torch.Generator()).gradient_norm)
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    with_opinion = [
        gradient_of(small, ActorCritic(gae_lambda=value), group=16, policy=policy) for value in (0.0, 0.95, 1.0)
    ]
    assert float((with_opinion[0] - with_opinion[2]).abs().max()) > 1e-3
    assert float((with_opinion[1] - with_opinion[2]).abs().max()) > 1e-4


def test_without_a_critic_it_is_refused(every_completion: EveryCompletion) -> None:
    small = world(every_completion)
    _, batch = batch_of(small, group=4)
    bare = Learner(small.reference.copy(), small.reference, learning_rate=1e-3)
    with pytest.raises(InvalidInput, match="with_critic"):
        ActorCritic().update(bare, batch, torch.Generator())
    for unusable in (-0.1, 1.1, float("nan")):
        with pytest.raises(InvalidInput, match="gae_lambda"):
            ActorCritic(gae_lambda=unusable)


class TestActorCritic(ObjectiveContract):
    def objective(self) -> ActorCritic:
        return ActorCritic()


def test_it_reaches_the_posterior(every_completion: EveryCompletion) -> None:
    """Seeds 0, 1, 2 ended at 0.0100, 0.0097, 0.0082 nats."""
    small = world(every_completion)
    stages = ((8e-3, 16), (2e-3, 8), (5e-4, 6))
    policy, _ = trained(small, ActorCritic(), stages=stages, source=small.source(group=256))
    assert small.posterior_gap(small.reference) > 1.0
    assert small.posterior_gap(policy) < 0.03


def test_without_a_price_it_collapses(every_completion: EveryCompletion) -> None:
    """Seeds 0, 1, 2 ended at entropies below 0.001."""
    small = world(every_completion)
    policy, _ = trained(small, ActorCritic(), beta=0.0, stages=((3e-2, 25),), source=small.source(group=128))
    assert small.entropy(small.reference) > 0.5
    assert small.entropy(policy) < 0.02
    assert small.expected_reward(policy) > 0.98
