"""The RLOO loss against hand-computed advantages and against the gradient of the objective, enumerated."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from agents.divergence import exact_kl
from agents.objectives.rloo import RLOO, advantages, leave_one_out, policy_gradient_loss
from agents.policy import Policy
from agents.regularizer import AbstractRegularizer, FixedPenalty
from agents.returns import at_the_end, returns_to_go
from reward_models.errors import InvalidInput
from tests.agents.enumerable import trained, world
from tests.agents.objective_contract import EveryCompletion, ObjectiveContract

VOCABULARY, LENGTH, BETA = 3, 3, 0.4


def test_leave_one_out_by_hand() -> None:
    """Of (1, 2, 6): 1 - (2 + 6) / 2 = -3, 2 - (1 + 6) / 2 = -1.5, 6 - (1 + 2) / 2 = 4.5."""
    assert leave_one_out(torch.tensor([[1.0, 2.0, 6.0]])).tolist() == [[-3.0, -1.5, 4.5]]


def test_a_group_of_one_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least 2"):
        leave_one_out(torch.ones(3, 1))


def test_returns_leave_out_the_kl_a_token_cannot_change() -> None:
    """Reward 1, beta 0.5, KL 0.2, 0.4, (0.8 on padding): 1 - 0.5 * 0.4 = 0.8, then 1, then 1."""
    mask = torch.tensor([[True, True, False]])
    rewards = at_the_end(torch.tensor([1.0]), mask)
    assert rewards.tolist() == [[0.0, 1.0, 0.0]]
    kl = torch.tensor([[0.2, 0.4, 0.8]])
    returns = returns_to_go(rewards, kl, mask, beta=0.5)
    torch.testing.assert_close(returns[:, :2], torch.tensor([[0.8, 1.0]]))
    # A discount of 1/2 halves what is one token away: 0.5 * 1 - 0.5 * 0.5 * 0.4 = 0.4; myopic, only its own reward.
    halved = returns_to_go(rewards, kl, mask, beta=0.5, discount=0.5)
    torch.testing.assert_close(halved[:, :2], torch.tensor([[0.4, 1.0]]))
    assert returns_to_go(rewards, kl, mask, beta=0.5, discount=0.0)[:, :2].tolist() == [[0.0, 1.0]]


def test_advantages_compare_at_the_same_time_and_vanish_on_padding() -> None:
    mask = torch.tensor([[True, True], [True, False]])
    value = advantages(torch.tensor([[1.0, 2.0], [1.0, 1.0]]), mask, group=2)
    # Minus the other's: (0, 1) and (0, -1), the last one on padding.
    assert value.tolist() == [[0.0, 1.0], [0.0, 0.0]]


def loss_of(log_probabilities: Tensor, kl: Tensor, rewards: Tensor, mask: Tensor, *, group: int, beta: float) -> Tensor:
    """The loss of a batch, as the objective puts it together."""
    returns = returns_to_go(at_the_end(rewards, mask), kl.detach(), mask, beta=beta)
    return policy_gradient_loss(log_probabilities, kl, advantages(returns, mask, group=group), mask, beta=beta)


class Tabular:
    """A policy with free logits for every prefix of a completion; enumerable."""

    def __init__(self, completions: list[tuple[int, ...]], seed: int) -> None:
        prefixes = sorted({sequence[:time] for sequence in completions for time in range(LENGTH)})
        self.row = {prefix: number for number, prefix in enumerate(prefixes)}
        generator = torch.Generator().manual_seed(seed)
        self.logits = torch.randn(len(prefixes), VOCABULARY, generator=generator).requires_grad_()

    def rows(self, completions: list[tuple[int, ...]]) -> Tensor:
        """Logits at every time; those after the end are of some other prefix and must not matter."""
        numbers = [[self.row.get(sequence[:time], 0) for time in range(LENGTH)] for sequence in completions]
        return self.logits[torch.tensor(numbers)]


def pieces(policy: Tabular, reference: Tabular, completions: list[tuple[int, ...]]) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities, exact KL and mask of completions, (sequences, LENGTH) each."""
    padded = torch.tensor([[*sequence, *[0] * (LENGTH - len(sequence))] for sequence in completions])
    mask = torch.arange(LENGTH) < torch.tensor([len(sequence) for sequence in completions])[:, None]
    logits = policy.rows(completions)
    log_probabilities = torch.log_softmax(logits, -1).gather(-1, padded[..., None])[..., 0]
    return log_probabilities, exact_kl(logits, reference.rows(completions).detach()), mask


@pytest.mark.parametrize("group", [2, 3])
def test_expected_gradient_is_that_of_the_objective(
    every_completion: Callable[[int, int], list[tuple[int, ...]]], group: int
) -> None:
    """Sum over all groups of completions of (their probability) x (gradient of the loss) = -grad J.

    J = sum_y pi(y) (r(y) - beta log pi(y) / pi_0(y)), differentiated directly: nothing of the estimator is in it.
    For groups of 3 a random part of the policy's support is kept (the policy is renormalised by masking completions
    longer than two tokens), which keeps the enumeration small.
    """
    length = LENGTH if group == 2 else 2
    completions = every_completion(VOCABULARY, length)
    full = every_completion(VOCABULARY, LENGTH)
    policy, reference = Tabular(full, 1), Tabular(full, 2)
    rewards = torch.randn(len(completions), generator=torch.Generator().manual_seed(3))

    log_probabilities, kl, mask = pieces(policy, reference, completions)
    log_reference = pieces(reference, reference, completions)[0].detach()
    zero = torch.zeros(())
    sequence_log = torch.where(mask, log_probabilities, zero).sum(1)
    sequence_reference = torch.where(mask, log_reference, zero).sum(1)
    assert float(sequence_log.detach().exp().sum()) == pytest.approx(1.0, abs=1e-5)
    objective = (sequence_log.exp() * (rewards - BETA * (sequence_log - sequence_reference))).sum()
    (expected,) = torch.autograd.grad(objective, policy.logits, retain_graph=True)

    probability = sequence_log.exp().detach()
    total = torch.zeros(())
    for members in itertools.product(range(len(completions)), repeat=group):
        chosen = torch.tensor(members)
        loss = loss_of(log_probabilities[chosen], kl[chosen], rewards[chosen], mask[chosen], group=group, beta=BETA)
        total = total + probability[chosen].prod() * loss
    (gradient,) = torch.autograd.grad(total, policy.logits)
    torch.testing.assert_close(-gradient, expected, atol=2e-6, rtol=1e-4)
    assert float(expected.abs().max()) > 1e-2


def test_padding_may_hold_anything() -> None:
    mask = torch.tensor([[True, False], [True, True]])
    kl, rewards = torch.rand(2, 2), torch.tensor([1.0, 0.0])
    clean = torch.rand(2, 2)
    dirty, dirty_kl = clean.clone(), kl.clone()
    dirty[0, 1], dirty_kl[0, 1] = -1e9, 1e9
    values = [
        loss_of(logs, divergence, rewards, mask, group=2, beta=0.1)
        for logs, divergence in ((clean, kl), (dirty, dirty_kl))
    ]
    assert float(values[0]) == float(values[1])


def test_the_fixed_penalty_is_fixed() -> None:
    penalty: AbstractRegularizer = FixedPenalty(0.25)
    assert penalty.coefficient([]) == penalty.coefficient([3.0, 9.0]) == 0.25
    for unusable in (-0.1, float("nan")):
        with pytest.raises(InvalidInput, match="beta"):
            FixedPenalty(unusable)


class TestRLOO(ObjectiveContract):
    def objective(self) -> RLOO:
        return RLOO()


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_it_reaches_the_posterior(
    make_policy: Callable[..., Policy], every_completion: EveryCompletion, beta: float
) -> None:
    small = world(make_policy, every_completion, beta=beta)
    before = small.posterior_gap(small.reference)
    policy, records = trained(small, RLOO())
    after = small.posterior_gap(policy)
    print(f"posterior gap: {before:.3f} nats before, {after:.5f} after")
    assert before > 0.2
    assert after < 0.05
    # J = beta log Z - beta KL(pi || pi*), whatever the policy: an identity, checked on this one.
    assert small.objective(policy) == pytest.approx(beta * small.log_normaliser - beta * after, abs=1e-6)
    # What the last steps report is what the optimum has: E[r] and KL, both known.
    known = small.log_posterior.exp() * (small.log_posterior - small.log_distribution(small.reference))
    assert sum(record.kl for record in records[-20:]) / 20 == pytest.approx(float(known.sum()), abs=0.05)


def test_without_a_price_it_collapses(make_policy: Callable[..., Policy], every_completion: EveryCompletion) -> None:
    """With beta = 0 the optimum is one completion, the best: entropy 0 (Korbak, Perez & Buckley 2022)."""
    small = world(make_policy, every_completion)
    policy, _ = trained(small, RLOO(), beta=0.0, stages=((1e-2, 120),))
    print(f"entropy {small.entropy(small.reference):.3f} before, {small.entropy(policy):.4f} after")
    assert small.entropy(small.reference) > 0.5
    assert small.entropy(policy) < 0.02
    assert small.expected_reward(policy) > 0.98
