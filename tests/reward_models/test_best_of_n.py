"""The unbiased estimate against every subset, exact fractions and order statistics."""

import math
from fractions import Fraction
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reward_models.best_of_n import best_of_n, best_of_n_distance, best_of_n_kl, rank_weights
from reward_models.errors import InvalidInput, NonFinite

POOL = st.integers(1, 7).flatmap(
    lambda samples: st.tuples(
        st.lists(st.integers(0, 4), min_size=samples, max_size=samples),
        st.lists(st.integers(-9, 9), min_size=samples, max_size=samples),
    )
)
"""Few different scores, so that most pools have ties."""


def row(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def over_all_subsets(scores: list[int], values: list[int], size: int) -> float:
    """The definition: the mean over subsets of the value kept, where equals at the top are kept with equal chance."""
    kept = []
    for subset in combinations(range(len(scores)), size):
        top = max(scores[place] for place in subset)
        best = [values[place] for place in subset if scores[place] == top]
        kept.append(Fraction(sum(best), len(best)))
    return float(sum(kept) / len(kept))


def test_three_samples_by_hand() -> None:
    """Best of 2 out of 3: the pairs keep the middle once and the best twice, so (v_2 + 2 v_3) / 3."""
    scores, values = row(0.3, -1.0, 5.0), row(6.0, 100.0, 9.0)
    assert best_of_n(scores, values, sizes=(1, 2, 3)).tolist() == pytest.approx([115 / 3, (6 + 2 * 9) / 3, 9])


def test_a_tie_at_the_top_by_hand() -> None:
    """Of the scores 0, 1, 1 every pair keeps a 1: worth 4, 8, or either with equal chance. Best of 3: either, 6."""
    assert best_of_n(row(0, 1, 1), row(-5, 4, 8), sizes=(2, 3)).tolist() == pytest.approx([(4 + 8 + 6) / 3, 6])


@given(POOL)
def test_equals_the_mean_over_all_subsets(pool: tuple[list[int], list[int]]) -> None:
    scores, values = pool
    sizes = range(1, len(scores) + 1)
    found = best_of_n(row(*scores), row(*values), sizes=sizes)
    assert found.tolist() == pytest.approx([over_all_subsets(scores, values, size) for size in sizes], abs=1e-9)


@given(POOL, st.randoms(use_true_random=False))
def test_neither_order_nor_the_scale_of_scores_matters(pool: tuple[list[int], list[int]], random: object) -> None:
    scores, values = row(*pool[0]), row(*pool[1])
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(random.randrange(2**32)))  # type: ignore[attr-defined]
    sizes = range(1, len(scores) + 1)
    expected = best_of_n(scores, values, sizes=sizes)
    torch.testing.assert_close(best_of_n((3.0 * scores).exp()[order], values[order], sizes=sizes), expected)


def test_one_is_the_mean_all_is_the_best_and_nothing_chosen_is_the_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    scores, values = torch.randn(2, 50, generator=generator, dtype=torch.float64)
    found = best_of_n(scores, values, sizes=(1, 50))
    assert found.tolist() == pytest.approx([float(values.mean()), float(values[scores.argmax()])])
    blind = best_of_n(torch.zeros(50), values, sizes=(1, 7, 50))
    assert blind.tolist() == pytest.approx([float(values.mean())] * 3)


@pytest.mark.parametrize("samples", [9, 500, 20_000])
def test_expected_maximum_of_ranks(samples: int) -> None:
    """The largest of n out of the ranks 1..N is n (N + 1) / (n + 1) on average; over N + 1 it is n / (n + 1)."""
    ranks = torch.randperm(samples, generator=torch.Generator().manual_seed(1)).double() + 1.0
    sizes = [size for size in (1, 2, 9, 64, 500, 4096, 12_500, 20_000) if size <= samples]
    found = best_of_n(ranks, ranks, sizes=sizes) / (samples + 1)
    assert found.tolist() == pytest.approx([size / (size + 1) for size in sizes], rel=1e-9)


def test_weights_are_the_exact_fractions() -> None:
    samples, sizes = 30, (1, 4, 17, 30)
    expected = [
        [math.comb(rank - 1, size - 1) / math.comb(samples, size) for rank in range(1, samples + 1)] for size in sizes
    ]
    torch.testing.assert_close(rank_weights(samples, sizes), torch.tensor(expected, dtype=torch.float64))


def test_weights_of_a_large_pool_sum_to_one_and_the_best_has_n_over_all() -> None:
    """The best of all N is drawn with probability n / N."""
    samples, sizes = 50_000, (1, 2, 1000, 25_000, 49_999, 50_000)
    weights = rank_weights(samples, sizes)
    assert weights.sum(dim=1).tolist() == pytest.approx([1.0] * len(sizes), rel=1e-9)
    assert weights[:, -1].tolist() == pytest.approx([size / samples for size in sizes], rel=1e-9)


def test_batches_are_pools_of_their_own() -> None:
    generator = torch.Generator().manual_seed(2)
    scores, values = torch.randn(3, 4, 20, generator=generator), torch.randn(4, 20, generator=generator)
    found = best_of_n(scores, values, sizes=(1, 5))
    assert found.shape == (3, 4, 2)
    for member in range(3):
        for prompt in range(4):
            alone = best_of_n(scores[member, prompt], values[prompt], sizes=(1, 5))
            torch.testing.assert_close(found[member, prompt], alone)


def test_single_precision_scores_keep_their_ties() -> None:
    """0.1 in single precision is one number, however it was made; the values 0 and 1 are averaged."""
    found = best_of_n(torch.tensor([0.1, 0.1]), torch.tensor([0.0, 1.0]), sizes=(2,))
    assert found.tolist() == pytest.approx([0.5])


def test_kl_by_hand_and_as_published() -> None:
    """log 4 - 3/4 = 0.636294; Gao et al. give about 6 nats at n = 1,000 and 10 at 60,000."""
    assert best_of_n_kl(1) == 0.0
    assert best_of_n_kl(4) == pytest.approx(0.636294, abs=1e-6)
    assert best_of_n_kl(1_000) == pytest.approx(5.909, abs=1e-3)
    assert best_of_n_kl(60_000) == pytest.approx(10.002, abs=1e-3)
    assert best_of_n_distance(4) == pytest.approx(math.sqrt(0.636294), abs=1e-6)


@pytest.mark.parametrize("size", [2, 7])
def test_kl_is_that_of_the_maximum_of_uniform_draws(size: int) -> None:
    """Without ties best-of-n has the density n u^(n - 1) over the quantile u: KL = integral of it times its log."""
    u = (torch.arange(1_000_000, dtype=torch.float64) + 0.5) / 1_000_000
    density = size * u ** (size - 1)
    assert best_of_n_kl(size) == pytest.approx(float((density * density.log()).mean()), abs=1e-5)


def test_refuses_what_it_cannot_use() -> None:
    scores = torch.randn(5)
    for sizes in ((), (0,), (6,), (1, 6)):
        with pytest.raises(InvalidInput, match="with 5 samples"):
            best_of_n(scores, scores, sizes=sizes)
    for broken in (torch.nan, torch.inf):
        with pytest.raises(NonFinite):
            best_of_n(scores * broken, scores, sizes=(1,))
        with pytest.raises(NonFinite):
            best_of_n(scores, scores * broken, sizes=(1,))
    with pytest.raises(InvalidInput, match="best of 0"):
        best_of_n_kl(0)
