"""Newton steps of many problems over the same comparisons, without a Hessian of any one of them.

The Hessian of problem b, over differences d_i and sums s_i of the features of comparison i, is

    H_b = sum_i u_bi d_i d_i^T + sum_i v_bi s_i s_i^T + l2_b I

It is only ever multiplied by a vector, at the price of a gradient. The problems' weights u, v are draws around common
means (folds leave a share out, a bootstrap repeats some), so one matrix of the means, with each problem's own l2, is
near to all: in its metric a few conjugate gradients go most of the way (Nocedal and Wright 2006, section 5.1).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

RELATIVE = 0.1
"""A step is found when its residual, in the metric of the preconditioner, has fallen to this share of the gradient."""
MAX_PRODUCTS = 250
"""Products with the Hessian for one step at most; what is missing then is left to the next step."""

Precondition: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]


@runtime_checkable
class Curvature(Protocol):
    """Positive definite matrices of several problems, each as what it makes of a vector."""

    @property
    def l2(self) -> Float[Tensor, " problems"]:
        """What each matrix has added to its diagonal, which a preconditioner needs to know."""

    def times(self, vectors: Float[Tensor, "problems width"]) -> Float[Tensor, "problems width"]:
        """The matrix of problem b times the vector of problem b."""

    def of(self, problems: Tensor) -> "Curvature":
        """Those of some of the problems."""


@dataclass(frozen=True, eq=False)
class Hessian:
    """The Hessians of all problems, as what they are made of."""

    differences: Float[Tensor, "comparisons width"]
    """d_i."""
    sums: Float[Tensor, "comparisons width"]
    """s_i."""
    of_differences: Float[Tensor, "problems comparisons"]
    """u."""
    of_sums: Float[Tensor, "problems comparisons"]
    """v; all zero is recognised and costs nothing."""
    l2: Float[Tensor, " problems"]
    """What is added to the diagonal, positive."""

    def times(self, vectors: Float[Tensor, "problems width"]) -> Float[Tensor, "problems width"]:
        """H_b times the vector of problem b."""
        found = (self.of_differences * (vectors @ self.differences.T)) @ self.differences
        if bool(self.of_sums.any()):
            found = found + (self.of_sums * (vectors @ self.sums.T)) @ self.sums
        return found + self.l2[:, None] * vectors

    def of(self, problems: Tensor) -> "Hessian":
        """Those of some of the problems."""
        u, v = self.of_differences[problems], self.of_sums[problems]
        return Hessian(self.differences, self.sums, u, v, self.l2[problems])


def shared_preconditioner(
    differences: Float[Tensor, "comparisons width"],
    sums: Float[Tensor, "comparisons width"],
    of_differences: Float[Tensor, " comparisons"],
    of_sums: Float[Tensor, " comparisons"],
) -> Precondition:
    """(vectors, shares, l2) to  (share_b G + l2_b I)^-1 vector_b  for the matrix G of mean weights.

    The eigenvectors of G are found once; each problem then divides by its own eigenvalues.
    """
    gram = (differences * of_differences[:, None]).T @ differences
    if bool(of_sums.any()):
        gram += (sums * of_sums[:, None]).T @ sums
    values, vectors = torch.linalg.eigh(gram)
    values = values.clamp(min=0.0)

    def precondition(right: Tensor, shares: Tensor, l2: Tensor) -> Tensor:
        found: Tensor = ((right @ vectors) / (shares[:, None] * values + l2[:, None])) @ vectors.T
        return found

    return precondition


def conjugate_gradients(
    hessian: Curvature,
    right: Float[Tensor, "problems width"],
    precondition: Precondition,
    shares: Float[Tensor, " problems"],
    *,
    negligible: float = 0.0,
    relative: float = RELATIVE,
    products: int = MAX_PRODUCTS,
) -> Float[Tensor, "problems width"]:
    """x_b with H_b x_b near right_b, from x_b = 0.

    A problem is left alone once its residual r has  r^T M^-1 r  below `relative` squared of its first value, or below
    `negligible`, or after `products` products; M is the preconditioner. Every iterate lowers the quadratic model, so
    that each is a descent step.
    """
    solution, residual = torch.zeros_like(right), right.clone()
    scaled = precondition(right, shares, hessian.l2)
    direction, size = scaled.clone(), (right * scaled).sum(dim=1)
    goal = (relative**2 * size).clamp(min=negligible)
    for _ in range(products):
        live = torch.nonzero(size > goal)[:, 0]
        if len(live) == 0:
            break
        part, along = hessian.of(live), direction[live]
        product = part.times(along)
        length = (size[live] / (along * product).sum(dim=1))[:, None]
        solution[live] += length * along
        residual[live] -= length * product
        scaled = precondition(residual[live], shares[live], part.l2)
        reached = (residual[live] * scaled).sum(dim=1)
        direction[live] = scaled + (reached / size[live])[:, None] * along
        size[live] = reached
    return solution
