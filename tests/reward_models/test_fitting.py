import json
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reward_models import newton
from reward_models.calibration import spearman
from reward_models.cross_validation import cross_fitted_differences, draw_folds, grid_losses, seen_rows
from reward_models.errors import InvalidInput, NonFinite
from reward_models.fitting import FitResult, FitSettings, FitStep, fit
from reward_models.newton import Problem, solve
from reward_models.standardisation import standardisation

SETTINGS = FitSettings(members=4, l2_grid=(0.1, 1.0, 10.0, 1000.0))


def judged(seed: int, comparisons: int, features: int = 6, *, slope: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Features of both sides, and labels drawn from a Bradley-Terry model with gold weights (slope, slope, 0, ...)."""
    generator = torch.Generator().manual_seed(seed)
    first, second = 5.0 + 2.0 * torch.randn(2, comparisons, features, generator=generator)
    gold = (first - second)[:, :2].sum(dim=1) * slope
    return first, second, torch.bernoulli(torch.sigmoid(gold), generator=generator)


def fitted(
    first: Tensor,
    second: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    *,
    settings: FitSettings = SETTINGS,
    groups: Tensor | None = None,
    margins: Tensor | None = None,
) -> FitResult:
    return fit(
        first,
        second,
        labels,
        weights,
        feature_names=("likelihood_statistics",),
        settings=settings,
        generator=torch.Generator().manual_seed(0),
        groups=groups,
        margins=margins,
    )


def test_standardisation_computed_by_hand() -> None:
    # Completions 0, 2 | 4, 10: mean 4, variance (16 + 4 + 0 + 36)/4 = 14. The second feature is constant.
    first, second = torch.tensor([[0.0, 7.0], [2.0, 7.0]]), torch.tensor([[4.0, 7.0], [10.0, 7.0]])
    found = standardisation(first, second, torch.ones(2))
    assert found.mean.tolist() == [4.0, 7.0]
    assert found.scale.tolist() == pytest.approx([14.0**0.5, 1.0])
    # All weight on the first comparison leaves 0 and 4: mean 2, deviation 2.
    assert standardisation(first, second, torch.tensor([1.0, 0.0])).scale.tolist() == pytest.approx([2.0, 1.0])


def test_a_feature_constant_up_to_rounding_is_not_blown_up() -> None:
    generator = torch.Generator().manual_seed(0)
    noisy = 1e3 + 1e-6 * torch.randn(20, 1, generator=generator, dtype=torch.float64)
    assert standardisation(noisy, noisy, torch.ones(20, dtype=torch.float64)).scale.item() == 1.0


def test_gold_preferences_are_learned() -> None:
    ensemble = fitted(*judged(0, 600)).ensemble
    first, second, _ = judged(1, 500)
    better = (first - second)[:, :2].sum(dim=1) > 0
    found = (ensemble.scores(first) - ensemble.scores(second)).mean(dim=0) > 0
    # Six weights from 600 answers: the angle to gold is a few degrees, and each degree costs 1/180.
    assert (found == better).double().mean().item() > 0.95


def test_a_large_fit_takes_the_other_road_to_the_same_ensemble(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, labels = judged(26, 120, features=30, slope=0.3)
    expected = fitted(first, second, labels)
    monkeypatch.setattr(newton, "DENSE_WORK", 0)
    found = fitted(first, second, labels)
    assert found.record.converged
    assert found.record.l2 == expected.record.l2
    torch.testing.assert_close(found.ensemble.weights, expected.ensemble.weights, rtol=0.0, atol=1e-4)
    # Held-out members stop at a coarser tolerance.
    assert found.ensemble.temperature == pytest.approx(expected.ensemble.temperature, abs=0.01)


def test_every_member_is_centred_on_the_training_completions() -> None:
    first, second, labels = judged(2, 80)
    scores = fitted(first, second, labels).ensemble.scores(torch.cat([first, second]).double())
    assert scores.mean(dim=1).abs().max().item() < 1e-9
    weights = torch.arange(80.0) % 3
    scores = fitted(first, second, labels, weights).ensemble.scores(torch.cat([first, second]).double())
    assert (scores @ weights.repeat(2).double()).abs().max().item() < 1e-7


def test_swapping_all_sides_and_labels_changes_nothing() -> None:
    first, second, labels = judged(3, 80)
    one, other = fitted(first, second, labels), fitted(second, first, 1.0 - labels)
    torch.testing.assert_close(one.ensemble.weights, other.ensemble.weights, rtol=0.0, atol=1e-6)
    assert one.record.held_out_after.loss == pytest.approx(other.record.held_out_after.loss, abs=1e-4)


def test_the_unit_of_a_feature_changes_no_score() -> None:
    first, second, labels = judged(4, 80)
    unit, shift = torch.tensor([1.0, 10.0, 0.1, 3.0, 1.0, 100.0]), torch.tensor([0.0, 5.0, 1.0, 0.0, -3.0, 2.0])
    one, other = fitted(first, second, labels), fitted(first * unit + shift, second * unit + shift, labels)
    expected, found = one.ensemble.scores(first), other.ensemble.scores(first * unit + shift)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_ten_times_the_weight_is_ten_copies_for_the_heads() -> None:
    # Without bootstrap, random starts and choice nothing is random but the folds, which copies would leak across.
    settings = FitSettings(members=1, l2_grid=(1.0,), bootstrap=False)
    first, second, labels = judged(5, 40)
    heavy = fitted(first, second, labels, torch.full((40,), 10.0), settings=settings).ensemble
    copies = fitted(first.repeat(10, 1), second.repeat(10, 1), labels.repeat(10), settings=settings).ensemble
    torch.testing.assert_close(heavy.weights, copies.weights, rtol=1e-6, atol=1e-6)


def test_a_comparison_of_weight_zero_is_left_out() -> None:
    first, second, labels = judged(6, 60)
    weights = torch.cat([torch.ones(50), torch.zeros(10)])
    one, other = fitted(first, second, labels, weights), fitted(first[:50], second[:50], labels[:50])
    assert torch.equal(one.ensemble.weights, other.ensemble.weights)
    assert one.record == other.record
    assert one.record.comparisons == 50


def test_bootstrapped_members_keep_the_weights() -> None:
    first, second, labels = judged(6, 60)
    weights = torch.cat([torch.ones(50), torch.full((10,), 1e-9)])
    turned = torch.cat([labels[:50], 1.0 - labels[50:]])
    settings = replace(SETTINGS, l2_grid=(1.0,))
    one, other = (fitted(first, second, answers, weights, settings=settings) for answers in (labels, turned))
    torch.testing.assert_close(one.ensemble.weights, other.ensemble.weights, rtol=0.0, atol=1e-6)


def test_equal_generators_give_equal_ensembles_and_others_do_not() -> None:
    first, second, labels = judged(7, 60)
    one, other = fitted(first, second, labels), fitted(first, second, labels)
    assert torch.equal(one.ensemble.weights, other.ensemble.weights)
    assert one.record == other.record
    third = fit(
        first, second, labels, feature_names=(), settings=SETTINGS, generator=torch.Generator().manual_seed(1)
    )  # fmt: skip
    assert not torch.equal(one.ensemble.weights, third.ensemble.weights)


def test_members_differ_by_bootstrap_and_by_start() -> None:
    first, second, labels = judged(8, 60)
    for bootstrap, start_scale, differ in [(True, 0.0, True), (False, 0.5, True), (False, 0.0, False)]:
        settings = replace(SETTINGS, bootstrap=bootstrap, start_scale=start_scale)
        weights = fitted(first, second, labels, settings=settings).ensemble.weights
        assert bool((weights.std(dim=0) > 1e-6).all()) is differ


def test_random_starts_spread_the_members_and_leave_their_mean() -> None:
    # A pull too strong for the labels leaves each member at its start: weights of deviation 0.5 / sqrt(F).
    settings = FitSettings(members=5, l2_grid=(1e9,), start_scale=0.5)
    first, second, labels = judged(9, 60, features=400)
    result = fitted(first, second, labels, settings=settings)
    weights = result.ensemble.weights
    assert weights.mean(dim=0).abs().max().item() < 1e-4
    # 2,000 weights, 1,600 of them free: the deviation is known to 1/sqrt(2 * 1600) = 1.8 percent.
    assert (weights.square().mean() / 0.8 * (4 / 5)).sqrt().item() == pytest.approx(0.5 / 20.0, rel=0.09)


def test_where_the_labels_say_nothing_the_members_disagree_more() -> None:
    # Feature 5 is constant in training, so that only the starts speak about it.
    first, second, labels = judged(10, 300)
    first[:, 5], second[:, 5] = 5.0, 5.0
    ensemble = fitted(first, second, labels).ensemble
    typical = ensemble.scores(first).std(dim=0).mean()
    strange = first.clone()
    strange[:, 5] += 20.0
    assert ensemble.scores(strange).std(dim=0).mean().item() > 2.0 * typical.item()


def test_spread_knows_where_the_ensemble_is_wrong() -> None:
    ensemble = fitted(*judged(11, 60, features=20, slope=0.5)).ensemble
    first, second, _ = judged(12, 500, features=20)
    predicted = torch.sigmoid(ensemble.scores(first) - ensemble.scores(second))
    truth = torch.sigmoid((first - second)[:, :2].sum(dim=1) * 0.5)
    found = spearman(predicted.std(dim=0), (predicted.mean(dim=0) - truth).abs())
    # Unrelated ranks of 500 would have a deviation of 0.045.
    assert found is not None and found > 0.15


def test_noise_earns_a_strong_prior_and_clear_signal_a_weak_one() -> None:
    first, second, labels = judged(13, 300)
    noise = torch.bernoulli(torch.full((300,), 0.5), generator=torch.Generator().manual_seed(0))
    assert fitted(first, second, noise).record.l2 == 1000.0
    assert fitted(first, second, labels).record.l2 <= 10.0


def test_the_record_says_what_was_chosen_and_measured() -> None:
    first, second, labels = judged(14, 200)
    steps: list[FitStep] = []
    result = fit(
        first,
        second,
        labels,
        feature_names=(),
        settings=SETTINGS,
        generator=torch.Generator().manual_seed(0),
        on_step=steps.append,
    )
    record = result.record
    assert (record.comparisons, record.features, record.members) == (200, 6, 4)
    assert record.l2 == min(record.l2_losses, key=lambda pair: pair[1])[0]
    assert [pair[0] for pair in record.l2_losses] == list(SETTINGS.l2_grid)
    assert record.temperature == result.ensemble.temperature
    assert record.held_out_after.loss <= record.held_out_before.loss + 1e-9
    assert record.held_out_after.accuracy == record.held_out_before.accuracy
    assert record.train_loss < record.held_out_after.loss
    assert record.converged
    assert {step.stage for step in steps} == {"choose", "fit", "calibrate"}
    assert json.loads(json.dumps(asdict(record), allow_nan=False))["held_out_after"]["ece"] < 0.5


def test_the_temperature_repairs_scores_that_the_centring_penalty_made_too_flat() -> None:
    first, second, labels = judged(15, 600)
    record = fitted(first, second, labels, settings=replace(SETTINGS, centring=1.0)).record
    assert record.temperature < 0.8
    assert record.held_out_after.ece < record.held_out_before.ece


def test_the_centring_penalty_ties_down_the_constant_of_a_prompt() -> None:
    # Feature 0 is shared by both sides (a property of the prompt): no comparison speaks about it, and without the
    # penalty a member keeps its start. To the pull of 1 it adds 2 eta sum_i (2 x_i)^2 = 2 * 0.01 * 4 * 300 = 24.
    generator = torch.Generator().manual_seed(16)
    first, second = torch.randn(2, 300, 3, generator=generator)
    second[:, 0] = first[:, 0]
    labels = torch.bernoulli(torch.sigmoid(2.0 * (first - second)[:, 1]), generator=generator)
    loose, tied = (
        fitted(first, second, labels, settings=FitSettings(l2_grid=(1.0,), start_scale=4.0, centring=centring)).ensemble
        for centring in (0.0, 0.01)
    )
    assert tied.weights[:, 0].abs().max().item() < 0.2 * loose.weights[:, 0].abs().max().item()


def test_rater_error_keeps_slips_from_flattening_the_reward() -> None:
    first, second, labels = judged(17, 600)
    slips = torch.rand(600, generator=torch.Generator().manual_seed(0)) < 0.1
    labels = torch.where(slips, 1.0 - labels, labels)
    plain, softened = (
        fitted(first, second, labels, settings=replace(SETTINGS, rater_error=error)) for error in (0.0, 0.2)
    )

    def gap(result: FitResult) -> float:
        return (result.ensemble.scores(first) - result.ensemble.scores(second)).mean(dim=0).abs().mean().item()

    assert gap(softened) > 1.2 * gap(plain)
    assert softened.record.held_out_after.loss < plain.record.held_out_after.loss


def test_ties_alone_leave_a_reward_near_zero() -> None:
    first, second, _ = judged(18, 60)
    ensemble = fitted(first, second, torch.full((60,), 0.5)).ensemble
    assert (ensemble.scores(first) - ensemble.scores(second)).mean(dim=0).abs().max().item() < 0.05


def cross_validated(seed: int) -> tuple[Problem, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, 30, 3, generator=generator, dtype=torch.float64)
    problem = Problem(
        first=first,
        second=second,
        labels=torch.randint(2, (30,), generator=generator).double(),
        weights=torch.ones(2, 30, dtype=torch.float64),
        l2=torch.full((2,), 1.0, dtype=torch.float64),
        starts=torch.randn(2, 3, generator=generator, dtype=torch.float64),
        rater_error=0.0,
        centring=0.0,
    )
    return problem, torch.randperm(30, generator=generator) % 3


def test_cross_fitting_is_a_loop_over_folds() -> None:
    problem, fold = cross_validated(0)
    found = cross_fitted_differences(problem, fold)
    for index in range(3):
        kept, left = fold != index, fold == index
        part = replace(
            problem,
            first=problem.first[kept],
            second=problem.second[kept],
            labels=problem.labels[kept],
            weights=problem.weights[:, kept],
        )
        expected = solve(part).weights.mean(dim=0) @ (problem.first - problem.second)[left].T
        torch.testing.assert_close(found[left], expected, rtol=0.0, atol=1e-2)


def test_a_held_out_label_does_not_touch_its_own_prediction() -> None:
    problem, fold = cross_validated(1)
    turned = problem.labels.clone()
    turned[fold == 0] = 1.0 - turned[fold == 0]
    before, after = (cross_fitted_differences(these, fold) for these in (problem, replace(problem, labels=turned)))
    # The folds are solved in one batch that stops together, hence not to the last bit.
    torch.testing.assert_close(before[fold == 0], after[fold == 0], rtol=0.0, atol=1e-2)
    assert not torch.allclose(before[fold == 1], after[fold == 1], atol=0.05)


def test_grid_losses_of_an_overwhelming_prior_are_those_of_a_coin() -> None:
    problem, fold = cross_validated(2)
    single = replace(problem, weights=problem.weights[:1], l2=problem.l2[:1], starts=torch.zeros(1, 3).double())
    losses = grid_losses(single, fold, (1.0, 1e9))
    assert losses[1e9] == pytest.approx(torch.log(torch.tensor(2.0)).item(), abs=1e-6)
    assert losses[1.0] != losses[1e9]


@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=20), folds=st.integers(2, 6), seed=st.integers(0, 99))
def test_folds_never_split_a_group_and_hold_as_many_groups_each(sizes: list[int], folds: int, seed: int) -> None:
    group = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    fold = draw_folds(group, folds=folds, generator=torch.Generator().manual_seed(seed))
    of_group = [fold[group == index].unique().tolist() for index in range(len(sizes))]
    assert all(len(found) == 1 for found in of_group)
    counts = torch.tensor([found[0] for found in of_group]).bincount()
    assert len(counts) == min(folds, len(sizes))
    assert int(counts.max() - counts.min()) <= 1


def test_groups_keep_copies_from_telling_on_one_another() -> None:
    # Coin-toss labels, each comparison ten times: across a fold a copy gives its twin away, in a group it cannot.
    generator = torch.Generator().manual_seed(21)
    first, second = torch.randn(2, 60, 40, generator=generator)
    labels = torch.randint(2, (60,), generator=generator).float()
    settings = FitSettings(members=2, l2_grid=(1.0,))
    copies = [part.repeat(10, *[1] * (part.ndim - 1)) for part in (first, second, labels)]
    leaking = fitted(*copies, settings=settings)
    grouped = fitted(*copies, settings=settings, groups=torch.arange(60).repeat(10))
    assert leaking.record.held_out_after.accuracy > 0.9
    # 60 coins have a deviation of 0.065.
    assert grouped.record.held_out_after.accuracy < 0.7


def test_groups_of_one_are_no_groups_whatever_their_numbers() -> None:
    first, second, labels = judged(22, 60)
    plain = fitted(first, second, labels)
    numbered = fitted(first, second, labels, groups=torch.arange(60) * 7 - 5)
    assert torch.equal(plain.ensemble.weights, numbered.ensemble.weights)
    assert plain.record == numbered.record


def test_halves_in_one_group_are_the_whole_when_groups_are_resampled() -> None:
    first, second, labels = judged(23, 60)
    settings = replace(SETTINGS, resampled="groups")
    whole = fitted(first, second, labels, settings=settings)
    halves = [part.repeat(2, *[1] * (part.ndim - 1)) for part in (first, second, labels)]
    weights, groups = torch.full((120,), 0.5), torch.arange(60).repeat(2)
    split = fitted(*halves, weights, settings=settings, groups=groups)
    torch.testing.assert_close(split.ensemble.weights, whole.ensemble.weights, rtol=0.0, atol=1e-6)
    apart = fitted(*halves, weights, settings=SETTINGS, groups=groups)
    assert not torch.allclose(apart.ensemble.weights, whole.ensemble.weights, atol=1e-3)


def test_margins_widen_the_lead_and_zero_margins_do_nothing() -> None:
    first, second, labels = judged(24, 300, slope=0.3)
    settings = FitSettings(members=1, l2_grid=(1.0,), bootstrap=False)
    plain, zero, wide = (
        fitted(first, second, labels, settings=settings, margins=margins)
        for margins in (None, torch.zeros(300), torch.full((300,), 1.0))
    )
    torch.testing.assert_close(zero.ensemble.weights, plain.ensemble.weights, rtol=0.0, atol=1e-6)
    size = [result.ensemble.weights.norm().item() for result in (plain, wide)]
    assert size[1] > 1.2 * size[0]
    # The temperature is fitted without the margin, and takes the widening back.
    assert wide.record.temperature > plain.record.temperature


def test_a_comparison_that_does_not_count_takes_its_group_and_margin_along() -> None:
    first, second, labels = judged(25, 60)
    weights = torch.cat([torch.ones(50), torch.zeros(10)])
    groups, margins = torch.arange(60) // 2, torch.linspace(0.0, 1.0, 60)
    one = fitted(first, second, labels, weights, groups=groups, margins=margins)
    other = fitted(first[:50], second[:50], labels[:50], groups=groups[:50], margins=margins[:50])
    assert torch.equal(one.ensemble.weights, other.ensemble.weights)
    assert one.record == other.record


def test_seen_rows_leave_each_comparison_out_once() -> None:
    assert seen_rows(torch.tensor([0, 1, 0])).tolist() == [[False, True, False], [True, False, True]]


def test_two_comparisons_are_enough_and_one_is_not() -> None:
    first, second, labels = judged(19, 2)
    assert fitted(first, second, labels).record.comparisons == 2
    with pytest.raises(InvalidInput, match="1 comparisons count"):
        fitted(first[:1], second[:1], labels[:1])
    with pytest.raises(InvalidInput, match="0 comparisons count"):
        fitted(first, second, labels, torch.zeros(2))


def test_what_cannot_be_fitted_is_refused() -> None:
    first, second, labels = judged(20, 10)
    with pytest.raises(InvalidInput, match=r"outside \[0, 1\]"):
        fitted(first, second, labels + 1.0)
    with pytest.raises(InvalidInput, match="weight is negative"):
        fitted(first, second, labels, -torch.ones(10))
    with pytest.raises(InvalidInput, match="no features"):
        fitted(first[:, :0], second[:, :0], labels)
    with pytest.raises(NonFinite):
        fitted(first * torch.nan, second, labels)
    with pytest.raises(InvalidInput, match="margin is negative"):
        fitted(first, second, labels, margins=-torch.ones(10))
    with pytest.raises(InvalidInput, match="of one group"):
        fitted(first, second, labels, groups=torch.zeros(10, dtype=torch.long))


@pytest.mark.parametrize(
    "wrong",
    [
        {"members": 0},
        {"folds": 1},
        {"l2_grid": ()},
        {"l2_grid": (0.0,)},
        {"start_scale": -1.0},
        {"rater_error": 1.0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        FitSettings(**wrong)
