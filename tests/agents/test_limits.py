"""What every limit keeps: nothing is overdrawn, all can be spent, gradients are right; and the mixture by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agents.divergence import exact_kl, total_variation
from agents.hard_budget import HardBudget
from agents.limits import AbstractLimit, acting_distributions, mixture
from agents.total_variation_limit import TotalVariationLimit

Distance = Callable[[Tensor, Tensor], Tensor]
Adversary = Callable[[Tensor, int, int, torch.Generator], Tensor]

LIMITS: list[tuple[AbstractLimit, Distance]] = [
    (HardBudget(10.0), exact_kl),
    (HardBudget(0.05), exact_kl),
    (TotalVariationLimit(0.7), total_variation),
    (TotalVariationLimit(5.0), total_variation),
]
NAMES = [repr(limit) for limit, _ in LIMITS]
either = pytest.mark.parametrize(("limit", "distance"), LIMITS, ids=NAMES)


def greedy_spender(reference: Tensor, time: int, length: int, generator: torch.Generator) -> Tensor:
    """Wants the token that the reference likes least, at once and always."""
    return sure_of(reference.argmin(dim=-1), reference)


def saver(reference: Tensor, time: int, length: int, generator: torch.Generator) -> Tensor:
    """Is the reference until the last three tokens."""
    return greedy_spender(reference, time, length, generator) if time >= length - 3 else reference


def sharp(reference: Tensor, time: int, length: int, generator: torch.Generator) -> Tensor:
    """Prefers other tokens every time, strongly."""
    return torch.log_softmax(20 * torch.randn(reference.shape, generator=generator), dim=-1)


def near_deterministic(reference: Tensor, time: int, length: int, generator: torch.Generator) -> Tensor:
    """All other tokens are at e^-100."""
    token = torch.randint(reference.shape[-1], reference.shape[:1], generator=generator)
    return sure_of(token, reference)


def dripping(reference: Tensor, time: int, length: int, generator: torch.Generator) -> Tensor:
    """Spends a little at every token, so that rounding has the most occasions."""
    return torch.log_softmax(reference + 0.5 * torch.randn(reference.shape, generator=generator), dim=-1)


ADVERSARIES: list[Adversary] = [greedy_spender, saver, sharp, near_deterministic, dripping]


def sure_of(token: Tensor, like: Tensor) -> Tensor:
    return torch.full_like(like, -100.0).scatter(-1, token[:, None], 0.0).log_softmax(dim=-1)


def spent(
    limit: AbstractLimit, distance: Distance, adversary: Adversary, *, episodes: int = 64, length: int = 128
) -> Tensor:
    """What each episode spent, in float32 and from the acting log-probabilities alone, as `Rollouts.kl` is."""
    generator = torch.Generator().manual_seed(5)
    left = torch.full((episodes,), limit.allowance)
    acting: list[Tensor] = []
    references: list[Tensor] = []
    for time in range(length):
        reference = torch.log_softmax(2 * torch.randn(episodes, 50, generator=generator), dim=-1)
        found = limit.act(adversary(reference, time, length, generator), reference, left)
        assert bool((found.left >= 0).all()) and bool((found.left <= left).all())
        left = found.left
        acting.append(found.log_probabilities)
        references.append(reference)
    return distance(torch.stack(acting, 1), torch.stack(references, 1)).sum(dim=1)


@either
@pytest.mark.parametrize("adversary", ADVERSARIES)
@torch.no_grad()
def test_no_adversary_overdraws_and_all_of_them_spend_nearly_everything(
    limit: AbstractLimit, distance: Distance, adversary: Adversary
) -> None:
    used = spent(limit, distance, adversary)
    print(f"{limit} {adversary.__name__}: mean {float(used.mean()):.5f}, largest {float(used.max()):.6f}")
    assert int((used > limit.allowance).sum()) == 0
    reachable = min(limit.allowance, 3.0) if adversary is saver and isinstance(limit, TotalVariationLimit) else None
    assert float(used.mean()) > 0.97 * (limit.allowance if reachable is None else reachable)


def test_a_mixture_by_hand() -> None:
    """1/4 (0.8, 0.2) + 3/4 (0.4, 0.6) = (0.5, 0.5); at the ends it is bitwise what it mixes."""
    policy, reference = torch.tensor([[0.8, 0.2]] * 3).log(), torch.tensor([[0.4, 0.6]] * 3).log()
    mixed = mixture(policy, reference, torch.tensor([0.25, 0.0, 1.0]))
    torch.testing.assert_close(mixed[0].exp(), torch.tensor([0.5, 0.5]))
    assert torch.equal(mixed[1], reference[1]) and torch.equal(mixed[2], policy[2])


def test_a_mixture_keeps_what_is_tiny_and_what_is_impossible() -> None:
    """log(1e-30 x e^-60) is there although its probability is 0 in float32; impossible to both stays impossible."""
    policy = torch.tensor([[-60.0, 0.0, -math.inf, -math.inf]], requires_grad=True)
    reference = torch.tensor([[-math.inf, math.log(0.5), math.log(0.5), -math.inf]])
    share = torch.tensor([1e-30], requires_grad=True)
    mixed = mixture(policy, reference, share)
    expected = [math.log(1e-30) - 60, math.log(0.5), math.log(0.5), -math.inf]
    torch.testing.assert_close(mixed[0], torch.tensor(expected))
    mixed[:, :3].sum().backward()
    assert policy.grad is not None and bool(policy.grad.isfinite().all())
    assert share.grad is not None and bool(share.grad.isfinite().all())


@either
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 300), part=st.floats(0, 1))
def test_one_token(limit: AbstractLimit, distance: Distance, seed: int, scale: float, part: float) -> None:
    """It spends at most what is left; it is the policy itself where that fits, and spends all where it does not."""
    generator = torch.Generator().manual_seed(seed)
    policy = torch.log_softmax(scale * torch.randn(6, 12, generator=generator), dim=-1).requires_grad_()
    reference = torch.log_softmax(torch.randn(6, 12, generator=generator), dim=-1)
    left = torch.full((6,), part * limit.allowance, requires_grad=True)
    found = limit.act(policy, reference, left)
    used, whole = distance(found.log_probabilities, reference), distance(policy, reference)
    assert bool((used <= left).all())
    slack = 1e-3 * limit.allowance + 1e-5
    fits = whole < left - slack
    assert torch.equal(found.log_probabilities[fits], policy[fits])
    tight = (whole > left + slack) & (left > slack)
    torch.testing.assert_close(used[tight], left[tight], atol=slack, rtol=0.0)
    assert not bool(found.left[tight].any())
    torch.testing.assert_close(found.left, (left - used).detach(), atol=slack, rtol=0.0)
    torch.testing.assert_close(found.log_probabilities.exp().sum(-1), torch.ones(6))
    (found.log_probabilities.exp().sum() + found.log_probabilities[:, 0].sum() + found.left.sum()).backward()
    for gradient in (policy.grad, left.grad):
        assert gradient is None or bool(gradient.isfinite().all())


@either
def test_nothing_left_is_the_reference_bit_for_bit(limit: AbstractLimit, distance: Distance) -> None:
    policy, reference = (torch.log_softmax(torch.randn(2, 4, 6), dim=-1)).unbind()
    policy = policy.clone().requires_grad_()
    found = limit.act(policy, reference, torch.zeros(4))
    assert torch.equal(found.log_probabilities, reference)
    assert found.left.tolist() == [0.0] * 4
    found.log_probabilities.sum().backward()
    assert policy.grad is not None and float(policy.grad.abs().max()) == 0.0


@either
@pytest.mark.parametrize("left", [0.0, 0.03])
def test_a_policy_that_is_not_finite_is_not_hidden(limit: AbstractLimit, distance: Distance, left: float) -> None:
    policy = torch.full((1, 3), math.nan)
    found = limit.act(policy, torch.log_softmax(torch.zeros(1, 3), -1), torch.tensor([left]))
    assert bool(found.log_probabilities.isnan().all())


PATHS = [
    *((HardBudget(nats), f"{nats} nats") for nats in (0.05, 0.6, 3.0, 100.0)),
    *((TotalVariationLimit(total), f"TV {total}") for total in (0.1, 0.8, 100.0)),
]


@pytest.mark.parametrize("limit", [limit for limit, _ in PATHS], ids=[name for _, name in PATHS])
def test_the_gradient_along_a_path_is_that_of_finite_differences(limit: AbstractLimit) -> None:
    """In float64, of the log-probability of a whole path: through every share, and through what it leaves to later."""
    generator = torch.Generator().manual_seed(1)
    logits, other, direction = torch.randn(3, 8, 4, 7, generator=generator, dtype=torch.float64).unbind()
    reference = torch.log_softmax(other, -1)
    tokens = torch.randint(7, (8, 4, 1), generator=generator)
    mask = torch.ones(8, 4, dtype=torch.bool)
    mask[0, 2:] = False

    def path(at: Tensor) -> Tensor:
        acting = acting_distributions(limit, torch.log_softmax(at, -1), reference, mask)
        return acting.gather(-1, tokens)[..., 0].masked_fill(~mask, 0.0).sum(1)

    logits.requires_grad_()
    step = 1e-4
    with torch.no_grad():
        expected = (path(logits + step * direction) - path(logits - step * direction)) / (2 * step)
    (gradient,) = torch.autograd.grad(path(logits).sum(), logits)
    torch.testing.assert_close((gradient * direction).sum((1, 2)), expected, rtol=1e-3, atol=1e-5)
    assert float(expected.abs().max()) > 0.1
    # A masked token is no part of the path.
    assert float(gradient[0, 2:].abs().max()) == 0.0


@either
def test_the_gradient_in_what_is_left_is_that_of_finite_differences(limit: AbstractLimit, distance: Distance) -> None:
    generator = torch.Generator().manual_seed(2)
    policy, reference = torch.log_softmax(
        3 * torch.randn(2, 9, 5, generator=generator, dtype=torch.float64), -1
    ).unbind()
    left = torch.linspace(0.1, 0.6, 9, dtype=torch.float64) * min(limit.allowance, 1.0)
    step = 1e-4 * min(limit.allowance, 1.0)
    before, after = (limit.act(policy, reference, left + sign * step).log_probabilities for sign in (-1, 1))
    left.requires_grad_()
    acting = limit.act(policy, reference, left).log_probabilities
    (gradient,) = torch.autograd.grad(acting[:, 0].sum(), left)
    torch.testing.assert_close(gradient, (after - before)[:, 0] / (2 * step), rtol=1e-3, atol=1e-4)
    assert float(gradient.abs().max()) > 0.05


def test_a_masked_token_spends_nothing() -> None:
    """A limit of 0.4 in total variation; the policy is at 0.3: the second token has 0.4 left or 0.1."""
    policy, reference = torch.tensor([0.8, 0.2]).log(), torch.tensor([0.5, 0.5]).log()
    mask = torch.tensor([[False, True], [True, True]])
    acting = acting_distributions(TotalVariationLimit(0.4), policy.expand(2, 2, 2), reference.expand(2, 2, 2), mask)
    torch.testing.assert_close(acting.exp()[:, 1, 0], torch.tensor([0.8, 0.6]), atol=1e-5, rtol=0.0)
