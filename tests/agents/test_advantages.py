"""Advantages by hand, by their definitions written out, and by what they must not depend on."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agents.advantages import (
    generalised_advantages,
    held,
    leave_one_out,
    others_advantages,
    scaled_advantages,
)
from agents.returns import at_the_end, returns_to_go, transition_rewards
from reward_models.errors import InvalidInput


def test_leave_one_out_by_hand() -> None:
    """Of (1, 2, 6): 1 - (2 + 6) / 2 = -3, 2 - (1 + 6) / 2 = -1.5, 6 - (1 + 2) / 2 = 4.5."""
    assert leave_one_out(torch.tensor([[1.0, 2.0, 6.0]])).tolist() == [[-3.0, -1.5, 4.5]]


def test_a_group_of_one_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least 2"):
        leave_one_out(torch.ones(3, 1))


def test_others_are_compared_at_the_same_time_and_keep_their_last_return() -> None:
    mask = torch.tensor([[True, True], [True, False]])
    # The second ended with 3, and stands with it at the second time: 1 - 3 and 2 - 3, 3 - 1 and nothing.
    assert others_advantages(torch.tensor([[1.0, 2.0], [3.0, 0.0]]), mask, group=2).tolist() == [[-2.0, -1.0], [2.0, 0]]
    assert held(torch.tensor([[1.0, 2.0], [3.0, 9.0]]), mask).tolist() == [[1.0, 2.0], [3.0, 3.0]]


def test_groups_are_kept_apart() -> None:
    returns = torch.tensor([[1.0], [3.0], [10.0], [30.0]])
    mask = torch.ones(4, 1, dtype=torch.bool)
    assert others_advantages(returns, mask, group=2)[:, 0].tolist() == [-2.0, 2.0, -20.0, 20.0]
    # Of all four: 1 - 43 / 3, 3 - 41 / 3, 10 - 34 / 3, 30 - 14 / 3.
    expected = torch.tensor([-40.0, -32.0, -4.0, 76.0]) / 3
    torch.testing.assert_close(others_advantages(returns, mask, group=4)[:, 0], expected)


def random_mask(generator: torch.Generator, *, rows: int, width: int) -> Tensor:
    return torch.arange(width) < torch.randint(1, width + 1, (rows, 1), generator=generator)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.floats(-50.0, 50.0))
def test_a_reward_that_all_have_gives_no_advantage(seed: int, shift: float) -> None:
    """Whatever the lengths: with the return of ended completions taken as 0 the longest would gain or lose by it."""
    generator = torch.Generator().manual_seed(seed)
    mask = random_mask(generator, rows=6, width=4)
    rewards = torch.randn(6, generator=generator)
    kl = torch.rand(6, 4, generator=generator)
    both = [
        others_advantages(returns_to_go(at_the_end(reward, mask), kl, mask, beta=0.3), mask, group=3)
        for reward in (rewards, rewards + shift)
    ]
    torch.testing.assert_close(both[0], both[1], atol=1e-4, rtol=1e-4)


def test_a_completion_has_no_say_in_its_own_baseline() -> None:
    """Raising one return by 1 raises its own advantage by exactly 1 and lowers that of the G - 1 = 2 others by 1/2."""
    mask = torch.ones(3, 2, dtype=torch.bool)
    returns = torch.randn(3, 2, generator=torch.Generator().manual_seed(1))
    raised = returns.clone()
    raised[0, 0] += 1
    change = others_advantages(raised, mask, group=3) - others_advantages(returns, mask, group=3)
    torch.testing.assert_close(change, torch.tensor([[1.0, 0], [-0.5, 0], [-0.5, 0]]))


def test_one_step_errors_by_hand() -> None:
    """lambda = 0, discount 1/2, rewards 1, 2, values 3, 4, (5 on padding): 1 + 4/2 - 3 = 0, then 2 + 0 - 4 = -2."""
    mask = torch.tensor([[True, True, False]])
    rewards, values = torch.tensor([[1.0, 2.0, 7.0]]), torch.tensor([[3.0, 4.0, 5.0]])
    found = generalised_advantages(rewards, values, mask, discount=0.5, gae_lambda=0.0)
    assert found.tolist() == [[0.0, -2.0, 0.0]]
    # lambda = 1/2: the first adds 1/2 * 1/2 * (-2) = -0.5.
    assert generalised_advantages(rewards, values, mask, discount=0.5, gae_lambda=0.5).tolist() == [[-0.5, -2.0, 0.0]]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    discount=st.sampled_from([0.0, 0.5, 1.0]),
    gae_lambda=st.sampled_from([0.0, 0.4, 0.95, 1.0]),
)
def test_generalised_advantages_are_their_definition(seed: int, discount: float, gae_lambda: float) -> None:
    """The weighted sum of n-step advantages of Schulman et al. 2016, (1 - l) sum_n l^(n - 1) A^(n), written out.

    A^(n)_t = r_t + ... + g^(n - 1) r_{t + n - 1} + g^n V_{t + n} - V_t; where fewer than n tokens follow, all of them.
    """
    generator = torch.Generator().manual_seed(seed)
    mask = random_mask(generator, rows=3, width=5)
    rewards, values = torch.randn(3, 5, generator=generator), torch.randn(3, 5, generator=generator)
    found = generalised_advantages(rewards, values, mask, discount=discount, gae_lambda=gae_lambda)
    for row, size in enumerate(mask.sum(1).tolist()):
        reward, value = rewards[row].double().tolist(), [*values[row, :size].double().tolist(), 0.0]
        for time in range(size):
            steps = []
            for number in range(1, size - time + 1):
                sums = sum(discount**k * reward[time + k] for k in range(number))
                steps.append(sums + discount**number * value[time + number] - value[time])
            expected = sum((1 - gae_lambda) * gae_lambda**k * step for k, step in enumerate(steps[:-1]))
            expected += gae_lambda ** (len(steps) - 1) * steps[-1]
            assert float(found[row, time]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("discount", [0.0, 0.7, 1.0])
def test_with_lambda_one_the_advantage_is_the_return_minus_the_value(discount: float) -> None:
    """With the KL where a token has a say in it: the price of KL_{t+1} in the reward of token t."""
    generator = torch.Generator().manual_seed(4)
    mask = random_mask(generator, rows=5, width=4)
    rewards, kl, values = (torch.randn(5, 4, generator=generator) for _ in range(3))
    transitions = transition_rewards(rewards, kl.abs(), mask, beta=0.4, discount=discount)
    found = generalised_advantages(transitions, values, mask, discount=discount, gae_lambda=1.0)
    returns = returns_to_go(rewards, kl.abs(), mask, beta=0.4, discount=discount)
    torch.testing.assert_close(found, (returns - values) * mask)


def test_scaled_advantages_by_hand() -> None:
    """Scores (1, 2, 6): mean 3, variance (4 + 1 + 9) / 3 = 14/3; every token has the advantage of its completion."""
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    scores = torch.tensor([1.0, 2.0, 6.0])
    returns = scores[:, None] * mask
    expected = torch.tensor([[-2.0, -2.0], [-1.0, 0.0], [3.0, 3.0]]) / ((14 / 3) ** 0.5 + 1e-4)
    torch.testing.assert_close(scaled_advantages(returns, scores, mask, group=3), expected)


def test_scaled_advantages_have_mean_zero_and_variance_one_in_each_group() -> None:
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(12, generator=generator) * 7 + 5
    mask = torch.ones(12, 1, dtype=torch.bool)
    found = scaled_advantages(scores[:, None], scores, mask, group=4).view(3, 4)
    torch.testing.assert_close(found.mean(1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.var(1, correction=0), torch.ones(3), atol=1e-3, rtol=0)


def test_equal_scores_teach_nothing_and_rounding_noise_next_to_nothing() -> None:
    mask = torch.ones(4, 1, dtype=torch.bool)
    scores = torch.full((4,), 0.1)
    assert scaled_advantages(scores[:, None], scores, mask, group=4).abs().max() < 1e-3
    # Myopic, the reward stands in the return of last tokens alone: returns of other times differ between lengths.
    lengths = torch.tensor([[True, True], [True, False], [True, True], [True, False]])
    myopic = torch.tensor([[0.0, 0.1], [0.1, 0.0], [0.0, 0.1], [0.1, 0.0]])
    assert scaled_advantages(myopic, scores, lengths, group=4).abs().max() == 0.0
    noisy = scores + torch.tensor([0.0, 1e-7, -1e-7, 0.0])
    assert scaled_advantages(noisy[:, None], noisy, mask, group=4).abs().max() < 1e-2
