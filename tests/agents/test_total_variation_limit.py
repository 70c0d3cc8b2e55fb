"""A limit of total variation by hand, against whole episodes by enumeration, and beside what KL allows."""

import math
from collections.abc import Callable

import pytest
import torch

from agents.batch import Batch
from agents.divergence import total_variation
from agents.hard_budget import HardBudget
from agents.learner import Learner
from agents.objectives.rloo import RLOO
from agents.policy import Policy
from agents.regularizer import FixedPenalty
from agents.returns import at_the_end
from agents.rollout import rollout
from agents.total_variation_limit import TotalVariationLimit
from agents.training import TrainSettings, train
from reward_models.errors import InvalidInput
from tests.agents.acting_tree import acting_tree
from tests.agents.enumerable import PROMPT, World, world
from tests.agents.objective_contract import EveryCompletion

LENGTH = 3


@pytest.fixture(scope="module")
def small(every_completion: EveryCompletion) -> World:
    """Forty completions."""
    return world(every_completion, vocabulary=4, length=LENGTH)


def test_a_token_by_hand() -> None:
    """a = (0.9, 0.1), b = (0.4, 0.6): TV = 1/2. With 0.2 left, alpha = 0.4: (0.6, 0.4); with 0.7 left, a, and 0.2."""
    policy, reference = torch.tensor([[0.9, 0.1]] * 2).log(), torch.tensor([[0.4, 0.6]] * 2).log()
    found = TotalVariationLimit(1.0).act(policy, reference, torch.tensor([0.2, 0.7]))
    expected = torch.tensor([[0.6, 0.4], [0.9, 0.1]])
    torch.testing.assert_close(found.log_probabilities.exp(), expected, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(found.left, torch.tensor([0.0, 0.2]), atol=1e-5, rtol=0.0)


def test_it_buys_what_the_reference_never_does_and_a_budget_of_nats_does_not() -> None:
    """Theorem 2 of Cohen et al. 2024, in one token: only the optimal action rises, however impossible it was."""
    wants = torch.tensor([[0.0, 0.0, 1.0]]).log()
    reference = torch.tensor([[0.5, 0.5, 0.0]]).log()
    left = torch.tensor([0.25])
    acting = TotalVariationLimit(0.25).act(wants, reference, left).log_probabilities.exp()
    torch.testing.assert_close(acting, torch.tensor([[0.375, 0.375, 0.25]]), atol=1e-5, rtol=0.0)
    assert torch.equal(HardBudget(0.25).act(wants, reference, left).log_probabilities, reference)


@pytest.mark.parametrize("total", [0.15, 0.6, 50.0])
def test_the_sum_over_tokens_bounds_whole_episodes(
    small: World, make_policy: Callable[..., Policy], total: float
) -> None:
    """TV(P, Q) of all completions, by its definition, is at most the mean of the sums, and that at most the limit."""
    policy = make_policy(7, vocabulary=4, spread=0.6).within(TotalVariationLimit(total), small.reference)
    tree = acting_tree(small, policy)
    probability = tree.log_probability.exp()
    episodes = float((probability - tree.reference.exp()).abs().sum()) / 2
    mean, largest = float((probability * tree.total_variation).sum()), float(tree.total_variation.max())
    print(f"limit {total}: TV of episodes {episodes:.4f} <= mean of sums {mean:.4f} <= largest sum {largest:.4f}")
    assert float(probability.sum()) == pytest.approx(1.0, abs=1e-6)
    assert 0.05 < episodes <= mean + 1e-9
    # All episodes may spend the same, and probabilities sum to 1 only nearly.
    assert mean <= largest + 1e-6
    assert largest <= total
    assert largest > 0.999 * total or total == 50.0

    rollouts = rollout(policy, small.reference, [PROMPT], group=6000, max_new_tokens=LENGTH, generator=noise(1))
    samples = rollouts.samples
    assert samples.distributions is not None
    used = total_variation(samples.distributions, rollouts.reference_logits) * samples.mask
    assert int((used.sum(1) > total).sum()) == 0
    place = {completion: number for number, completion in enumerate(small.completions)}
    rows = zip(samples.tokens.tolist(), samples.mask.sum(1).tolist(), strict=True)
    drawn = torch.tensor([place[tuple(row[:size])] for row, size in rows])
    counted = torch.bincount(drawn, minlength=len(probability)) / 6000
    error = (probability * (1 - probability) / 6000).sqrt()
    assert float(((counted - probability).abs() / (error + 1e-4)).max()) < 4.5
    torch.testing.assert_close(
        samples.log_probabilities.sum(1).double(), tree.log_probability[drawn], atol=2e-4, rtol=0.0
    )


def test_reading_sees_the_distributions_that_were_sampled_from(
    small: World, make_policy: Callable[..., Policy]
) -> None:
    policy = make_policy(7, vocabulary=4, spread=0.6).within(TotalVariationLimit(0.3), small.reference)
    learner = Learner(policy, small.reference, learning_rate=1e-3)
    rollouts = learner.sample([PROMPT], group=200, max_new_tokens=LENGTH, generator=noise(2))
    batch = Batch(rollouts, at_the_end(small.reward(rollouts), rollouts.samples.mask), beta=0.0)
    mask, acted = rollouts.samples.mask, rollouts.samples.distributions
    assert acted is not None
    reading = learner.read(batch)
    torch.testing.assert_close(reading.distributions[mask].detach().exp(), acted[mask].exp(), atol=1e-5, rtol=0.0)


def test_training_without_a_price_spends_the_limit_and_no_more(small: World) -> None:
    """Over seeds 0 to 4 the mean sum was 0.392 to 0.397 of 0.4, and the expected reward rose by 0.24 to 0.27."""
    policy = small.reference.copy().within(TotalVariationLimit(0.4), small.reference)
    train(
        policy,
        small.reference,
        source=small.source(group=64),
        objective=RLOO(),
        regularizer=FixedPenalty(0.0),
        settings=TrainSettings(steps=26, learning_rate=6e-3),
        seed=0,
    )
    tree = acting_tree(small, policy)
    probability = tree.log_probability.exp()
    assert float(tree.total_variation.max()) <= 0.4
    assert float((probability * tree.total_variation).sum()) > 0.36
    assert float((probability * small.rewards).sum()) > small.expected_reward(small.reference) + 0.2
    assert float((probability - tree.reference.exp()).abs().sum()) / 2 <= 0.4


def test_unusable_limits_are_refused() -> None:
    for total in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InvalidInput, match="positive number"):
            TotalVariationLimit(total)
    assert repr(TotalVariationLimit(0.5)) == "TotalVariationLimit(total=0.5)"


def noise(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
