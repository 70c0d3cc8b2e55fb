import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models.errors import InvalidInput
from reward_models.preferences import Comparison, Preference, labels_and_weights

COMPARISON = Comparison(prompt="what happened?", first="a pump leaks", second="nothing")


def test_swapping_a_comparison_exchanges_its_sides_only() -> None:
    assert COMPARISON.swap() == Comparison(prompt="what happened?", first="nothing", second="a pump leaks")


@given(label=st.floats(0, 1).map(lambda value: round(value, 3)), weight=st.floats(0, 1e6))
def test_swapping_turns_the_label_keeps_the_weight_and_is_its_own_inverse(label: float, weight: float) -> None:
    preference = Preference(COMPARISON, label=label, weight=weight)
    swapped = preference.swap()
    assert swapped.label == 1.0 - label
    assert (swapped.weight, swapped.comparison) == (weight, COMPARISON.swap())
    assert swapped.swap().label == pytest.approx(label)
    assert swapped.swap().comparison == COMPARISON


@pytest.mark.parametrize("label", [-0.1, 1.1, float("nan")])
def test_a_label_that_is_no_probability_is_refused(label: float) -> None:
    with pytest.raises(InvalidInput, match="1 \\(first is better\\)"):
        Preference(COMPARISON, label=label)


@pytest.mark.parametrize("weight", [-1.0, float("inf"), float("nan")])
def test_a_weight_must_count(weight: float) -> None:
    with pytest.raises(InvalidInput, match="not negative"):
        Preference(COMPARISON, label=1.0, weight=weight)


def test_labels_and_weights_keep_the_order() -> None:
    found = labels_and_weights([Preference(COMPARISON, label=1.0), Preference(COMPARISON, label=0.25, weight=3.0)])
    assert (found.labels.tolist(), found.weights.tolist()) == ([1.0, 0.25], [1.0, 3.0])
    assert labels_and_weights([]).labels.shape == (0,)
