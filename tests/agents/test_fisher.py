"""Fisher products against a matrix written out from scores, natural directions against dense solves and by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from agents.batch import Batch
from agents.learner import Learner
from agents.policy import Policy
from agents.second_order.fisher import Fisher, kl_to_old, natural_direction
from agents.second_order.weights import flat_gradient, set_weights, twice_differentiable, weights_of
from reward_models.errors import NonFinite
from tests.agents.enumerable import PROMPT, World, world

Completions = Callable[[int, int], list[tuple[int, ...]]]
Logits = Callable[[Policy, list[int], tuple[int, ...]], Tensor]


@pytest.fixture
def learner(make_policy: Callable[..., Policy], every_completion: Completions) -> tuple[Learner, World, Batch]:
    """A learner of a few hundred weights (one attention layer's queries and a norm), and 12 completions."""
    small = world(every_completion, make_policy=make_policy, seed=1, spread=0.4)
    policy = small.reference.copy()
    for name, parameter in policy.model.named_parameters():
        parameter.requires_grad_("layers.0.self_attn.q_proj" in name or "layers.1.input_layernorm" in name)
    learner = Learner(policy, small.reference, learning_rate=1e-2)
    material = small.source(group=6, prompts_per_step=2).draw(learner, samples_from="policy", seed=1, step=0)
    return learner, small, Batch(*material[:2], beta=small.beta)


def fisher_of(learner: Learner, batch: Batch) -> Fisher:
    with twice_differentiable(learner):
        return Fisher(learner.read(batch).distributions, batch.mask, learner.parameters)


def dense(learner: Learner, batch: Batch, plain_logits: Logits) -> Tensor:
    """1/N sum_it sum_v p_v s_v s_v^T with every score s_v by a backward pass of its own, in plain passes."""
    samples = batch.rollouts.samples
    prompt = learner.policy.encode_prompt(PROMPT)
    total = torch.zeros(2 * [sum(parameter.numel() for parameter in learner.parameters)], dtype=torch.float64)
    for tokens, size in zip(samples.tokens.tolist(), samples.mask.sum(1).tolist(), strict=True):
        log_probabilities = torch.log_softmax(plain_logits(learner.policy, prompt, tuple(tokens[:size])), -1)
        for one in log_probabilities.flatten():
            score = flat_gradient(one, learner.parameters).double()
            total += one.detach().double().exp() * torch.outer(score, score)
    return total / len(samples)


def test_products_are_those_of_the_matrix_of_scores(
    learner: tuple[Learner, World, Batch], plain_logits: Logits
) -> None:
    of, _, batch = learner
    expected = dense(of, batch, plain_logits)
    width = len(expected)
    fisher = fisher_of(of, batch)
    found = torch.stack([fisher.times(column) for column in torch.eye(width)]).double()
    assert width == 16 * 16 + 16
    assert float(expected.abs().max()) > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found, found.T, atol=1e-6, rtol=1e-4)
    smallest, largest = torch.linalg.eigvalsh((found + found.T) / 2)[[0, -1]].tolist()
    assert smallest > -1e-6 * largest


def test_half_the_square_is_the_divergence_of_a_small_step(learner: tuple[Learner, World, Batch]) -> None:
    """D(w + e v) = e^2 v^T F v / 2 up to e^3: the unit is nats per completion."""
    of, _, batch = learner
    fisher = fisher_of(of, batch)
    start = weights_of(of)
    direction = torch.randn(start.shape, generator=torch.Generator().manual_seed(0))
    squared = float(direction @ fisher.times(direction))
    with torch.no_grad(), twice_differentiable(of):
        old = of.read(batch).distributions.double()
        for size in (1e-2, 3e-3):
            set_weights(of, start + size * direction)
            measured = float(kl_to_old(old, of.read(batch).distributions.double(), batch.mask))
            assert measured == pytest.approx(size**2 * squared / 2, rel=10 * size)
            assert measured > 1e-5


def test_divergence_by_hand() -> None:
    """Half and half to 1/4 and 3/4 is log(2 / sqrt 3) nats; of 2 sequences one has it once, the other twice."""
    half, quarter = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25, 0.75]).log()
    mask = torch.tensor([[True, False], [True, True]])
    old, new = half.expand(2, 2, 2), quarter.expand(2, 2, 2)
    assert float(kl_to_old(old, new, mask)) == pytest.approx(3 / 2 * float(torch.tensor(4 / 3).log()) / 2, abs=1e-6)


def test_second_derivatives_are_of_float32_and_leave_the_precision_of_the_training(
    learner: tuple[Learner, World, Batch],
) -> None:
    of, small, batch = learner
    half = Learner(of.policy, small.reference, learning_rate=1e-2, bfloat16=True)
    direction = torch.randn(weights_of(of).shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fisher_of(half, batch).times(direction), fisher_of(of, batch).times(direction))
    assert half.bfloat16


def test_conjugate_gradients_agree_with_a_dense_solve() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(20, 30, generator=generator, dtype=torch.float64)
    matrix = root @ root.T / 30
    gradient = torch.randn(20, generator=generator, dtype=torch.float64)
    found = natural_direction(lambda v: matrix @ v, gradient, damping=0.1, iterations=100, tolerance=1e-10)
    expected = torch.linalg.solve(matrix + 0.1 * torch.eye(20, dtype=torch.float64), gradient)
    torch.testing.assert_close(found.direction, expected)
    assert found.residual < 1e-9
    assert found.curvature == pytest.approx(float(expected @ matrix @ expected))
    assert found.damped_curvature == pytest.approx(float(expected @ gradient))
    # One product is the steepest step; what it leaves over is said.
    early = natural_direction(lambda v: matrix @ v, gradient, damping=0.1, iterations=1, tolerance=1e-10)
    left = gradient - matrix @ early.direction - 0.1 * early.direction
    assert early.residual == pytest.approx(float(left.norm() / gradient.norm()))
    assert early.residual > 0.1
    torch.testing.assert_close(early.direction / early.direction.norm(), gradient / gradient.norm())
    # A tolerance ends it in between.
    loose = natural_direction(lambda v: matrix @ v, gradient, damping=0.1, iterations=100, tolerance=0.3)
    assert found.residual < loose.residual <= 0.3


def test_with_the_identity_it_is_the_gradient_and_the_step_is_scaled_by_hand() -> None:
    """g = (3, 4), F = I: x = g, x^T x = 25; a multiple a moves a^2 25 / 2 nats, so 0.5 nats are a = 1/5."""
    found = natural_direction(lambda v: v, torch.tensor([3.0, 4.0]), damping=1e-12, iterations=5, tolerance=1e-6)
    assert found.direction.tolist() == pytest.approx([3.0, 4.0])
    assert found.longest(0.5) == pytest.approx(0.2)
    assert found.predicted_kl(0.2) == pytest.approx(0.5)
    # Damping 1 halves x: (1.5, 2), x^T F x = 6.25, and with damping twice that: a = sqrt(1 / 12.5).
    damped = natural_direction(lambda v: v, torch.tensor([3.0, 4.0]), damping=1.0, iterations=5, tolerance=1e-6)
    assert damped.direction.tolist() == pytest.approx([1.5, 2.0])
    assert damped.longest(0.5) == pytest.approx(12.5**-0.5)
    assert damped.predicted_kl(damped.longest(0.5)) == pytest.approx(0.25)


def test_no_gradient_is_no_step() -> None:
    found = natural_direction(lambda v: v, torch.zeros(2), damping=0.1, iterations=5, tolerance=0.1)
    assert found.direction.tolist() == [0.0, 0.0]
    assert (found.longest(0.5), found.residual) == (0.0, 0.0)


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(NonFinite, match="gradient"):
        natural_direction(lambda v: v, torch.tensor([1.0, torch.nan]), damping=0.1, iterations=5, tolerance=0.1)
    with pytest.raises(NonFinite, match="natural gradient"):
        natural_direction(lambda v: v * torch.inf, torch.ones(2), damping=0.1, iterations=5, tolerance=0.1)


def test_the_natural_gradient_is_the_same_in_other_units_of_the_weights() -> None:
    """A softmax policy of logits z, and the same as z = M u: the steps in z agree, those of the plain gradient do not.

    One logit is held at 0, so that F is regular and its inverse is one.
    """
    generator = torch.Generator().manual_seed(0)
    free = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    mixing = torch.randn(9, 9, generator=generator, dtype=torch.float64) + 2 * torch.eye(9, dtype=torch.float64)
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    advantage = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    rows = torch.tensor([[0, 1, 2], [0, 0, 0], [0, 2, 1]])

    def steps(parameter: Tensor, to_logits: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        parameter.requires_grad_()
        table = torch.cat([to_logits(parameter).view(3, 3), torch.zeros(3, 1, dtype=torch.float64)], dim=1)
        distributions = torch.log_softmax(table, -1)[rows]
        objective = (distributions[..., 1] * advantage * mask).sum()
        gradient = flat_gradient(objective, [parameter])
        fisher = Fisher(distributions, mask, [parameter])
        found = natural_direction(fisher.times, gradient, damping=1e-12, iterations=200, tolerance=1e-12)
        return found.direction, gradient

    natural, plain = steps(free.flatten().clone(), lambda z: z)
    in_other_units, plain_in_other_units = steps(torch.linalg.solve(mixing, free.flatten()), lambda u: mixing @ u)
    torch.testing.assert_close(mixing @ in_other_units, natural, rtol=1e-4, atol=1e-5)
    assert float(natural.norm()) > 0.1
    assert float((mixing @ plain_in_other_units - plain).norm()) > 0.1 * float(plain.norm())


def test_weights_that_are_not_finite_are_not_put_in_place(learner: tuple[Learner, World, Batch]) -> None:
    of, _, _ = learner
    start = weights_of(of)
    bad = start.clone()
    bad[-1] = torch.inf
    with pytest.raises(NonFinite, match="weights"):
        set_weights(of, bad)
    assert torch.equal(weights_of(of), start)
    set_weights(of, start + 1)
    assert torch.equal(weights_of(of), start + 1)
    # Each weight has memory of its own, as a checkpoint of safetensors needs.
    assert len({parameter.untyped_storage().data_ptr() for parameter in of.parameters}) == len(of.parameters)


def test_new_weights_are_not_read_behind_the_prefill_of_the_old(learner: tuple[Learner, World, Batch]) -> None:
    of, small, batch = learner
    material = small.source(group=6, prompts_per_step=2).draw(of, samples_from="policy", seed=1, step=0)
    assert material.rollouts.samples.prompt_tokens == batch.rollouts.samples.prompt_tokens
    set_weights(of, weights_of(of) + 0.1)
    anew = Learner(of.policy, small.reference, learning_rate=1e-2)
    with torch.no_grad():
        torch.testing.assert_close(of.read(batch).chosen, anew.read(batch).chosen)
