import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reward_models.acquisition import select
from reward_models.diversity import NOISE, directions, greedy
from reward_models.errors import NonFinite


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some(seed: int, candidates: int, width: int) -> Tensor:
    return directions(torch.randn(candidates, width, generator=generator(seed)), range(candidates))


def nothing(width: int) -> Tensor:
    return torch.zeros(0, width)


def variance(direction: Tensor, known: Tensor) -> float:
    """x.(I + X^T X / NOISE)^-1 x, by the inverse itself."""
    precision = torch.eye(len(direction)).double() + known.double().T @ known.double() / NOISE
    return float(direction.double() @ torch.linalg.inv(precision) @ direction.double())


def test_directions_computed_by_hand() -> None:
    # Root mean squares 2 and 50: in these units (2, 0), (0, 100), (-2, 0), (2, 0) are axes, and (2, 50) the diagonal.
    features = torch.tensor([[2.0, 0.0], [0.0, 100.0], [-2.0, 0.0], [math.sqrt(8.0), 0.0]])
    found = directions(features, [0, 1, 2])
    assert found.tolist() == [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
    assert directions(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), [0]).tolist() == [[0.0, 0.0]]
    # A feature that nobody has divides nothing by zero.
    assert directions(torch.tensor([[3.0, 0.0]]), [0]).tolist() == [[1.0, 0.0]]


def test_the_scale_of_a_feature_is_without_effect() -> None:
    features = torch.randn(20, 4, generator=generator(1))
    scaled = features * torch.tensor([1.0, 1000.0, 0.01, 7.0])
    torch.testing.assert_close(directions(features, range(20)), directions(scaled, range(20)))


def test_an_infinite_feature_is_named() -> None:
    with pytest.raises(NonFinite, match="feature"):
        directions(torch.tensor([[1.0], [math.inf]]), [0])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 500), width=st.integers(1, 6), diversity=st.floats(0.1, 4.0), known=st.integers(0, 4))
def test_every_step_takes_the_largest_product_of_value_and_novelty(
    seed: int, width: int, diversity: float, known: int
) -> None:
    candidates, values = some(seed, 12, width), torch.rand(1, 12, generator=generator(seed), dtype=torch.float64)
    given_ones = some(seed + 1, 6, width)[:known]
    learned, chosen = given_ones, []
    for place in greedy(values, [0] * 5, candidates, given_ones, diversity=diversity):
        left = [index for index in range(12) if index not in chosen]
        rating = {
            index: float(values[0, index]) * ((variance(candidates[index], learned) + NOISE) / (1 + NOISE)) ** diversity
            for index in left
        }
        assert rating[place] == pytest.approx(max(rating.values()), rel=1e-4)
        chosen.append(place)
        learned = torch.cat([learned, candidates[place][None]])


def test_the_product_of_the_novelties_is_a_determinant() -> None:
    # Only novelty counts, and all are taken in the order found: the product is det(S + NOISE I) / (1 + NOISE)^n.
    candidates = some(2, 5, 3)
    order = greedy(torch.ones(1, 5, dtype=torch.float64), [0] * 5, candidates, nothing(3), diversity=1.0)
    product = 1.0
    for step, place in enumerate(order):
        product *= (variance(candidates[place], candidates[order[:step]]) + NOISE) / (1.0 + NOISE)
    cosines = (candidates @ candidates.T).double()
    determinant = torch.linalg.det(cosines + NOISE * torch.eye(5).double()) / (1.0 + NOISE) ** 5
    assert product == pytest.approx(float(determinant), rel=1e-4)


def test_a_repeated_question_loses_what_the_first_would_tell() -> None:
    # Candidates 0 and 1 are one question, 2 is another. After 0 the variance of 1 is NOISE / (1 + NOISE), its novelty
    # (NOISE / (1 + NOISE) + NOISE) / (1 + NOISE) = 0.1736; 1 is worth 1, so 2 is taken next from a value of 0.174 on.
    candidates = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    for value, expected in ((0.17, [0, 1]), (0.18, [0, 2])):
        values = torch.tensor([[1.0, 1.0, value]], dtype=torch.float64)
        assert greedy(values, [0, 0], candidates, nothing(2), diversity=1.0) == expected
    # With an exponent of 2 novelty weighs more: 0.1736^2 = 0.0301.
    values = torch.tensor([[1.0, 1.0, 0.04]], dtype=torch.float64)
    assert greedy(values, [0, 0], candidates, nothing(2), diversity=2.0) == [0, 2]


def test_what_is_given_counts_as_asked() -> None:
    candidates = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    values = torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    assert greedy(values, [0], candidates, nothing(2), diversity=1.0) == [0]
    assert greedy(values, [0], candidates, candidates[:1], diversity=1.0) == [1]


def test_a_slot_reads_its_own_row() -> None:
    values = torch.tensor([[0.9, 0.5, 0.1], [0.2, 0.3, 0.8]], dtype=torch.float64)
    assert greedy(values, [1, 0, 1], torch.zeros(3, 0), torch.zeros(0, 0), diversity=0.0) == [2, 0, 1]


def test_a_batch_of_copies_is_spread_over_its_kinds() -> None:
    # Ten kinds of forty copies each; the first kinds are disputed a little more. By spread alone nine of ten questions
    # are of one kind; with diversity each kind is asked, one of them by the random draw.
    kind = torch.arange(400) // 40
    lead = (2.0 - 0.05 * kind)[None] * torch.tensor([[1.0], [-1.0]])
    features = torch.eye(10)[kind]

    def kinds(diversity: float) -> set[int]:
        chosen = select(
            lead,
            torch.zeros(2, 400),
            count=10,
            method="spread",
            random_share=0.01,
            generator=generator(3),
            features=features,
            diversity=diversity,
        )
        return {int(kind[item.index]) for item in chosen}

    assert len(kinds(0.0)) <= 2
    assert len(kinds(1.0)) == 10
