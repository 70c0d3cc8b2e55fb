import json
import math
from dataclasses import asdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score
from torch import Tensor

from reward_models.errors import InvalidInput, NonFinite
from reward_models.honesty import HonestyReport, honesty, reward_variance

LOG3 = math.log(3.0)


def row(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def drawn(seed: int, count: int, *, members: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, members, count, generator=generator, dtype=torch.float64)
    difference = (first - second).mean(dim=0)
    return first, second, torch.bernoulli(torch.sigmoid(difference), generator=generator)


def leads(*columns: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Two members' leads of the first side in each comparison, as scores of both sides."""
    first = torch.tensor(columns, dtype=torch.float64).T
    return first, torch.zeros_like(first)


def test_a_report_computed_by_hand() -> None:
    # Mean leads 1, -1, 1 and 1/8. Labels: right, wrong, a tie, right. Spreads: none, large, small, none.
    scores = leads((1.0, 1.0), (2.0, -4.0), (1.5, 0.5), (0.125, 0.125))
    found = honesty(*scores, row(1.0, 1.0, 0.5, 1.0), domains=["a", "b", "a", "b"])
    assert (found.members, found.comparisons, found.ties) == (2, 4, 1)
    assert found.overall.accuracy == pytest.approx((1.0 + 0.0 + 0.5 + 1.0) / 4)
    p, near = 1.0 / (1.0 + math.exp(-1.0)), 1.0 / (1.0 + math.exp(-0.125))
    tie = -0.5 * math.log(p) - 0.5 * math.log(1.0 - p)
    assert found.nll == pytest.approx((-math.log(p) - math.log(1.0 - p) + tie - math.log(near)) / 4)
    assert found.brier == pytest.approx(((1.0 - p) ** 2 + p**2 + (p - 0.5) ** 2 + (1.0 - near) ** 2) / 4)
    # Of the decided three the wrong one has the largest spread. By |p - 1/2| it is as sure as the first, which counts
    # one half, and surer than the last.
    assert found.auroc_spread == 1.0
    assert found.auroc_closeness == pytest.approx(0.25)
    # Domain a: right and a tie; b: wrong and right.
    assert [(domain.name, domain.accuracy, domain.comparisons) for domain in found.domains] == [
        ("b", 0.5, 2),
        ("a", 0.75, 2),
    ]
    assert found.worst_domain == "b"
    assert found.shifted is None and found.not_shifted is None


def test_its_figures_agree_with_scikit_learn() -> None:
    first, second, labels = drawn(0, 300)
    found = honesty(first, second, labels)
    p = torch.sigmoid((first - second).mean(dim=0))
    wrong = (p > 0.5) != (labels > 0.5)
    spread = torch.sigmoid(first - second).std(dim=0, correction=0)
    assert found.overall.accuracy == pytest.approx(accuracy_score(labels.numpy(), (p > 0.5).double().numpy()))
    assert found.nll == pytest.approx(log_loss(labels.numpy(), p.numpy()))
    assert found.brier == pytest.approx(brier_score_loss(labels.numpy(), p.numpy()))
    assert found.auroc_spread == pytest.approx(roc_auc_score(wrong.numpy(), spread.numpy()))
    assert found.auroc_closeness == pytest.approx(roc_auc_score(wrong.numpy(), -(p - 0.5).abs().numpy()))


def same(one: HonestyReport, other: HonestyReport) -> None:
    for name, value in asdict(one).items():
        counterpart = asdict(other)[name]
        if isinstance(value, float | dict):
            assert counterpart == pytest.approx(value, abs=1e-9), name
        elif name == "domains":
            assert [part == pytest.approx(peer, abs=1e-9) for part, peer in zip(value, counterpart, strict=True)]
        else:
            assert counterpart == value, name


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), ties=st.integers(0, 10))
def test_swapping_the_sides_changes_nothing(seed: int, ties: int) -> None:
    first, second, labels = drawn(seed, 30)
    labels[:ties] = 0.5
    shifted, domains = torch.arange(30) % 3 == 0, ["x", "y"] * 15
    one = honesty(first, second, labels, domains=domains, shifted=shifted)
    same(one, honesty(second, first, 1.0 - labels, domains=domains, shifted=shifted))


def test_what_weighs_nothing_is_not_there() -> None:
    first, second, labels = drawn(2, 40)
    weights = (torch.arange(40) % 3 > 0).double()
    kept = weights > 0.0
    domains = ["x", "y", "z", "x"] * 10
    one = honesty(first, second, labels, weights=weights, domains=domains, shifted=torch.arange(40) < 20)
    other = honesty(
        first[:, kept],
        second[:, kept],
        labels[kept],
        domains=[name for name, counted in zip(domains, kept.tolist(), strict=True) if counted],
        shifted=(torch.arange(40) < 20)[kept],
    )
    same(one, other)


def test_members_that_disagree_where_they_are_wrong_are_honest() -> None:
    generator = torch.Generator().manual_seed(3)
    unsure = torch.arange(400) % 2 == 0
    truth = torch.randint(2, (400,), generator=generator).double()
    # Where unsure, members' leads are noise; where sure, they all follow the truth.
    noise = 3.0 * torch.randn(8, 400, generator=generator, dtype=torch.float64)
    first = torch.where(unsure, noise, (2.0 * truth - 1.0) * 2.0 + 0.1 * noise)
    found = honesty(first, torch.zeros_like(first), truth)
    # All wrong ones are unsure; of the right ones two thirds are sure (above none) and one third as unsure: 2/3 + 1/6.
    assert found.auroc_spread == pytest.approx(5 / 6, abs=0.06)
    assert found.spearman is not None and found.spearman > 0.5


def test_members_that_err_alike_are_not() -> None:
    first, second, labels = drawn(4, 500, members=1)
    found = honesty(first.expand(5, -1), second.expand(5, -1), labels)
    # They never differ: no ranks to correlate, and every pair of spreads is a draw.
    assert found.spearman is None
    assert found.auroc_spread == 0.5
    assert found.auroc_closeness is not None and found.auroc_closeness > 0.6


def test_ties_and_undecided_members_are_neither_right_nor_wrong() -> None:
    # A tie of the rater, a tie of the members, and one that is right: nothing is wrong.
    scores = leads((1.0, 1.0), (2.0, -2.0), (1.0, 3.0))
    found = honesty(*scores, row(0.5, 1.0, 1.0))
    assert found.auroc_spread is None and found.auroc_closeness is None
    assert found.ties == 1 and found.overall.accuracy == pytest.approx((0.5 + 0.5 + 1.0) / 3)


def test_what_a_shifted_policy_does_is_told_apart() -> None:
    scores = leads((1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (1.0, 1.0))
    shifted = torch.tensor([False, True, False, True])
    found = honesty(*scores, row(1.0, 0.0, 1.0, 1.0), shifted=shifted)
    assert found.shifted is not None and found.not_shifted is not None
    assert (found.shifted.accuracy, found.not_shifted.accuracy) == (0.5, 1.0)
    assert (found.shifted.comparisons, found.not_shifted.comparisons) == (2, 2)
    unshifted = honesty(*scores, row(1.0, 0.0, 1.0, 1.0), shifted=torch.zeros(4, dtype=torch.bool))
    assert unshifted.shifted is None and unshifted.not_shifted is not None


def test_groups_widen_every_interval() -> None:
    first, second, labels = drawn(5, 40)
    copies = torch.arange(40).repeat_interleave(5)
    blind = honesty(first[:, copies], second[:, copies], labels[copies])
    grouped = honesty(first[:, copies], second[:, copies], labels[copies], groups=copies)
    single = honesty(first, second, labels)
    assert (grouped.overall.low, grouped.overall.high) == pytest.approx((single.overall.low, single.overall.high))
    assert grouped.overall.high - grouped.overall.low > 2.0 * (blind.overall.high - blind.overall.low)


def test_a_report_is_json_even_where_the_reward_model_is_sure_and_wrong() -> None:
    found = honesty(*leads((1e4, 1e4), (-1e4, -1e4)), row(0.0, 0.0), domains=["only", "only"])
    text = json.dumps(asdict(found), allow_nan=False)
    assert json.loads(text)["nll"] == pytest.approx(0.5e4)
    assert json.loads(text)["domains"][0]["name"] == "only"


def test_an_assumed_rater_error_softens_the_probabilities() -> None:
    # p' = 0.8 * 3/4 + 0.1 = 0.7.
    found = honesty(*leads((LOG3, LOG3)), row(1.0), rater_error=0.2)
    assert found.nll == pytest.approx(-math.log(0.7))
    assert found.brier == pytest.approx(0.09)


def test_reward_variance_computed_by_hand() -> None:
    # Prompt 7: 1 and 3, mean 2; prompt 9: 6, 6 and 9, mean 7. Within (1 + 1 + 1 + 1 + 4)/5; the mean of all is 5, so
    # between (2 * 9 + 3 * 4)/5.
    found = reward_variance(row(1.0, 6.0, 3.0, 6.0, 9.0), torch.tensor([7, 9, 7, 9, 9]))
    assert found.within == pytest.approx(8 / 5)
    assert found.between == pytest.approx(6.0)
    assert (found.prompts, found.completions) == (2, 5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(1, 40), prompts=st.integers(1, 8))
def test_the_parts_sum_to_the_whole_variance_and_an_offset_of_a_prompt_moves_only_one(
    seed: int, count: int, prompts: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randn(count, generator=generator, dtype=torch.float64)
    owner = torch.randint(prompts, (count,), generator=generator)
    found = reward_variance(rewards, owner)
    assert found.within + found.between == pytest.approx(float(rewards.var(correction=0)))
    moved = reward_variance(rewards + 5.0 * owner, owner)
    assert moved.within == pytest.approx(found.within)


def test_what_cannot_be_measured_is_refused() -> None:
    first, second, labels = drawn(6, 4)
    with pytest.raises(InvalidInput, match="label lies outside"):
        honesty(first, second, labels + 1.0)
    with pytest.raises(InvalidInput, match="sum to 0"):
        honesty(first, second, labels, weights=torch.zeros(4).double())
    with pytest.raises(InvalidInput, match="3 domains for 4 comparisons"):
        honesty(first, second, labels, domains=["a", "b", "c"])
    with pytest.raises(NonFinite):
        honesty(first * math.nan, second, labels)
    with pytest.raises(InvalidInput, match="and some"):
        reward_variance(row(), torch.zeros(0, dtype=torch.long))
    with pytest.raises(NonFinite):
        reward_variance(row(math.nan), torch.tensor([0]))
