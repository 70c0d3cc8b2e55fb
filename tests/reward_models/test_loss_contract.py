"""What every preference loss must keep, whatever its form."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reward_models.errors import InvalidInput
from reward_models.losses import (
    both_bad,
    bradley_terry,
    centring_penalty,
    davidson,
    log_preference,
    targets,
    weighted_mean,
)


@dataclass(frozen=True)
class Case:
    name: str
    loss: Callable[[Tensor, Tensor, Tensor], Tensor]


def with_margin(first: Tensor, second: Tensor, label: Tensor) -> Tensor:
    return bradley_terry(first, second, label, margin=torch.full_like(label, 0.7))


def softened(first: Tensor, second: Tensor, label: Tensor) -> Tensor:
    return bradley_terry(first, second, label, rater_error=0.1)


def softened_with_margin(first: Tensor, second: Tensor, label: Tensor) -> Tensor:
    return bradley_terry(first, second, label, margin=torch.full_like(label, 0.7), rater_error=0.1)


def with_ties(first: Tensor, second: Tensor, label: Tensor) -> Tensor:
    return davidson(first, second, label, tied=torch.full_like(label, 0.25), log_tie=torch.tensor(0.3).to(label))


def tied_and_bad(first: Tensor, second: Tensor, label: Tensor) -> Tensor:
    return bradley_terry(first, second, label) + 0.5 * both_bad(first, second, level=-1.0)


def centred(first: Tensor, second: Tensor, label: Tensor) -> Tensor:
    return bradley_terry(first, second, label) + 0.01 * centring_penalty(first, second)


CASES = [
    Case("bradley_terry", bradley_terry),
    Case("with margin", with_margin),
    Case("softened", softened),
    Case("softened with margin", softened_with_margin),
    Case("davidson", with_ties),
    Case("both bad", tied_and_bad),
    Case("centred", centred),
]
every = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
few = settings(max_examples=40, deadline=None)
scores = st.floats(-30, 30)


def one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def some(seed: int, *, members: int = 3, comparisons: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, members, comparisons, generator=generator, dtype=torch.float64)
    return first, second, torch.rand(comparisons, generator=generator, dtype=torch.float64)


@every
@few
@given(first=scores, second=scores, label=st.floats(0, 1))
def test_swapping_the_sides_and_turning_the_label_changes_nothing(
    case: Case, first: float, second: float, label: float
) -> None:
    turned = case.loss(one(second), one(first), one(1.0 - label))
    torch.testing.assert_close(turned, case.loss(one(first), one(second), one(label)), rtol=1e-9, atol=1e-9)


@every
def test_the_gradient_is_that_of_finite_differences(case: Case) -> None:
    first, second, label = some(0)
    leaves = (first.requires_grad_(), second.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: case.loss(a, b, label), leaves)


@every
def test_a_weight_of_two_is_two_copies_in_value_and_gradient(case: Case) -> None:
    first, second, label = some(1)
    weights = torch.tensor([2.0, 1.0, 0.0, 3.0, 1.0, 2.0], dtype=torch.float64)
    copies = torch.arange(6).repeat_interleave(weights.long())

    def mean_and_slope(rows: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        leaf = first.clone().requires_grad_()
        value = weighted_mean(case.loss(leaf[:, rows], second[:, rows], label[rows]), counts)
        value.sum().backward()
        assert leaf.grad is not None
        return value.detach(), leaf.grad

    weighed, copied = mean_and_slope(torch.arange(6), weights), mean_and_slope(copies, torch.ones(9).double())
    torch.testing.assert_close(weighed, copied)


@every
def test_members_do_not_see_one_another(case: Case) -> None:
    first, second, label = some(2)
    together = case.loss(first, second, label)
    assert together.shape == (3, 6)
    for member in range(3):
        torch.testing.assert_close(together[member], case.loss(first[member], second[member], label))


@every
@pytest.mark.parametrize("lead", [-1e4, 1e4])
def test_a_huge_lead_has_a_finite_loss_and_slope(case: Case, lead: float) -> None:
    first = one(lead).requires_grad_()
    loss = case.loss(first, one(0.0), one(1.0))
    loss.sum().backward()
    assert bool(torch.isfinite(loss).all())
    assert first.grad is not None and bool(torch.isfinite(first.grad).all())


@every
@pytest.mark.parametrize("label", [-0.01, 1.01])
def test_a_label_that_is_no_share_is_refused(case: Case, label: float) -> None:
    with pytest.raises(InvalidInput, match="label"):
        case.loss(one(0.0), one(0.0), one(label))


@every
def test_single_precision_stays_single(case: Case) -> None:
    first, second, label = (part.float() for part in some(3))
    assert case.loss(first, second, label).dtype == torch.float32


# Where the least loss is: the lead at which the model expects what was answered.
MINIMA = {
    # sigmoid(d) = 0.8
    "bradley_terry": (0.8, math.log(4.0)),
    # 0.9 sigmoid(d) + 0.05 = 0.725 where sigmoid(d) = 3/4
    "softened": (0.725, math.log(3.0)),
    # A tie wants no lead, with or without a margin.
    "with margin": (0.5, 0.0),
    "softened with margin": (0.5, 0.0),
    # The difference of the odds: y = 0.8 gives log 4, and the sum is 0 at +-(log 4)/2, so the penalty does not move it.
    "centred": (0.8, math.log(4.0)),
}


@pytest.mark.parametrize("name", MINIMA)
def test_the_least_loss_is_where_the_model_expects_the_answer(name: str) -> None:
    loss = next(case.loss for case in CASES if case.name == name)
    label, lead = MINIMA[name]
    half = one(0.5 * lead).requires_grad_()
    loss(half, -half, one(label)).sum().backward()
    assert half.grad is not None and float(half.grad) == pytest.approx(0.0, abs=1e-12)
    least = float(loss(one(0.5 * lead), one(-0.5 * lead), one(label)))
    for step in (-0.3, 0.3):
        assert float(loss(one(0.5 * (lead + step)), one(-0.5 * (lead + step)), one(label))) > least


def three_answers(lead: float, log_tie: float, *, label: float, tied: float) -> float:
    return float(davidson(one(lead), one(0.0), one(label), tied=one(tied), log_tie=one(log_tie)[0]))


def test_davidson_computed_by_hand() -> None:
    # d = 2 log 2 and nu = 1: the numerators are 2, 1 and 1/2, so first 4/7, tie 2/7, second 1/7.
    lead = 2.0 * math.log(2.0)
    assert three_answers(lead, 0.0, label=1.0, tied=0.0) == pytest.approx(math.log(7 / 4))
    assert three_answers(lead, 0.0, label=0.5, tied=1.0) == pytest.approx(math.log(7 / 2))
    assert three_answers(lead, 0.0, label=0.0, tied=0.0) == pytest.approx(math.log(7))
    # Half ties, the other half first: the mean of the two.
    assert three_answers(lead, 0.0, label=1.0, tied=0.5) == pytest.approx(0.5 * (math.log(7 / 4) + math.log(7 / 2)))
    # Equal scores tie with probability nu / (nu + 2): here 2 / 4.
    assert three_answers(0.0, math.log(2.0), label=0.5, tied=1.0) == pytest.approx(math.log(2))


def test_davidson_is_least_where_wins_less_losses_are_as_expected() -> None:
    # nu = 2: (e^h - e^-h) / (e^h + e^-h + 2) = (u - 1) / (u + 1) with u = e^h and h = d/2. A fifth of ties and 13/16 of
    # the rest for the first make wins less losses 0.8 * (2 * 13/16 - 1) = 1/2, so u = 3 and d = 2 log 3.
    lead = one(2.0 * math.log(3.0)).requires_grad_()
    davidson(lead, one(0.0), one(13 / 16), tied=one(0.2), log_tie=one(math.log(2.0))[0]).sum().backward()
    assert lead.grad is not None and float(lead.grad) == pytest.approx(0.0, abs=1e-12)


@few
@given(lead=scores, log_tie=st.floats(-5, 5))
def test_the_three_answers_of_davidson_sum_to_one(lead: float, log_tie: float) -> None:
    losses = [
        three_answers(lead, log_tie, label=label, tied=tied) for label, tied in ((1.0, 0.0), (0.5, 1.0), (0.0, 0.0))
    ]
    assert sum(math.exp(-loss) for loss in losses) == pytest.approx(1.0)


@few
@given(lead=scores, label=st.floats(0, 1))
def test_without_ties_davidson_is_bradley_terry(lead: float, label: float) -> None:
    expected = float(bradley_terry(one(lead), one(0.0), one(label)))
    assert three_answers(lead, -60.0, label=label, tied=0.0) == pytest.approx(expected, abs=1e-9)


def test_how_often_raters_tie_can_be_learned() -> None:
    # At equal scores and half of the answers ties the best nu has nu / (nu + 2) = 1/2.
    log_tie = torch.tensor(math.log(2.0), dtype=torch.float64, requires_grad=True)
    davidson(one(0.0), one(0.0), one(0.5), tied=one(0.5), log_tie=log_tie).sum().backward()
    assert log_tie.grad is not None and float(log_tie.grad) == pytest.approx(0.0, abs=1e-12)


def test_a_share_of_ties_beyond_one_is_refused() -> None:
    with pytest.raises(InvalidInput, match="share of ties"):
        three_answers(0.0, 0.0, label=0.5, tied=1.1)


def test_both_bad_computed_by_hand() -> None:
    # Against a level of 0: sigmoid(-log 3) = 1/4 and sigmoid(0) = 1/2.
    assert float(both_bad(one(math.log(3.0)), one(0.0), level=0.0)) == pytest.approx(math.log(4) + math.log(2))
    # Moving the level moves the scores that are meant.
    shifted = both_bad(one(math.log(3.0) - 2.0), one(-2.0), level=-2.0)
    assert float(shifted) == pytest.approx(math.log(8))


@few
@given(first=scores, second=scores)
def test_both_bad_is_preferring_the_level_to_each(first: float, second: float) -> None:
    level, wins = one(-1.5), one(1.0)
    expected = bradley_terry(level, one(first), wins) + bradley_terry(level, one(second), wins)
    torch.testing.assert_close(both_bad(one(first), one(second), level=-1.5), expected)


def test_both_bad_lowers_both_scores_and_a_tie_alone_does_not() -> None:
    first, second = one(1.0).requires_grad_(), one(1.0).requires_grad_()
    bradley_terry(first, second, one(0.5)).sum().backward()
    assert first.grad is not None and second.grad is not None
    assert float(first.grad) == float(second.grad) == 0.0
    both_bad(first, second, level=0.0).sum().backward()
    # The slope of -log sigmoid(-r) is sigmoid(r): 0.7311 at 1.
    assert float(first.grad) == float(second.grad) == pytest.approx(0.731059, abs=1e-6)


def test_answers_become_targets() -> None:
    answers = ["first", "second", "tie", "both_bad", "cannot_tell", "skip"]
    found = targets(answers)
    assert found.labels.tolist() == [1.0, 0.0, 0.5, 0.5, 0.5, 0.5]
    assert found.weights.tolist() == [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    assert found.tied.tolist() == [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
    assert found.both_bad.tolist() == [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    assert targets([]).labels.shape == (0,)


def test_an_unknown_answer_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"\['maybe'\] are not known"):
        targets(["first", "maybe"])


@every
def test_what_carries_no_label_moves_no_score(case: Case) -> None:
    answers = ["first", "cannot_tell", "skip", "tie"]
    found = targets(answers)
    first, second, _ = some(4, comparisons=4)
    first.requires_grad_()
    loss = weighted_mean(case.loss(first, second, found.labels), found.weights)
    loss.sum().backward()
    labelled = [0, 3]
    expected = weighted_mean(case.loss(first, second, found.labels)[:, labelled], torch.ones(2).double())
    torch.testing.assert_close(loss, expected)
    assert first.grad is not None
    assert bool((first.grad[:, [1, 2]] == 0.0).all()) and bool((first.grad[:, labelled] != 0.0).all())


def test_weighted_mean_computed_by_hand() -> None:
    loss = torch.tensor([[1.0, 4.0], [2.0, 0.0]])
    # (3 * 1 + 1 * 4) / 4 and (3 * 2 + 0) / 4.
    assert weighted_mean(loss, torch.tensor([3.0, 1.0])).tolist() == [1.75, 1.5]
    # Each member its own bootstrap.
    assert weighted_mean(loss, torch.tensor([[0.0, 2.0], [1.0, 1.0]])).tolist() == [4.0, 1.0]
    # What weighs nothing may be infinite.
    assert weighted_mean(torch.tensor([1.0, math.inf]), torch.tensor([1.0, 0.0])).item() == 1.0


@pytest.mark.parametrize("weights", [[-1.0, 2.0], [0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0]])
def test_weights_that_count_nothing_are_refused(weights: list[float]) -> None:
    with pytest.raises(InvalidInput, match="at least one comparison that counts"):
        weighted_mean(torch.zeros(2), torch.tensor(weights))


@few
@given(lead=scores, error=st.floats(0.01, 0.9))
def test_softening_moves_a_probability_towards_one_half(lead: float, error: float) -> None:
    plain, soft = (float(log_preference(one(lead), rater_error=e).exp()) for e in (0.0, error))
    assert soft - 0.5 == pytest.approx((1.0 - error) * (plain - 0.5), abs=1e-12)
