"""The four ways to average, by hand, and what tells them apart."""

from typing import get_args

import pytest
import torch

from agents.averaging import Averaging, average

MASK = torch.tensor([[True, True, False], [True, False, False]])
VALUES = torch.tensor([[1.0, 3.0, 100.0], [8.0, -100.0, 100.0]])


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("per_sequence", 6.0),  # (1 + 3 + 8) / 2 sequences
        ("sequence_mean", 5.0),  # ((1 + 3) / 2 + 8) / 2
        ("token_mean", 4.0),  # (1 + 3 + 8) / 3 tokens
        ("longest", 2.0),  # (1 + 3 + 8) / (2 * 3)
    ],
)
def test_averages_by_hand(how: Averaging, expected: float) -> None:
    assert float(average(VALUES, MASK, how=how)) == expected


@pytest.mark.parametrize("how", get_args(Averaging))
def test_padding_has_no_say_even_where_it_is_not_a_number(how: Averaging) -> None:
    """Neither in the value nor in the gradient."""
    values = torch.where(MASK, VALUES, torch.full_like(VALUES, float("nan"))).requires_grad_()
    found = average(values, MASK, how=how)
    assert float(found.detach()) == float(average(VALUES, MASK, how=how))
    (gradient,) = torch.autograd.grad(found, values)
    assert bool((gradient[~MASK] == 0).all())
    assert bool((gradient[MASK] > 0).all())


def test_where_all_are_equally_long_only_a_constant_tells_them_apart() -> None:
    """With T tokens each, per_sequence is T times each of the others."""
    values, mask = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)), torch.ones(4, 5, dtype=torch.bool)
    whole = float(average(values, mask, how="per_sequence"))
    for how in ("sequence_mean", "token_mean", "longest"):
        assert 5 * float(average(values, mask, how=how)) == pytest.approx(whole, rel=1e-5)
