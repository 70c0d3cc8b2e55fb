"""Newton's method for many penalised Bradley-Terry problems at once.

The problems share the comparisons and differ in weights, L2 strength and start: folds of a cross-validation and
members of an ensemble are both that. Everything is float64 and one batched tensor. Small problems are solved with
the exact Hessian of each, large ones with conjugate gradients (`conjugate_gradients`); both end at the same minimiser.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from reward_models.conjugate_gradients import Hessian, conjugate_gradients, shared_preconditioner
from reward_models.errors import NonFinite
from reward_models.losses import bradley_terry, centring_penalty, log_preference

DENSE_WORK = 2**31
"""Multiplications of one step with exact Hessians, over all problems, above which conjugate gradients take over."""
BATCH_ELEMENTS = 2**25
"""Problems are solved side by side while their largest tensor has at most this many elements (256 MiB)."""
_HALVINGS = 40
_NEGLIGIBLE = 0.1
"""A squared decrement below this share of the tolerance is not worth a step."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Minimise over w_b, for each problem b and with d_i = x_i - x'_i, s_i = x_i + x'_i of comparison i,

    J_b(w) = sum_i c_bi [ bradley_terry(d_i.w, y_i, m_i) + eta (s_i.w)^2 ] + (l2_b / 2) |w - start_b|^2

    The sum, not the mean: a weight of 10 is ten copies, and l2 is the precision of a Gaussian prior around the start.
    """

    first: Float[Tensor, "comparisons features"]
    """Standardised features x of the first completion."""
    second: Float[Tensor, "comparisons features"]
    """Standardised features x' of the second."""
    labels: Float[Tensor, " comparisons"]
    """y: probability that the first is better."""
    weights: Float[Tensor, "problems comparisons"]
    """c: how much each comparison counts in each problem."""
    l2: Float[Tensor, " problems"]
    """Pull towards the start, positive."""
    starts: Float[Tensor, "problems features"]
    """Where the pull leads."""
    rater_error: float
    """Share of coin-toss answers in the loss."""
    centring: float
    """eta, the weight of the centring penalty."""
    margins: Float[Tensor, " comparisons"] | None = None
    """m: by how much the better one should lead; none is 0."""


class Solution(NamedTuple):
    """Where the iterations ended."""

    weights: Float[Tensor, "problems features"]
    """The minimisers."""
    iterations: int
    """Newton steps taken (the largest number over the batches)."""
    converged: bool
    """Whether every problem reached the tolerance."""


StepFinder: TypeAlias = Callable[[Problem, Tensor], tuple[Tensor, Tensor]]


def solve(
    problem: Problem,
    *,
    tolerance: float = 1e-10,
    max_iterations: int = 100,
    on_step: Callable[[int, float], None] | None = None,
) -> Solution:
    """Minimise all problems; `on_step(iteration, mean objective)` watches.

    With n comparisons, F features and r = min(F, 2 n), an exact step costs n r^2 per problem; beyond `DENSE_WORK` a
    step is found by conjugate gradients at a few times n F per problem. With a rater error the loss is not convex; the
    expected curvature is used, which still leads downhill. Stops when half the squared Newton decrement, an estimate
    of J - min J, is below the tolerance. Raises NonFinite if an objective is.
    """
    count, rows = problem.weights.shape
    features = problem.starts.shape[1]
    width = min(features, 2 * rows)
    dense = count * rows * width**2 <= DENSE_WORK
    basis = _row_space(problem) if width < features else None
    finder = _exact_steps(basis) if dense else _iterative_steps(problem, basis, tolerance)
    size = max(1, BATCH_ELEMENTS // max(1, max(rows, width) * width if dense else rows + width))
    found = [
        _solve_batch(_rows_of(problem, slice(low, low + size)), finder, tolerance, max_iterations, on_step)
        for low in range(0, count, size)
    ]
    return Solution(
        weights=torch.cat([part.weights for part in found]),
        iterations=max(part.iterations for part in found),
        converged=all(part.converged for part in found),
    )


def objective(problem: Problem, weights: Float[Tensor, "problems features"]) -> Float[Tensor, " problems"]:
    """J_b at the given weights, in nats."""
    first, second = weights @ problem.first.T, weights @ problem.second.T
    loss = bradley_terry(first, second, problem.labels, margin=problem.margins, rater_error=problem.rater_error)
    loss = loss + problem.centring * centring_penalty(first, second)
    pull = 0.5 * problem.l2 * (weights - problem.starts).square().sum(dim=1)
    return (problem.weights * loss).sum(dim=1) + pull


def _row_space(problem: Problem) -> Float[Tensor, "features width"]:
    """Orthonormal basis of the span of the features, in which w - start lies."""
    basis: Tensor = torch.linalg.qr(torch.cat([problem.first, problem.second]).T).Q
    return basis


def _rows_of(whole: Problem, part: slice | Tensor) -> Problem:
    return replace(whole, weights=whole.weights[part], l2=whole.l2[part], starts=whole.starts[part])


def _solve_batch(
    problem: Problem,
    finder: StepFinder,
    tolerance: float,
    max_iterations: int,
    on_step: Callable[[int, float], None] | None,
) -> Solution:
    weights, iteration, decrement = problem.starts.clone(), 0, torch.inf
    value = _finite(objective(problem, weights))
    while iteration < max_iterations and decrement > tolerance:
        gradient, step = finder(problem, weights)
        slope = (gradient * step).sum(dim=1)
        weights, value = _line_search(problem, weights, step, slope, value)
        decrement = float(-0.5 * slope.min())
        iteration += 1
        if on_step is not None:
            on_step(iteration, float(value.mean()))
    return Solution(weights=weights, iterations=iteration, converged=decrement <= tolerance)


def _exact_steps(basis: Tensor | None) -> StepFinder:
    """Gradient of J and the step  -H^-1 gradient  with H the expected curvature, both (problems, features)."""

    def find(problem: Problem, weights: Tensor) -> tuple[Tensor, Tensor]:
        difference, total = problem.first - problem.second, problem.first + problem.second
        gradient, curvature = _gradient_and_curvature(problem, weights, difference, total)
        if basis is not None:
            difference, total = difference @ basis, total @ basis
        reduced = gradient if basis is None else gradient @ basis
        hessian = _weighted_gram(difference, problem.weights * curvature)
        if problem.centring > 0.0:
            hessian += _weighted_gram(total, 2.0 * problem.centring * problem.weights)
        hessian.diagonal(dim1=1, dim2=2).add_(problem.l2[:, None])
        step = -torch.cholesky_solve(reduced[:, :, None], torch.linalg.cholesky(hessian))[:, :, 0]
        return gradient, step if basis is None else step @ basis.T

    return find


def _iterative_steps(whole: Problem, basis: Tensor | None, tolerance: float) -> StepFinder:
    """The same by conjugate gradients, to a small part of the way; the next step takes up the rest."""
    difference, total = whole.first - whole.second, whole.first + whole.second
    reduced = (difference, total) if basis is None else (difference @ basis, total @ basis)
    _, curvature = _slope_and_curvature(whole, whole.starts @ difference.T)
    precondition = shared_preconditioner(
        *reduced, (whole.weights * curvature).mean(dim=0), 2.0 * whole.centring * whole.weights.mean(dim=0)
    )

    def find(problem: Problem, weights: Tensor) -> tuple[Tensor, Tensor]:
        gradient, curvature = _gradient_and_curvature(problem, weights, difference, total)
        share = problem.weights.sum(dim=1) / whole.weights.mean(dim=0).sum()
        hessian = Hessian(*reduced, problem.weights * curvature, 2.0 * problem.centring * problem.weights, problem.l2)
        downhill = -gradient if basis is None else -gradient @ basis
        step = conjugate_gradients(hessian, downhill, precondition, share, negligible=_NEGLIGIBLE * tolerance)
        return gradient, step if basis is None else step @ basis.T

    return find


def _gradient_and_curvature(
    problem: Problem, weights: Tensor, difference: Tensor, total: Tensor
) -> tuple[Float[Tensor, "problems features"], Float[Tensor, "problems comparisons"]]:
    slope, curvature = _slope_and_curvature(problem, weights @ difference.T)
    sums = weights @ total.T
    gradient = (problem.weights * slope) @ difference + 2.0 * problem.centring * (problem.weights * sums) @ total
    return gradient + problem.l2[:, None] * (weights - problem.starts), curvature


def _slope_and_curvature(problem: Problem, difference: Tensor) -> tuple[Tensor, Tensor]:
    """Derivative of the loss in the score difference d, and its expected curvature; both from the loss itself.

    Without rater error the curvature is exact: p (1 - p) at d, or with a margin m the mean of those at d - m and at
    d + m, weighed by the label.
    """
    with torch.enable_grad():
        leaf = difference.detach().clone().requires_grad_()
        zero = torch.zeros_like(leaf)
        loss = bradley_terry(leaf, zero, problem.labels, margin=problem.margins, rater_error=problem.rater_error)
        (slope,) = torch.autograd.grad(loss.sum(), leaf)
    if problem.margins is None:
        return slope, _expected_curvature(difference, rater_error=problem.rater_error)
    behind, ahead = (
        _expected_curvature(difference + lead, rater_error=problem.rater_error)
        for lead in (-problem.margins, problem.margins)
    )
    return slope, problem.labels * behind + (1.0 - problem.labels) * ahead


def _expected_curvature(difference: Tensor, *, rater_error: float) -> Tensor:
    """p'_d^2 / (p' (1 - p'))  as  g(d) g(-d)  with g = (log p')_d.

    That is because 1 - p'(d) = p'(-d) and p'_d is even; in this form nothing overflows. Without rater error it is the
    exact p (1 - p).
    """
    with torch.enable_grad():
        leaf = difference.detach().clone().requires_grad_()
        turned = (-difference.detach()).requires_grad_()
        logs = (log_preference(leaf, rater_error=rater_error), log_preference(turned, rater_error=rater_error))
        for_first, for_second = torch.autograd.grad([logs[0].sum(), logs[1].sum()], [leaf, turned])
    return for_first * for_second


def _weighted_gram(rows: Tensor, weights: Tensor) -> Tensor:
    """sum_i weights_bi rows_i rows_i^T for each problem b."""
    return (rows * weights[:, :, None]).transpose(1, 2) @ rows


def _line_search(
    problem: Problem, weights: Tensor, step: Tensor, slope: Tensor, value: Tensor
) -> tuple[Tensor, Tensor]:
    """Halve each problem's step until it lowers its objective enough (Armijo, 1e-4); drop a step that never does."""
    length = torch.ones_like(value)
    for _ in range(_HALVINGS):
        reached = _finite(objective(problem, weights + length[:, None] * step))
        # The last term forgives rounding where the objective is flat already.
        enough = reached <= value + 1e-4 * length * slope + 1e-12 * value.abs()
        if bool(enough.all()):
            break
        length = torch.where(enough, length, 0.5 * length)
    length = torch.where(enough, length, torch.zeros_like(length))
    return weights + length[:, None] * step, torch.where(enough, reached, value)


def _finite(value: Tensor) -> Tensor:
    if not bool(torch.isfinite(value).all()):
        raise NonFinite("the fitting objective is not finite; look for huge features or weights, then fit again")
    return value
