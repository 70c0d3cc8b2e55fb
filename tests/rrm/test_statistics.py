"""Figures over seeds, against intervals worked out by hand."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm.statistics import Estimate, GapRecovered, estimate, performance_gap_recovered


def recovered(arm: list[float], alone: list[float], gold: list[float]) -> GapRecovered:
    return performance_gap_recovered(arm, alone, gold, generator=np.random.default_rng(0))


def test_two_seeds() -> None:
    """Mean 2, s = sqrt(2), s / sqrt(2) = 1. With one degree of freedom t is Cauchy: tan(pi (0.975 - 0.5)) = 12.706."""
    found = estimate([1.0, 3.0])
    half = math.tan(math.pi * 0.475)
    assert (found.mean, found.low, found.high) == pytest.approx((2.0, 2.0 - half, 2.0 + half))
    assert found.seeds == (1.0, 3.0)


def test_three_seeds() -> None:
    """Mean 2, s = 1. With two degrees of freedom t = (2p - 1) / sqrt(2 p (1 - p)) = 0.95 / sqrt(0.04875) = 4.3027."""
    found = estimate([3.0, 1.0, 2.0])
    half = 0.95 / math.sqrt(2 * 0.975 * 0.025) / math.sqrt(3)
    assert (found.mean, found.low, found.high) == pytest.approx((2.0, 2.0 - half, 2.0 + half))
    assert found.seeds == (3.0, 1.0, 2.0)


def test_five_seeds() -> None:
    """1 to 5: mean 3, s = sqrt(10 / 4) = 1.5811, and 2.7764 is what every table has for four degrees of freedom."""
    found = estimate([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.high is not None and found.low is not None
    assert found.high - 3.0 == pytest.approx(2.7764 * 1.5811 / math.sqrt(5), abs=1e-3)
    assert 3.0 - found.low == pytest.approx(found.high - 3.0)


def test_one_seed_has_a_mean_and_no_interval() -> None:
    assert estimate([0.5]) == Estimate(0.5, None, None, (0.5,))
    assert not estimate([0.5]).clear_of_zero()


@pytest.mark.parametrize(
    ("values", "clear"),
    [([1.0, 1.1, 0.9], True), ([-1.0, -1.1, -0.9], True), ([1.0, -1.0, 0.5], False), ([0.0, 0.0], False)],
)
def test_clear_of_zero_means_all_on_one_side(values: list[float], clear: bool) -> None:
    assert estimate(values).clear_of_zero() is clear


def test_what_programs_read() -> None:
    read = json.loads(json.dumps(estimate([0.25, 0.75]).to_json()))
    assert set(read) == {"mean", "low", "high", "seeds"}
    assert (read["mean"], read["seeds"]) == (0.5, [0.25, 0.75])
    assert json.loads(json.dumps(estimate([1.0]).to_json())) == {"mean": 1.0, "low": None, "high": None, "seeds": [1.0]}


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8), st.floats(-10, 10))
def test_the_interval_moves_with_the_values(values: list[float], shift: float) -> None:
    plain, moved = estimate(values), estimate([value + shift for value in values])
    assert plain.low is not None and plain.high is not None
    assert plain.low <= plain.mean <= plain.high
    assert (moved.mean, moved.low, moved.high) == pytest.approx(
        (plain.mean + shift, plain.low + shift, plain.high + shift), abs=1e-6
    )


def test_the_gap_recovered_is_a_ratio_of_means_and_no_mean_of_ratios() -> None:
    """Gains 0.2 and 0.2 over gaps 0.4 and 0.5: 0.2 / 0.45 = 0.4444, where the mean of the ratios would be 0.45.

    Of two seeds a quarter of the resamples is twice the first (0.2 / 0.4) and a quarter twice the second (0.2 / 0.5),
    so both ends of the 95% interval lie there.
    """
    found = recovered([0.6, 0.7], [0.4, 0.5], [0.8, 1.0])
    assert found.reason is None
    assert found.estimate is not None
    assert found.estimate.mean == pytest.approx(0.2 / 0.45)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((0.4, 0.5))
    # Each seed over the mean gap, so that their mean is the ratio of means.
    assert found.estimate.seeds == pytest.approx((0.2 / 0.45, 0.2 / 0.45))


def test_the_ends_of_the_scale() -> None:
    alone, gold = [0.1, 0.3, 0.2], [0.9, 0.8, 0.7]
    for arm, value in ((alone, 0.0), (gold, 1.0)):
        found = recovered(arm, alone, gold).estimate
        assert found is not None
        assert (found.mean, found.low, found.high) == pytest.approx((value, value, value))


def test_a_gap_that_may_be_none_has_no_ratio_and_says_why() -> None:
    for gold in ([0.3, 0.6], [0.4, 0.5]):
        found = recovered([0.6, 0.7], [0.4, 0.5], gold)
        assert found.estimate is None
        assert found.reason == "the gap between gold labels and the reader alone is not clear of zero"


def test_one_seed_has_no_gap_recovered() -> None:
    assert recovered([0.6], [0.4], [0.8]) == GapRecovered(None, "one seed has no interval")


@settings(max_examples=15)  # 20,000 resamples each
@given(
    arm=st.lists(st.floats(-1, 1), min_size=4, max_size=4),
    alone=st.lists(st.floats(-1, 0), min_size=4, max_size=4),
    gold=st.lists(st.floats(0.5, 1), min_size=4, max_size=4),
    scale=st.floats(0.5, 4),
    shift=st.floats(-5, 5),
)
def test_the_unit_and_the_zero_of_the_utility_do_not_matter(
    arm: list[float], alone: list[float], gold: list[float], scale: float, shift: float
) -> None:
    plain = recovered(arm, alone, gold).estimate
    moved = recovered(*([scale * value + shift for value in values] for values in (arm, alone, gold))).estimate
    assert plain is not None and moved is not None
    assert (moved.mean, moved.low, moved.high) == pytest.approx((plain.mean, plain.low, plain.high), abs=1e-6)
    assert sum(plain.seeds) / 4 == pytest.approx(plain.mean, abs=1e-9)
