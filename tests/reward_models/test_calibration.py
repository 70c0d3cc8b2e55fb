import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss
from torch import Tensor

from reward_models.calibration import (
    TEMPERATURE_RANGE,
    accuracy,
    auroc,
    brier,
    ece,
    fit_temperature,
    nll,
    probabilities,
    spearman,
)
from reward_models.errors import InvalidInput, NonFinite

MEASURES = [nll, brier, accuracy, ece]


def row(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def drawn(seed: int, count: int, *, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Differences, and labels drawn from sigmoid(difference / temperature)."""
    generator = torch.Generator().manual_seed(seed)
    differences = 3.0 * torch.randn(count, generator=generator, dtype=torch.float64)
    return differences, torch.bernoulli(torch.sigmoid(differences / temperature), generator=generator)


def test_measures_computed_by_hand() -> None:
    predicted, labels = row(0.8, 0.6, 0.3), row(1.0, 0.0, 0.5)
    assert nll(predicted, labels) == pytest.approx(
        -(math.log(0.8) + math.log(0.4) + 0.5 * math.log(0.3) + 0.5 * math.log(0.7)) / 3
    )
    assert brier(predicted, labels) == pytest.approx((0.04 + 0.36 + 0.04) / 3)
    # Right, wrong, and a tie that earns one half.
    assert accuracy(predicted, labels) == pytest.approx(1.5 / 3)
    assert accuracy(row(0.5), row(1.0)) == 0.5


def test_ece_computed_by_hand() -> None:
    # Two comparisons at 0.71 (bin 14 of 20), one right one wrong: there mean p is 0.71 and mean y 0.5. Mirrored in
    # bin 5: 0.29 against 0.5. Every comparison is off by 0.21.
    assert ece(row(0.71, 0.71), row(1.0, 0.0)) == pytest.approx(0.21)
    # In one bin all is symmetric, and nothing is seen.
    assert ece(row(0.71, 0.71), row(1.0, 0.0), bins=1) == pytest.approx(0.0)
    # 0.71 and 0.12 lie in different bins: (0.29 + 0.12)/2.
    assert ece(row(0.71, 0.12), row(1.0, 0.0)) == pytest.approx((0.29 + 0.12) / 2)


def test_nll_and_brier_agree_with_scikit_learn() -> None:
    differences, labels = drawn(0, 200)
    predicted = probabilities(differences)
    assert nll(predicted, labels) == pytest.approx(log_loss(labels.numpy(), predicted.numpy()))
    assert brier(predicted, labels) == pytest.approx(brier_score_loss(labels.numpy(), predicted.numpy()))


def test_a_certain_error_is_infinitely_surprising_and_a_certain_truth_is_free() -> None:
    assert nll(row(1.0), row(0.0)) == math.inf
    assert nll(row(1.0, 0.0), row(1.0, 0.0)) == 0.0


@given(data=st.lists(st.tuples(st.floats(0.01, 0.99), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=30))
def test_swapping_sides_changes_no_measure(data: list[tuple[float, float]]) -> None:
    predicted, labels = row(*(p for p, _ in data)), row(*(y for _, y in data))
    # Twice swapped is as once but for rounding, which may move a probability over the edge of a bin.
    predicted = 1.0 - (1.0 - predicted)
    for measure in MEASURES:
        assert measure(1.0 - predicted, 1.0 - labels) == pytest.approx(measure(predicted, labels), abs=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_weight_is_a_number_of_copies(measure: Callable[..., float]) -> None:
    differences, labels = drawn(1, 20)
    predicted = probabilities(differences)
    weights = torch.arange(20, dtype=torch.float64) % 4
    copies = torch.arange(20).repeat_interleave(weights.long())
    assert measure(predicted, labels, weights=weights) == pytest.approx(measure(predicted[copies], labels[copies]))


def test_true_probabilities_are_calibrated_and_scaled_ones_are_not() -> None:
    differences, labels = drawn(2, 20_000)
    # Twenty bins of about 1,000: a bin's mean is off by 0.4 / sqrt(1000) = 0.013 or so.
    assert ece(probabilities(differences), labels) < 0.02
    assert ece(probabilities(3.0 * differences), labels) > 0.05


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_temperature_that_drew_the_labels_is_found(temperature: float) -> None:
    differences, labels = drawn(3, 20_000, temperature=temperature)
    # The information on log T is n E[u^2 p (1 - p)], u = d / T: here over 0.13 n, a deviation below 2 percent.
    assert fit_temperature(differences, labels) == pytest.approx(temperature, rel=0.08)


def test_the_slope_of_the_loss_vanishes_at_the_temperature() -> None:
    differences, labels = drawn(4, 300)
    log_temperature = torch.tensor(
        math.log(fit_temperature(differences, labels)), dtype=torch.float64, requires_grad=True
    )
    scaled = differences / log_temperature.exp()
    torch.nn.functional.binary_cross_entropy_with_logits(scaled, labels).backward()
    assert log_temperature.grad is not None and abs(log_temperature.grad.item()) < 1e-5


@given(factor=st.floats(0.3, 3.0))
def test_scaling_the_scores_scales_the_temperature(factor: float) -> None:
    differences, labels = drawn(5, 100)
    scaled = fit_temperature(factor * differences, labels)
    assert scaled == pytest.approx(factor * fit_temperature(differences, labels), rel=1e-3)


def test_judgements_that_do_not_determine_a_temperature_lead_to_an_end_of_the_range() -> None:
    low, high = TEMPERATURE_RANGE
    assert fit_temperature(row(1.0, -1.0), row(1.0, 0.0)) == pytest.approx(low, rel=1e-3)
    assert fit_temperature(row(1.0, -1.0), row(0.0, 1.0)) == pytest.approx(high, rel=1e-3)


def test_a_rater_who_errs_is_not_taken_for_flat_scores() -> None:
    generator = torch.Generator().manual_seed(6)
    differences, labels = drawn(6, 20_000)
    coin = torch.rand(20_000, generator=generator) < 0.2
    labels = torch.where(coin, torch.randint(2, (20_000,), generator=generator).double(), labels)
    assert fit_temperature(differences, labels, rater_error=0.2) == pytest.approx(1.0, rel=0.1)
    assert fit_temperature(differences, labels) > 1.3


def test_spearman_and_auroc_computed_by_hand() -> None:
    assert spearman(row(0.1, 0.2, 0.3), row(1.0, 5.0, 9.0)) == pytest.approx(1.0)
    # Ranks 1 2 3 against 1 3 2: 1 - 6 * 2 / (3 * 8) = 0.5.
    assert spearman(row(0.1, 0.2, 0.3), row(1.0, 9.0, 5.0)) == pytest.approx(0.5)
    # Of the four pairs (wrong, right), the wrong one has the larger spread in three.
    assert auroc(row(0.1, 0.3, 0.2, 0.4), torch.tensor([False, False, True, True])) == pytest.approx(0.75)


def test_where_there_is_nothing_to_rank_the_answer_is_none() -> None:
    assert spearman(row(0.2, 0.2), row(0.0, 1.0)) is None
    assert spearman(row(0.1, 0.2), row(1.0, 1.0)) is None
    assert auroc(row(0.1, 0.2), torch.tensor([True, True])) is None
    assert auroc(row(0.1, 0.2), torch.tensor([False, False])) is None


def test_nothing_to_measure_is_said() -> None:
    with pytest.raises(InvalidInput, match="sum to 0"):
        nll(row(), row())
    with pytest.raises(InvalidInput, match="sum to 0"):
        nll(row(0.5), row(1.0), weights=row(0.0))
    with pytest.raises(NonFinite):
        brier(row(math.nan), row(1.0))
    with pytest.raises(InvalidInput, match="bins"):
        ece(row(0.5), row(1.0), bins=0)
