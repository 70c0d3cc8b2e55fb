import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap
from torch import Tensor

from reward_models.errors import InvalidInput, NonFinite
from reward_models.intervals import paired_difference, share


def row(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=60, deadline=None)
@given(right=st.integers(0, 40), wrong=st.integers(0, 40), confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_without_groups_it_is_the_wilson_interval_of_scipy(right: int, wrong: int, confidence: float) -> None:
    if right + wrong == 0:
        return
    found = share(row(*[1.0] * right, *[0.0] * wrong), confidence=confidence)
    expected = binomtest(right, right + wrong).proportion_ci(confidence_level=confidence, method="wilson")
    assert found.value == pytest.approx(right / (right + wrong))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_copies_within_a_group_tell_nothing_new() -> None:
    answers = row(1.0, 0.0, 1.0, 1.0, 0.0)
    copied = share(answers.repeat_interleave(7), groups=torch.arange(5).repeat_interleave(7))
    assert copied == pytest.approx(share(answers), abs=1e-12)
    assert copied.high - copied.low > 2.0 * (lambda all: all.high - all.low)(share(answers.repeat_interleave(7)))


def test_groups_that_agree_with_one_another_are_no_more_than_single_answers() -> None:
    # Each of ten groups is half right: they vary less than coins would, and count as twenty answers, not as more.
    values, groups = row(1.0, 0.0).repeat(10), torch.arange(10).repeat_interleave(2)
    assert share(values, groups=groups) == pytest.approx(share(values))


def test_where_all_is_right_the_groups_are_counted() -> None:
    found = share(torch.ones(12).double(), groups=torch.arange(3).repeat_interleave(4))
    # Wilson of three out of three: 3 / (3 + z^2).
    assert found.low == pytest.approx(3.0 / (3.0 + 1.959964**2), abs=1e-6)
    assert found.value == found.high == 1.0


def test_a_weight_of_zero_leaves_out() -> None:
    weighted = share(row(1.0, 0.0, 1.0, 1.0), weights=row(1.0, 1.0, 0.0, 1.0))
    assert weighted == pytest.approx(share(row(1.0, 0.0, 1.0)))


def test_the_bootstrap_agrees_with_that_of_scipy() -> None:
    source = generator(1)
    one, other = (torch.bernoulli(torch.full((300,), chance), generator=source).double() for chance in (0.8, 0.7))
    found = paired_difference(one, other, generator=generator(2), resamples=4000)
    expected = bootstrap(
        ((one - other).numpy(),), np.mean, method="percentile", n_resamples=4000, random_state=np.random.default_rng(0)
    ).confidence_interval
    assert found.value == pytest.approx(float((one - other).mean()))
    # An end of either is itself uncertain by about a tenth of the interval's width over sqrt(4000 * 0.025) draws.
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.008)


def test_a_pair_is_compared_with_itself() -> None:
    # The second is right wherever the first is, and once more: the difference varies little, however hard they are.
    one = torch.bernoulli(torch.full((400,), 0.5), generator=generator(3)).double()
    other = one.clone()
    other[int((one == 0.0).nonzero()[0])] = 1.0
    found = paired_difference(other, one, generator=generator(4))
    assert found.value == pytest.approx(1 / 400)
    assert found.low >= 0.0 and found.high <= 5 / 400


def test_whole_groups_are_drawn() -> None:
    # Two groups that say 1 and 0: a quarter of the resamples holds one alone, so the interval is [0, 1].
    values, groups = row(*[1.0] * 50, *[0.0] * 50), torch.arange(2).repeat_interleave(50)
    found = paired_difference(values, torch.zeros(100).double(), groups=groups, generator=generator(5))
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


def test_a_group_counts_by_its_comparisons() -> None:
    # One comparison of difference 1 and three of 0: half of the resamples hold both groups, with a mean of 1/4 and not
    # of 1/2. An interval of hardly any confidence is the median.
    values, groups = row(1.0, 0.0, 0.0, 0.0), torch.tensor([4, 9, 9, 9])
    found = paired_difference(values, torch.zeros(4).double(), groups=groups, generator=generator(8), confidence=0.01)
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)


def test_turning_the_pair_turns_the_interval() -> None:
    one, other = torch.rand(2, 50, generator=generator(6), dtype=torch.float64)
    ahead, behind = (paired_difference(*pair, generator=generator(7)) for pair in ((one, other), (other, one)))
    assert (ahead.value, ahead.low, ahead.high) == pytest.approx((-behind.value, -behind.high, -behind.low))


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"outside \[0, 1\]"):
        share(row(1.5))
    with pytest.raises(InvalidInput, match="sum to 0"):
        share(row(1.0), weights=row(0.0))
    with pytest.raises(InvalidInput, match="confidence"):
        share(row(1.0), confidence=95.0)
    with pytest.raises(NonFinite):
        share(row(math.nan))
    with pytest.raises(InvalidInput, match="resamples"):
        paired_difference(row(1.0), row(0.0), generator=generator(), resamples=0)
