import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_models.errors import InvalidInput
from reward_models.losses import bradley_terry, centring_penalty, log_preference

scores = st.floats(-20, 20)
shares = st.floats(0, 1)


def one(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


def loss(first: float, second: float, label: float, *, margin: float = 0.0, rater_error: float = 0.0) -> float:
    return float(bradley_terry(one(first), one(second), one(label), margin=one(margin), rater_error=rater_error))


def test_losses_computed_by_hand() -> None:
    # d = log 3, so p = 3/4: the first preferred costs -log 3/4, the second -log 1/4, a tie their mean.
    lead = math.log(3.0)
    assert loss(lead, 0.0, 1.0) == pytest.approx(math.log(4 / 3))
    assert loss(lead, 0.0, 0.0) == pytest.approx(math.log(4))
    assert loss(lead, 0.0, 0.5) == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)
    # e = 0.1: p' = 0.9 * 0.75 + 0.05 = 0.725.
    assert loss(lead, 0.0, 1.0, rater_error=0.1) == pytest.approx(-math.log(0.725))
    # A margin of log 3 takes the lead away: p = 1/2.
    assert loss(lead, 0.0, 1.0, margin=lead) == pytest.approx(math.log(2))


def test_without_margin_and_error_it_is_the_binary_cross_entropy_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 3, 50, generator=generator, dtype=torch.float64)
    label = torch.rand(50, generator=generator, dtype=torch.float64)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        first - second, label.expand(3, -1), reduction="none"
    )
    torch.testing.assert_close(bradley_terry(first, second, label), expected)


@given(first=scores, second=scores, label=shares, margin=st.floats(0, 5), error=st.floats(0, 0.9))
def test_swapping_the_sides_and_turning_the_label_changes_nothing(
    first: float, second: float, label: float, margin: float, error: float
) -> None:
    turned = loss(second, first, 1.0 - label, margin=margin, rater_error=error)
    assert turned == pytest.approx(loss(first, second, label, margin=margin, rater_error=error), abs=1e-9)


@given(difference=st.floats(-700, 700), error=st.floats(0, 0.9))
def test_the_two_preferences_sum_to_one(difference: float, error: float) -> None:
    total = (
        log_preference(one(difference), rater_error=error).exp()
        + log_preference(one(-difference), rater_error=error).exp()
    )
    assert float(total) == pytest.approx(1.0)


@settings(max_examples=50)
@given(difference=st.floats(-1e6, 1e6))
def test_a_softened_answer_never_costs_more_than_its_bound(difference: float) -> None:
    assert loss(difference, 0.0, 1.0, rater_error=0.1) <= -math.log(0.05) + 1e-9


def test_the_gradient_at_a_tied_score_is_the_surprise() -> None:
    # d loss / d d at d = 0 is 1/2 - y.
    first = one(0.0).requires_grad_()
    bradley_terry(first, one(0.0), one(0.8)).sum().backward()
    assert first.grad is not None and float(first.grad) == pytest.approx(0.5 - 0.8)


def test_centring_penalty_sees_the_constant_and_not_the_difference() -> None:
    assert centring_penalty(one(2.0), one(-2.0)).item() == 0.0
    assert centring_penalty(one(1.0), one(2.0)).item() == 9.0


@pytest.mark.parametrize(
    ("label", "margin", "error", "said"),
    [
        (1.5, 0.0, 0.0, "label"),
        (1.0, -0.1, 0.0, "margin"),
        (1.0, 0.0, 1.0, "rater_error"),
        (1.0, 0.0, -0.1, "rater_error"),
    ],
)
def test_what_is_no_preference_is_refused(label: float, margin: float, error: float, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        loss(0.0, 0.0, label, margin=margin, rater_error=error)
