"""The terms of tokens, computed a few rows at a time, against the same built from torch's own operations."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from agents.divergence import entropy, exact_kl
from agents.token_terms import ELEMENTS, sample_terms, token_terms


class Case(NamedTuple):
    logits: Tensor
    reference: Tensor
    tokens: Tensor


def case(sequences: int, time: int, vocabulary: int, dtype: torch.dtype = torch.float32) -> Case:
    noise = torch.Generator().manual_seed(vocabulary)
    logits, reference = (
        2 * torch.randn(sequences, time, vocabulary, generator=noise, dtype=torch.float64).to(dtype) for _ in range(2)
    )
    return Case(logits, reference, torch.randint(0, vocabulary, (sequences, time), generator=noise))


def plain(logits: Tensor, reference: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    found = torch.log_softmax(logits, dim=-1)
    return found, found.gather(-1, tokens[..., None])[..., 0], exact_kl(found, reference)


def weighted(terms: tuple[Tensor, ...], used: tuple[int, ...]) -> Tensor:
    """A number that depends on every entry of the used terms, each with another weight."""
    noise = torch.Generator().manual_seed(1)
    weights = [torch.randn(term.shape, generator=noise, dtype=term.dtype) for term in terms]
    return sum((terms[place] * weights[place]).sum() for place in used) + torch.zeros(())


def test_a_fair_coin_against_one_of_three_quarters() -> None:
    """KL = log(1/2) - (log(3/4) + log(1/4)) / 2 = log 2 - log(3) / 2 = 0.143841; the entropy is log 2."""
    logits, reference = torch.zeros(1, 1, 2), torch.tensor([0.75, 0.25]).log().view(1, 1, 2)
    tokens = torch.tensor([[1]])
    terms = token_terms(logits, reference, tokens)
    assert float(terms.kl) == pytest.approx(0.143841, abs=1e-6)
    assert float(terms.chosen) == pytest.approx(-0.693147, abs=1e-6)
    drawn = sample_terms(terms.log_probabilities, reference, tokens)
    assert float(drawn.kl) == pytest.approx(0.143841, abs=1e-6)
    assert float(drawn.entropy) == pytest.approx(0.693147, abs=1e-6)
    assert float(drawn.reference) == pytest.approx(-1.386294, abs=1e-6)


@pytest.mark.parametrize("used", [(0,), (1,), (2,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("size", [(3, 4, 7), (41, 8, 1000)])
def test_values_and_gradients_are_those_of_separate_operations(
    size: tuple[int, int, int], used: tuple[int, ...]
) -> None:
    """The larger case takes three parts, the last one incomplete: 131,072 numbers hold 16 of its 41 sequences."""
    logits, reference, tokens = case(*size)
    assert 2 * 16 * 8000 < ELEMENTS["cpu"] * 2 < 3 * 16 * 8000
    values, gradients = [], []
    for compute in (token_terms, plain):
        variable = logits.clone().requires_grad_()
        terms = compute(variable, reference, tokens)
        values.append(terms)
        gradients.append(torch.autograd.grad(weighted(tuple(terms), used), variable)[0])
    for ours, expected in zip(*values, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-5)
    assert float(gradients[1].abs().max()) > 0.1


def test_first_and_second_derivatives_are_those_of_finite_differences() -> None:
    logits, reference, tokens = case(2, 2, 4, torch.float64)
    variable = logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: token_terms(z, reference, tokens), (variable,))
    assert torch.autograd.gradgradcheck(lambda z: token_terms(z, reference, tokens), (variable,))


@pytest.mark.parametrize("create_graph", [False, True])
def test_an_impossible_token_adds_nothing(create_graph: bool) -> None:
    """Token 2 is impossible to the policy, and in the second row to the reference too."""
    logits = torch.tensor([[[0.0, 1.0, -torch.inf], [1.0, 0.5, -torch.inf]]], requires_grad=True)
    reference = torch.tensor([[[0.3, 0.1, 0.7], [0.0, 0.2, -torch.inf]]])
    tokens = torch.tensor([[0, 1]])
    terms = token_terms(logits, reference, tokens)
    value = (terms.chosen + 0.5 * terms.kl).sum()
    (gradient,) = torch.autograd.grad(value, logits, create_graph=create_graph)
    assert gradient[..., 2].tolist() == [[0.0, 0.0]]
    possible = logits.detach()[..., :2].clone().requires_grad_()
    # What the reference gives to token 2 is a constant in the KL of the other two.
    kept = torch.log_softmax(reference, dim=-1)[..., :2]
    log_p = torch.log_softmax(possible, dim=-1)
    kl = (log_p.exp() * (log_p - kept)).sum(-1)
    torch.testing.assert_close(terms.kl, kl)
    expected_value = (log_p.gather(-1, tokens[..., None])[..., 0] + 0.5 * kl).sum()
    (expected,) = torch.autograd.grad(expected_value, possible)
    torch.testing.assert_close(gradient[..., :2], expected)
    drawn = sample_terms(terms.log_probabilities, reference, tokens)
    torch.testing.assert_close(drawn.kl, kl)
    torch.testing.assert_close(drawn.entropy, -(log_p.exp() * log_p).sum(-1))


def test_terms_of_samples_are_those_of_separate_operations() -> None:
    logits, reference, tokens = case(41, 8, 1000)
    log_probabilities = torch.log_softmax(logits, dim=-1)
    drawn = sample_terms(log_probabilities, reference, tokens)
    torch.testing.assert_close(drawn.kl, exact_kl(log_probabilities, reference), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(drawn.entropy, entropy(log_probabilities), atol=1e-5, rtol=1e-5)
    read = torch.log_softmax(reference, dim=-1).gather(-1, tokens[..., None])[..., 0]
    torch.testing.assert_close(drawn.reference, read, atol=1e-5, rtol=1e-5)
