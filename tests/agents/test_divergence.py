"""KL, its estimators, total variation and entropy against numbers worked out by hand and against enumeration."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from agents.divergence import entropy, exact_kl, k1, k2, k3, total_variation

LOGITS = st.lists(st.floats(-5, 5, width=32), min_size=4, max_size=4)


def logs(*probabilities: float) -> Tensor:
    return torch.tensor([math.log(probability) for probability in probabilities])


def test_two_outcomes_by_hand() -> None:
    """p = (3/4, 1/4), q = (1/2, 1/2): KL = 3/4 log(3/2) + 1/4 log(1/2) = 0.130812, TV = 1/4, H(p) = 0.562335."""
    policy, reference = logs(0.75, 0.25), logs(0.5, 0.5)
    assert float(exact_kl(policy, reference)) == pytest.approx(0.130812, abs=1e-6)
    assert float(exact_kl(reference, policy)) == pytest.approx(0.143841, abs=1e-6)
    assert float(total_variation(policy, reference)) == pytest.approx(0.25)
    assert float(entropy(policy)) == pytest.approx(0.562335, abs=1e-6)


def test_logits_need_no_normalisation_and_shapes_lead() -> None:
    policy, reference = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    assert exact_kl(policy, reference).shape == (2, 3)
    torch.testing.assert_close(exact_kl(policy + 7, reference - 3), exact_kl(policy, reference), atol=1e-5, rtol=1e-5)


def test_impossible_tokens_give_no_nan() -> None:
    policy = torch.tensor([0.0, 0.0, -math.inf], requires_grad=True)
    reference = torch.tensor([0.0, 0.0, 0.0])
    value = exact_kl(policy, reference)
    value.backward()
    assert float(value.detach()) == pytest.approx(math.log(3 / 2))  # (1/2, 1/2) against thirds
    assert policy.grad is not None and bool(policy.grad.isfinite().all())
    assert bool(entropy(policy.detach()).isfinite())


@given(LOGITS, LOGITS)
def test_pinsker_and_signs(first: list[float], second: list[float]) -> None:
    """KL >= 0 and TV <= sqrt(KL / 2) (Pinsker); entropy is at most log of the vocabulary."""
    policy, reference = torch.tensor(first), torch.tensor(second)
    kl = float(exact_kl(policy, reference))
    assert kl >= -1e-6
    assert float(total_variation(policy, reference)) <= math.sqrt(max(kl, 0.0) / 2) + 1e-3
    assert float(entropy(policy)) <= math.log(4) + 1e-5


@given(LOGITS, LOGITS)
def test_estimators_average_to_kl(first: list[float], second: list[float]) -> None:
    """The sum over tokens x ~ p of p(x) k(x) is KL for k1 and k3; k3 is never negative."""
    policy, reference = torch.tensor(first), torch.tensor(second)
    log_ratio = torch.log_softmax(policy, -1) - torch.log_softmax(reference, -1)
    probability = torch.softmax(policy, -1)
    kl = float(exact_kl(policy, reference))
    assert float((probability * k1(log_ratio)).sum()) == pytest.approx(kl, abs=1e-4)
    assert float((probability * k3(log_ratio)).sum()) == pytest.approx(kl, abs=1e-4, rel=1e-4)
    assert float(k3(log_ratio).min()) >= -1e-6


def test_k2_has_the_gradient_of_kl() -> None:
    """grad KL = sum_x p(x) (log p/q)(x) grad log p(x), which is the average of the gradient of k2 with x ~ p held."""
    policy = torch.tensor([0.3, -1.0, 0.8, 0.0], requires_grad=True)
    reference = torch.tensor([-0.5, 0.2, 0.1, 1.0])
    (expected,) = torch.autograd.grad(exact_kl(policy, reference), policy)
    log_ratio = torch.log_softmax(policy, -1) - torch.log_softmax(reference, -1)
    averaged = (torch.softmax(policy, -1).detach() * k2(log_ratio)).sum()
    (gradient,) = torch.autograd.grad(averaged, policy)
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-5)
