import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reward_models.errors import InvalidInput, NonFinite
from reward_models.estimate import RewardEstimate

members = st.lists(st.floats(-10, 10), min_size=1, max_size=6)


def column(values: list[float]) -> RewardEstimate:
    return RewardEstimate(torch.tensor(values, dtype=torch.float64)[:, None])


def test_estimates_computed_by_hand() -> None:
    # Scores 1, 2, 3, 6: mean 12/4 = 3, population variance (4 + 1 + 0 + 9)/4 = 3.5, minimum 1.
    estimate = column([1.0, 2.0, 3.0, 6.0])
    assert estimate.mean.item() == 3.0
    assert estimate.variance.item() == 3.5
    assert estimate.spread.item() == pytest.approx(math.sqrt(3.5))
    assert estimate.min.item() == 1.0
    assert estimate.uwo(0.5).item() == 3.0 - 1.75
    assert estimate.lower(2.0).item() == pytest.approx(3.0 - 2.0 * math.sqrt(3.5))
    # Scores 0 and log 3 at b = 1: -log((1 + 1/3)/2) = log 1.5.
    assert column([0.0, math.log(3.0)]).entropic(1.0).item() == pytest.approx(math.log(1.5))


def test_members_are_reduced_and_sequences_kept() -> None:
    estimate = RewardEstimate(torch.tensor([[1.0, 5.0, 0.0], [3.0, 5.0, -2.0]]))
    assert estimate.mean.tolist() == [2.0, 5.0, -1.0]
    assert estimate.variance.tolist() == [1.0, 0.0, 1.0]
    assert estimate.min.tolist() == [1.0, 5.0, -2.0]


@given(values=members, temperature=st.floats(0.05, 100))
def test_entropic_lies_between_the_minimum_and_the_mean_and_rises(values: list[float], temperature: float) -> None:
    estimate = column(values)
    entropic = estimate.entropic(temperature).item()
    assert estimate.min.item() - 1e-9 <= entropic <= estimate.mean.item() + 1e-9
    assert entropic <= estimate.entropic(2.0 * temperature).item() + 1e-9


@given(values=members)
def test_the_limits_of_entropic_are_minimum_and_mean(values: list[float]) -> None:
    estimate = column(values)
    # -b log(1/K) = b log K is the most that the minimum is off by.
    assert estimate.entropic(1e-4).item() == pytest.approx(estimate.min.item(), abs=1e-4 * math.log(len(values)) + 1e-9)
    assert estimate.entropic(1e7).item() == pytest.approx(estimate.mean.item(), abs=1e-5)


@given(values=members)
def test_uwo_is_the_second_order_expansion_of_entropic(values: list[float]) -> None:
    # -b log mean exp(-r/b) = mean - var/(2 b) + m3/(6 b^2) - ..., with a third central moment m3 of at most 20^3.
    estimate = column(values)
    temperature = 1e4
    expansion = estimate.uwo(1.0 / (2.0 * temperature)).item()
    assert estimate.entropic(temperature).item() == pytest.approx(expansion, abs=20.0**3 / (6.0 * temperature**2))


def test_a_large_temperature_keeps_its_digits_in_single_precision() -> None:
    estimate = RewardEstimate(torch.tensor([[1000.0], [1001.0]]))
    assert estimate.entropic(1e6).item() == pytest.approx(1000.5, abs=1e-3)
    assert estimate.entropic(1e6).dtype == torch.float32


@pytest.mark.parametrize("shape", [(0, 3), (3,)])
def test_no_member_is_no_estimate(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"expected \(members, sequences\)"):
        RewardEstimate.__post_init__(_unchecked(torch.zeros(shape)))


def _unchecked(scores: Tensor) -> RewardEstimate:
    estimate = object.__new__(RewardEstimate)
    object.__setattr__(estimate, "members", scores)
    return estimate


def test_a_score_that_is_not_finite_is_refused() -> None:
    with pytest.raises(NonFinite):
        column([1.0, math.nan])


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_entropic_names_its_limits_where_they_are_meant(temperature: float) -> None:
    with pytest.raises(InvalidInput, match="`min` and `mean`"):
        column([1.0]).entropic(temperature)


def test_a_negative_price_would_be_optimism() -> None:
    for call in (column([1.0]).uwo, column([1.0]).lower):
        with pytest.raises(InvalidInput, match="conservative"):
            call(-0.1)
