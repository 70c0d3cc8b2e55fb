"""KL, its estimators, total variation and entropy against numbers worked out by hand and against enumeration."""

import math
from collections.abc import Callable
from typing import NamedTuple

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


class Sampled(NamedTuple):
    """One token of four: enumerated, in float64, with gradient in the policy's logits."""

    logits: Tensor
    log_policy: Tensor
    log_reference: Tensor

    def mean_gradient(self, values: Tensor) -> Tensor:
        """The gradient of values of samples, averaged over samples that are held."""
        (gradient,) = torch.autograd.grad((self.log_policy.exp().detach() * values).sum(), self.logits)
        return gradient

    def gradient(self, value: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(value, self.logits)
        return gradient


def one_token() -> Sampled:
    logits = torch.tensor([0.3, -1.0, 0.8, 0.0], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([-0.5, 0.2, 0.1, 1.0], dtype=torch.float64)
    return Sampled(logits, torch.log_softmax(logits, -1), torch.log_softmax(reference, -1))


ESTIMATORS = [k1, k2, k3]


def forwards(of: Sampled) -> Tensor:
    return exact_kl(of.log_policy, of.log_reference)


def backwards(of: Sampled) -> Tensor:
    return exact_kl(of.log_reference, of.log_policy)


def test_as_a_loss_k1_has_no_gradient_k2_that_of_kl_and_k3_that_of_the_reverse() -> None:
    """Each differentiated itself, x ~ p held, against KL differentiated as a sum over the vocabulary."""
    expected = []
    for wanted in (None, forwards, backwards):
        token = one_token()
        expected.append(torch.zeros(4).double() if wanted is None else token.gradient(wanted(token)))
    for estimator, gradient in zip(ESTIMATORS, expected, strict=True):
        token = one_token()
        found = token.mean_gradient(estimator(token.log_policy - token.log_reference))
        torch.testing.assert_close(found, gradient, atol=1e-12, rtol=0.0)
    assert min(float((expected[one] - expected[other]).abs().max()) for one, other in ((0, 1), (0, 2), (1, 2))) > 0.04


def test_as_a_reward_k1_has_the_gradient_of_kl_and_k3_that_of_a_difference() -> None:
    """k grad log p, x ~ p: grad KL(p || q) for k1, grad KL(p || q) - grad KL(q || p) for k3, neither for k2."""
    rewarded = []
    for estimator in ESTIMATORS:
        token = one_token()
        held = estimator((token.log_policy - token.log_reference).detach())
        rewarded.append(token.mean_gradient(held * token.log_policy))
    ahead, back = one_token(), one_token()
    forward, backward = ahead.gradient(forwards(ahead)), back.gradient(backwards(back))
    torch.testing.assert_close(rewarded[0], forward, atol=1e-12, rtol=0.0)
    torch.testing.assert_close(rewarded[2], forward - backward, atol=1e-12, rtol=0.0)
    for other in (torch.zeros(4).double(), forward, forward - backward):
        assert float((rewarded[1] - other).abs().max()) > 0.02


def test_k2_is_biased_by_hand() -> None:
    """p = (3/4, 1/4), q = (1/2, 1/2): k2 averages to 3/8 log(3/2)^2 + 1/8 log(2)^2 = 0.121708, KL is 0.130812."""
    log_ratio = logs(0.75, 0.25) - logs(0.5, 0.5)
    assert float((torch.tensor([0.75, 0.25]) * k2(log_ratio)).sum()) == pytest.approx(0.121708, abs=1e-6)


EveryCompletion = Callable[[int, int], list[tuple[int, ...]]]


class Tree(NamedTuple):
    """Completions of two distributions with free logits at every prefix, in float64."""

    logits: Tensor
    log_policy: Tensor
    log_reference: Tensor
    mask: Tensor
    kl: Tensor


def tree(every_completion: EveryCompletion) -> Tree:
    completions = every_completion(3, 3)
    prefixes = {one[:time]: None for one in completions for time in range(len(one))}
    rows = {prefix: row for row, prefix in enumerate(prefixes)}
    logits, reference = torch.randn(2, len(rows), 3, generator=torch.Generator().manual_seed(1)).double().unbind()
    logits.requires_grad_()
    at = torch.tensor([[rows.get(one[:time], 0) for time in range(3)] for one in completions])
    tokens = torch.tensor([[*one, 0, 0][:3] for one in completions])
    mask = torch.arange(3) < torch.tensor([len(one) for one in completions])[:, None]
    zero = torch.zeros(()).double()
    chosen = [
        torch.where(mask, torch.log_softmax(one[at], -1).gather(-1, tokens[..., None])[..., 0], zero)
        for one in (logits, reference)
    ]
    return Tree(logits, chosen[0], chosen[1], mask, torch.where(mask, exact_kl(logits[at], reference[at]), zero))


def test_the_kl_of_completions_is_that_of_their_tokens_at_the_policys_prefixes(
    every_completion: EveryCompletion,
) -> None:
    """The chain rule: sum_y p(y) log p(y)/q(y) = sum_y p(y) sum_t KL_t(y_<t)."""
    of = tree(every_completion)
    log_policy, log_reference = of.log_policy.sum(1), of.log_reference.sum(1)
    probability = log_policy.exp()
    assert float(probability.sum().detach()) == pytest.approx(1.0, abs=1e-12)
    whole = float((probability * (log_policy - log_reference)).sum().detach())
    assert whole > 0.3
    assert float((probability * of.kl.sum(1)).sum().detach()) == pytest.approx(whole, abs=1e-12)


def test_over_several_tokens_k2_is_right_for_whole_completions_only(every_completion: EveryCompletion) -> None:
    """Summed over tokens it has the gradient of KL at the prefixes as drawn, not of which prefixes are drawn."""
    of = tree(every_completion)
    probability = of.log_policy.sum(1).exp()
    held = probability.detach()
    log_ratio = of.log_policy - of.log_reference

    def gradient(value: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(value, of.logits, retain_graph=True)
        return found

    whole = gradient((probability * log_ratio.sum(1)).sum())
    by_token = gradient((held * k2(log_ratio).sum(1)).sum())
    torch.testing.assert_close(gradient((held * k2(log_ratio.sum(1))).sum()), whole, atol=1e-12, rtol=0.0)
    torch.testing.assert_close(by_token, gradient((held * of.kl.sum(1)).sum()), atol=1e-12, rtol=0.0)
    assert float((by_token - whole).abs().max()) > 0.02
    # And as a reward, k1 of whole completions is right.
    torch.testing.assert_close(
        gradient((held * k1(log_ratio.sum(1)).detach() * of.log_policy.sum(1)).sum()), whole, atol=1e-12, rtol=0.0
    )


def test_double_precision_is_kept_and_half_is_raised() -> None:
    policy, reference = torch.randn(2, 5, dtype=torch.float64).unbind()
    for distance in (exact_kl, total_variation):
        assert distance(policy, reference).dtype == torch.float64
        assert distance(policy.bfloat16(), reference.bfloat16()).dtype == torch.float32
