import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from reward_models.errors import InvalidInput, NonFinite
from reward_models.estimate import RewardEstimate, bounded, unit

few = settings(max_examples=40, deadline=None)
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


@few
@given(values=members, temperature=st.floats(0.05, 100))
def test_entropic_lies_between_the_minimum_and_the_mean_and_rises(values: list[float], temperature: float) -> None:
    estimate = column(values)
    entropic = estimate.entropic(temperature).item()
    assert estimate.min.item() - 1e-9 <= entropic <= estimate.mean.item() + 1e-9
    assert entropic <= estimate.entropic(2.0 * temperature).item() + 1e-9


@few
@given(values=members)
def test_the_limits_of_entropic_are_minimum_and_mean(values: list[float]) -> None:
    estimate = column(values)
    # -b log(1/K) = b log K is the most that the minimum is off by.
    assert estimate.entropic(1e-4).item() == pytest.approx(estimate.min.item(), abs=1e-4 * math.log(len(values)) + 1e-9)
    assert estimate.entropic(1e7).item() == pytest.approx(estimate.mean.item(), abs=1e-5)


@few
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


ESTIMATES = {
    "mean": lambda estimate: estimate.mean,
    "min": lambda estimate: estimate.min,
    "uwo": lambda estimate: estimate.uwo(0.5),
    "lower": lambda estimate: estimate.lower(1.0),
    "entropic": lambda estimate: estimate.entropic(0.7),
}
every = pytest.mark.parametrize("name", ESTIMATES)


@every
@few
@given(values=members, shift=st.floats(-5, 5))
def test_a_constant_added_to_all_members_is_added_to_the_reward(name: str, values: list[float], shift: float) -> None:
    moved = ESTIMATES[name](column([value + shift for value in values])).item()
    assert moved == pytest.approx(ESTIMATES[name](column(values)).item() + shift, abs=1e-8)


@every
@few
@given(values=members, data=st.data())
def test_members_have_no_order(name: str, values: list[float], data: st.DataObject) -> None:
    turned = data.draw(st.permutations(values))
    found = ESTIMATES[name](column(turned)).item()
    assert found == pytest.approx(ESTIMATES[name](column(values)).item(), abs=1e-9)


@every
@few
@given(values=members)
def test_no_reward_is_above_the_mean(name: str, values: list[float]) -> None:
    assert ESTIMATES[name](column(values)).item() <= column(values).mean.item() + 1e-9


@every
@few
@given(value=st.floats(-10, 10), count=st.integers(1, 6))
def test_members_that_agree_leave_nothing_to_be_careful_about(name: str, value: float, count: int) -> None:
    assert ESTIMATES[name](column([value] * count)).item() == pytest.approx(value, abs=1e-9)


@few
@given(values=members, factor=st.floats(0.1, 10), temperature=st.floats(0.1, 10))
def test_entropic_scales_with_its_temperature(values: list[float], factor: float, temperature: float) -> None:
    # -(c b) log mean exp(-(c r) / (c b)) = c (-b log mean exp(-r / b)).
    scaled = column([factor * value for value in values]).entropic(factor * temperature).item()
    assert scaled == pytest.approx(factor * column(values).entropic(temperature).item(), rel=1e-9, abs=1e-8)


def test_uwo_can_lie_below_every_member_where_entropic_cannot() -> None:
    # Scores 0 and 10: mean 5, variance 25; lambda = 1/2 gives 5 - 12.5, and b = 1 gives -log((1 + e^-10)/2) = log 2.
    estimate = column([0.0, 10.0])
    assert estimate.uwo(0.5).item() == -7.5
    assert estimate.entropic(1.0).item() == pytest.approx(math.log(2.0), abs=1e-4)


def test_bounded_rewards_computed_by_hand() -> None:
    # tanh(log 2) = (4 - 1)/(4 + 1) = 0.6, and sigmoid(log 3) = 3/4.
    log2 = torch.tensor([math.log(2.0)], dtype=torch.float64)
    assert bounded(log2, limit=1.0).item() == pytest.approx(0.6)
    assert bounded(3.0 * log2, limit=3.0).item() == pytest.approx(1.8)
    assert unit(torch.tensor([math.log(3.0)])).item() == pytest.approx(0.75)


@few
@given(reward=st.floats(-1e6, 1e6), other=st.floats(-1e6, 1e6), limit=st.floats(0.1, 100))
def test_a_bounded_reward_keeps_sign_and_order_and_its_bounds(reward: float, other: float, limit: float) -> None:
    low, high = sorted([reward, other])
    small, large = (float(bounded(torch.tensor([value], dtype=torch.float64), limit=limit)) for value in (low, high))
    assert -limit <= small <= large <= limit
    # The smallest numbers have fewer digits than a relative bound asks for.
    assert abs(large) <= abs(high) * (1.0 + 1e-12) + 1e-300 and large * high >= 0.0
    turned = float(bounded(torch.tensor([-high], dtype=torch.float64), limit=limit))
    assert turned == pytest.approx(-large)
    assert 0.0 <= float(unit(torch.tensor([low]))) <= float(unit(torch.tensor([high]))) <= 1.0


@few
@given(values=members, limit=st.floats(1e4, 1e8))
def test_a_large_limit_is_no_limit(values: list[float], limit: float) -> None:
    # tanh(x) = x - x^3 / 3 + ...: off by at most |r|^3 / (3 limit^2).
    rewards = torch.tensor(values, dtype=torch.float64)
    torch.testing.assert_close(bounded(rewards, limit=limit), rewards, rtol=1e-12, atol=10.0**3 / (3.0 * limit**2))


def test_sigmoid_is_half_of_a_bound_moved_up() -> None:
    # sigmoid(r) = (1 + tanh(r / 2)) / 2, so a reward bounded by 2 is 4 sigmoid(r) - 2.
    rewards = torch.linspace(-5.0, 5.0, 11, dtype=torch.float64)
    torch.testing.assert_close(bounded(rewards, limit=2.0), 4.0 * unit(rewards) - 2.0)


@pytest.mark.parametrize("limit", [0.0, -1.0, math.inf, math.nan])
def test_a_limit_that_does_not_bound_is_refused(limit: float) -> None:
    with pytest.raises(InvalidInput, match="limit"):
        bounded(torch.zeros(1), limit=limit)


def at_zero() -> Tensor:
    return torch.zeros(1, 1, dtype=torch.float64)


def test_judged_rewards_computed_by_hand() -> None:
    # Leads log 3 and 0 over the baseline: probabilities 3/4 and 1/2, of mean 5/8.
    estimate = column([math.log(3.0), 0.0])
    assert estimate.log_judged_better(at_zero()).item() == pytest.approx(math.log(5 / 8))
    assert estimate.judged_better(at_zero()).mean.item() == pytest.approx(0.5 * (math.log(3 / 4) + math.log(1 / 2)))
    assert estimate.judged_better(at_zero()).min.item() == pytest.approx(math.log(1 / 2))


@few
@given(values=members)
def test_a_judged_reward_is_at_most_zero_and_its_two_means_are_in_order(values: list[float]) -> None:
    estimate = column(values)
    of_logs, of_probabilities = estimate.judged_better(at_zero()).mean, estimate.log_judged_better(at_zero())
    # Jensen; and a convinced member holds the mean probability at 1/K of its own at least.
    best = estimate.judged_better(at_zero()).members.max().item()
    assert of_logs.item() - 1e-9 <= of_probabilities.item() <= 1e-12
    assert of_probabilities.item() >= best - math.log(len(values)) - 1e-9


@few
@given(value=st.floats(-50, 50))
def test_for_one_member_the_two_means_are_one(value: float) -> None:
    estimate = column([value])
    assert estimate.log_judged_better(at_zero()).item() == pytest.approx(
        estimate.judged_better(at_zero()).mean.item(), abs=1e-12
    )


@few
@given(values=members, data=st.data())
def test_what_a_member_adds_to_a_prompt_cancels_against_its_baseline(values: list[float], data: st.DataObject) -> None:
    count = len(values)
    offsets = torch.tensor(data.draw(st.lists(st.floats(-5, 5), min_size=count, max_size=count))).double()[:, None]
    plain, moved = column(values), RewardEstimate(column(values).members + offsets)
    assert moved.log_judged_better(offsets).item() == pytest.approx(plain.log_judged_better(at_zero()).item())


def test_a_hopeless_completion_has_a_finite_judged_reward() -> None:
    # log sigmoid(-1000) = -1000, where the log of the rounded probability would be infinite.
    assert column([-1000.0, -1000.0]).log_judged_better(at_zero()).item() == pytest.approx(-1000.0)
    assert column([1000.0]).log_judged_better(at_zero()).item() == pytest.approx(0.0)


@few
@given(values=members, temperature=st.floats(0.1, 10), limit=st.floats(0.5, 20))
def test_bounding_keeps_a_conservative_reward_conservative(
    values: list[float], temperature: float, limit: float
) -> None:
    estimate = column(values)
    assume(len(values) > 1)
    careful = bounded(estimate.entropic(temperature), limit=limit).item()
    assert careful <= bounded(estimate.mean, limit=limit).item() + 1e-9
