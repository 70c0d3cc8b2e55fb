"""The reward left on the table, against its expectation in an enumerable world."""

from dataclasses import asdict

import pytest
import torch

from agents.objectives.rloo import RLOO
from agents.search.gap import reward_result_gap
from reward_models.errors import InvalidInput
from tests.agents.enumerable import PROMPT, trained, world
from tests.agents.objective_contract import EveryCompletion


def noise(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_it_is_what_the_enumeration_says(every_completion: EveryCompletion) -> None:
    """E[max of n] by the distribution function, F(r)^n - F(r-)^n; 300 prompts, and the interval covers it.

    Over seeds 0 to 19 the interval covers the exact gap 19 times; its width is about 0.13.
    """
    small = world(every_completion)
    probability = small.log_distribution(small.reference).exp()
    order = small.rewards.argsort()
    below = torch.cat([torch.zeros(1, dtype=torch.float64), probability[order].cumsum(0)])
    best = float((small.rewards[order] * (below[1:] ** 4 - below[:-1] ** 4)).sum())
    own = small.expected_reward(small.reference)
    found = reward_result_gap(
        small.reference,
        [PROMPT] * 300,
        small.reward,
        reference=small.reference,
        n=4,
        max_new_tokens=small.length,
        generator=noise(0),
    )
    print(found, best, own)
    assert found.best == pytest.approx(best, abs=0.1)
    assert found.own == pytest.approx(own, abs=0.1)
    assert found.gap == pytest.approx(found.best - found.own)
    assert found.low < best - own < found.high
    assert found.low < found.gap < found.high and found.high - found.low < 0.25
    assert (found.n, found.prompts) == (4, 300)
    assert all(isinstance(value, float | int) for value in asdict(found).values())


def test_an_agent_that_takes_the_best_leaves_nothing(every_completion: EveryCompletion) -> None:
    """Trained without a price it collapses on the best completion: its gap closes, that of the base is there."""
    small = world(every_completion)
    policy, _ = trained(small, RLOO(), beta=0.0, stages=((1e-2, 40),), source=small.source(group=32))
    gaps = [
        reward_result_gap(
            of, [PROMPT] * 20, small.reward, reference=small.reference, n=16, max_new_tokens=2, generator=noise(1)
        ).gap
        for of in (small.reference, policy)
    ]
    print(f"gap of the base {gaps[0]:.3f}, of the agent {gaps[1]:.3f}")
    assert gaps[0] > 0.5
    assert gaps[1] < 0.2
    assert min(gaps) >= 0.0


def test_one_prompt_has_an_interval_without_width(every_completion: EveryCompletion) -> None:
    small = world(every_completion)
    size = {"n": 3, "max_new_tokens": 2}
    found = reward_result_gap(
        small.reference, [PROMPT], small.reward, reference=small.reference, generator=noise(0), **size
    )
    assert found.low == found.gap == found.high


def test_unusable_values_are_refused(every_completion: EveryCompletion) -> None:
    small = world(every_completion)
    for prompts, n, message in (([], 4, "at least one prompt"), ([PROMPT], 1, "n must be")):
        with pytest.raises(InvalidInput, match=message):
            reward_result_gap(
                small.reference,
                prompts,
                small.reward,
                reference=small.reference,
                n=n,
                max_new_tokens=2,
                generator=noise(0),
            )
