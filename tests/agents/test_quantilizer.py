"""The quantilizer's certificate against random and hostile costs, exactly by enumeration of all draws."""

import itertools
import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agents.search.best_of_n import BestOfN
from agents.search.quantilizer import Quantilizer
from reward_models.errors import InvalidInput
from tests.agents.enumerable import PROMPT, world
from tests.agents.objective_contract import EveryCompletion


def noise(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact_distribution(probability: Tensor, rewards: Tensor, *, n: int, kept: int) -> Tensor:
    """S by all rows of n draws, each with its probability: one of the `kept` best, of equal ones the first drawn."""
    chances = torch.zeros_like(probability)
    for row in itertools.product(range(len(probability)), repeat=n):
        chance = float(probability[list(row)].prod())
        ranked = sorted(range(n), key=lambda place: (-float(rewards[row[place]]), place))
        for place in ranked[:kept]:
            chances[row[place]] += chance / kept
    return chances


@pytest.mark.parametrize(("q", "n", "kept"), [(0.1, 64, 7), (0.5, 4, 2), (0.07, 100, 7), (1.0, 5, 5), (0.01, 10, 1)])
def test_the_certificate_by_hand(q: float, n: int, kept: int) -> None:
    """k = ceil(q n): 6.4 is 7, 7.000000000000001 is 7, and at least one is kept; never above 1 / q."""
    quantilizer = Quantilizer(q=q, n=n)
    assert quantilizer.kept == kept
    assert quantilizer.certificate.ratio == pytest.approx(n / kept)
    assert quantilizer.certificate.kl == pytest.approx(math.log(n / kept))
    assert quantilizer.certificate.ratio <= 1 / q + 1e-9


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 5),
    q=st.floats(0.05, 1.0),
    tied=st.booleans(),
)
def test_no_cost_exceeds_the_certificate(seed: int, n: int, q: float, tied: bool) -> None:
    """Exactly, for any policy over four completions, any reward, a random cost and the worst cost there is."""
    generator = noise(seed)
    probability = torch.softmax(2 * torch.randn(4, generator=generator, dtype=torch.float64), 0)
    rewards = torch.randn(4, generator=generator).round() if tied else torch.randn(4, generator=generator)
    quantilizer = Quantilizer(q=q, n=n)
    chosen = exact_distribution(probability, rewards, n=n, kept=quantilizer.kept)
    assert float(chosen.sum()) == pytest.approx(1.0)
    certificate = quantilizer.certificate
    costs = [torch.rand(4, generator=generator, dtype=torch.float64) for _ in range(3)]
    # The worst cost is all on the completion whose share grows most: the ratio of the distributions itself.
    costs += list(torch.eye(4, dtype=torch.float64))
    for cost in costs:
        assert float((chosen * cost).sum()) <= certificate.ratio * float((probability * cost).sum()) + 1e-12
    kl = float(torch.where(chosen > 0, chosen * (chosen / probability).log(), torch.zeros(())).sum())
    assert kl <= certificate.kl + 1e-12


def test_the_certificate_cannot_be_sharpened() -> None:
    """One completion in a million that the reward likes best: its share grows by n / k times (1 - 10^-6)^(n - 1)."""
    probability = torch.tensor([1e-6, 1 - 1e-6], dtype=torch.float64)
    chosen = exact_distribution(probability, torch.tensor([1.0, 0.0]), n=6, kept=2)
    ratio = Quantilizer(q=1 / 3, n=6).certificate.ratio
    assert ratio == pytest.approx(3.0)
    assert float(chosen[0] / probability[0]) == pytest.approx(ratio, rel=1e-4)


def test_what_is_chosen_has_the_exact_distribution(every_completion: EveryCompletion) -> None:
    """7 completions, 1,000 choices of 4 draws, chi-square of 6 degrees of freedom: above 22.5 once in 1,000 seeds."""
    small = world(every_completion)
    probability = small.log_distribution(small.reference).exp()
    exact = exact_distribution(probability, small.rewards, n=4, kept=2)
    choices = 1000
    found = Quantilizer(q=0.5, n=4, max_new_tokens=small.length).choose(
        small.reference, [PROMPT] * choices, small.reward, noise(1), reference=small.reference
    )
    drawn = Counter(found.tokens)
    counts = torch.tensor([drawn[one] for one in small.completions], dtype=torch.float64)
    assert float(((counts - exact * choices).square() / (exact * choices)).sum()) < 22.5
    assert float((found.rewards.double() - (exact * small.rewards).sum()).mean()) == pytest.approx(0.0, abs=0.08)


def test_its_ends_are_the_policy_and_the_best(every_completion: EveryCompletion) -> None:
    """Of q = 1 any draw is taken, whatever its reward; of q = 1 / n it is best-of-n, draw for draw."""
    small = world(every_completion)
    arguments = (small.reference, [PROMPT] * 600, small.reward)
    everything = Quantilizer(q=1.0, n=3, max_new_tokens=2).choose(*arguments, noise(3), reference=small.reference)
    mean = float(everything.rewards.mean())
    assert mean == pytest.approx(small.expected_reward(small.reference), abs=0.08)
    assert everything.certificates[0].ratio == 1.0 and everything.certificates[0].kl == 0.0
    # One chunk of prompts, so that both have used the generator alike.
    few = (small.reference, [PROMPT] * 40, small.reward)
    one = Quantilizer(q=0.2, n=5, max_new_tokens=2).choose(*few, noise(4), reference=small.reference)
    best = BestOfN(n=5, max_new_tokens=2).choose(*few, noise(4), reference=small.reference)
    assert one.tokens == best.tokens


def test_unusable_values_are_refused() -> None:
    for q in (0.0, 1.5, float("nan")):
        with pytest.raises(InvalidInput, match="q must be"):
            Quantilizer(q=q)
    with pytest.raises(InvalidInput, match="n must be"):
        Quantilizer(n=0)
