"""Returns against hand-computed numbers, and against their definition written out as sums."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.returns import at_the_end, discounted_sum, returns_to_go, transition_rewards


def test_returns_leave_out_the_kl_a_token_cannot_change() -> None:
    """Reward 1, beta 0.5, KL 0.2, 0.4, (0.8 on padding): 1 - 0.5 * 0.4 = 0.8, then 1, then 0."""
    mask = torch.tensor([[True, True, False]])
    rewards = at_the_end(torch.tensor([1.0]), mask)
    assert rewards.tolist() == [[0.0, 1.0, 0.0]]
    kl = torch.tensor([[0.2, 0.4, 0.8]])
    returns = returns_to_go(rewards, kl, mask, beta=0.5)
    torch.testing.assert_close(returns, torch.tensor([[0.8, 1.0, 0.0]]))
    # A discount of 1/2 halves what is one token away: 0.5 * 1 - 0.5 * 0.5 * 0.4 = 0.4; myopic, only its own reward.
    halved = returns_to_go(rewards, kl, mask, beta=0.5, discount=0.5)
    torch.testing.assert_close(halved, torch.tensor([[0.4, 1.0, 0.0]]))
    assert returns_to_go(rewards, kl, mask, beta=0.5, discount=0.0).tolist() == [[0.0, 1.0, 0.0]]


def test_a_token_earns_its_reward_and_pays_for_the_next_distribution() -> None:
    """Rewards 1, 2, 3 (the last on padding), KL 0.2, 0.4, 0.8: 1 - 0.5 * 0.4 = 0.8; then 2, as nothing follows."""
    mask = torch.tensor([[True, True, False]])
    rewards, kl = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.2, 0.4, 0.8]])
    torch.testing.assert_close(transition_rewards(rewards, kl, mask, beta=0.5), torch.tensor([[0.8, 2.0, 0.0]]))
    halved = transition_rewards(rewards, kl, mask, beta=0.5, discount=0.5)
    torch.testing.assert_close(halved, torch.tensor([[0.9, 2.0, 0.0]]))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), discount=st.sampled_from([0.0, 0.3, 0.9, 1.0]), beta=st.floats(0.0, 2.0))
def test_returns_are_their_definition(seed: int, discount: float, beta: float) -> None:
    """sum_{s >= t} g^(s - t) r_s - beta sum_{s > t} g^(s - t) KL_s, token by token."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 6, (4,), generator=generator)
    mask = torch.arange(5) < lengths[:, None]
    rewards, kl = torch.randn(4, 5, generator=generator), torch.rand(4, 5, generator=generator)
    found = returns_to_go(rewards, kl, mask, beta=beta, discount=discount)
    for row, size in enumerate(lengths.tolist()):
        for time in range(5):
            expected = 0.0
            for later in range(time, size):
                price = beta * float(kl[row, later]) if later > time else 0.0
                expected += discount ** (later - time) * (float(rewards[row, later]) - price)
            assert float(found[row, time]) == pytest.approx(expected, abs=1e-5)


def test_discounted_sums_by_hand() -> None:
    """Of 1, 2, 4 with 1/2: 1 + 1 + 1 = 3, 2 + 2 = 4, 4."""
    values = torch.tensor([[1.0, 2.0, 4.0]])
    assert discounted_sum(values, 0.5).tolist() == [[3.0, 4.0, 4.0]]
    assert discounted_sum(values, 1.0).tolist() == [[7.0, 6.0, 4.0]]
    assert discounted_sum(values, 0.0).tolist() == values.tolist()
