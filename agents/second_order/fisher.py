"""The Fisher information of a policy, as what it is multiplied by, and steps whose length is a KL divergence.

Over the states (prefixes) of N sampled completions,

    D(w) = 1/N sum_i sum_t KL(pi_old(. | y_i,<t) || pi_w(. | y_i,<t))        nats per completion
    F    = 1/N sum_i sum_t E_{v ~ pi_old(. | y_i,<t)}[ s s^T ],  s = grad log pi(v | y_i,<t)

F is the second derivative of D at w_old, where the value and the gradient of D are 0: D(w_old + x) = x^T F x / 2 to
second order. KL is exact, summed over the vocabulary; the sum over tokens makes D an estimate of KL(pi_old || pi_w)
of whole completions (the chain rule), so that a trust region has the unit of `StepRecord.kl`. F v is the gradient of
(grad D)^T v, by a second backward pass (Pearlmutter 1994), for about two gradients' price; F is never written down.

The natural gradient F^-1 g is the direction in which the objective rises most for a small D (Amari 1998; Kakade 2001).
It is the same whatever the weights' units are. F of N completions has at most N T V directions, so damping makes it
invertible: F + damping I. It is found by conjugate gradients (Nocedal and Wright 2006, section 5.1; Martens 2010).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from agents.averaging import average
from agents.divergence import exact_kl
from agents.second_order.weights import flat_gradient
from reward_models.conjugate_gradients import conjugate_gradients
from reward_models.errors import NonFinite

Product = Callable[[Tensor], Tensor]
"""A matrix, as what it makes of a flat vector."""


def kl_to_old(
    old: Float[Tensor, "sequences time vocabulary"],
    new: Float[Tensor, "sequences time vocabulary"],
    mask: Bool[Tensor, "sequences time"],
) -> Float[Tensor, ""]:
    """D = 1/N sum_it KL(old_it || new_it) of log-probabilities, in nats per sequence; the gradient flows to `new`."""
    return average(exact_kl(old.detach(), new), mask, how="per_sequence")


@final
class Fisher:
    """F of distributions that carry their graph; the graph is kept as long as this is."""

    def __init__(
        self,
        distributions: Float[Tensor, "sequences time vocabulary"],
        mask: Bool[Tensor, "sequences time"],
        parameters: Sequence[Tensor],
    ) -> None:
        """Differentiate D once; `distributions` must have a second derivative (see `weights.twice_differentiable`)."""
        self._parameters = parameters
        self._gradient = flat_gradient(kl_to_old(distributions, distributions, mask), parameters, create_graph=True)

    def times(self, vector: Float[Tensor, " width"]) -> Float[Tensor, " width"]:
        """F v."""
        return flat_gradient(self._gradient @ vector, self._parameters)


@dataclass(frozen=True, eq=False)
class NaturalDirection:
    """x near (F + damping I)^-1 g, and what is known about it."""

    direction: Float[Tensor, " width"]
    """x."""
    curvature: float
    """x^T F x: a step of a x moves the policy by a^2 x^T F x / 2 nats, to second order."""
    damped_curvature: float
    """x^T (F + damping I) x."""
    residual: float
    """|g - (F + damping I) x| / |g|, which conjugate gradients left over."""

    def longest(self, max_kl: float) -> float:
        """The multiple a of x with a^2 x^T (F + damping I) x / 2 = max_kl (nats): sqrt(2 max_kl / g^T F^-1 g)."""
        return (2 * max_kl / self.damped_curvature) ** 0.5 if self.damped_curvature > 0 else 0.0

    def predicted_kl(self, multiple: float) -> float:
        """a^2 x^T F x / 2 in nats per completion."""
        return multiple**2 * self.curvature / 2


def natural_direction(
    times: Product, gradient: Float[Tensor, " width"], *, damping: float, iterations: int, tolerance: float
) -> NaturalDirection:
    """Solve (F + damping I) x = g with at most `iterations` products, or until |residual| <= tolerance |g|.

    Raises `NonFinite` if the gradient or the solution is.
    """
    if not bool(gradient.isfinite().all()):
        raise NonFinite("the gradient is NaN or infinite; look at the reward, or go back to earlier weights.")
    one = torch.ones(1, dtype=gradient.dtype, device=gradient.device)
    (direction,) = conjugate_gradients(
        _Damped(times, damping * one), gradient[None], _as_it_is, one, relative=tolerance, products=iterations
    )
    with_fisher = times(direction)
    left = gradient - with_fisher - damping * direction
    curvature, squared = float(direction @ with_fisher), float(direction @ direction)
    size = float(gradient.norm())
    found = NaturalDirection(
        direction=direction,
        curvature=curvature,
        damped_curvature=curvature + damping * squared,
        residual=float(left.norm()) / size if size > 0 else 0.0,
    )
    if not torch.tensor([found.curvature, found.damped_curvature, found.residual]).isfinite().all():
        raise NonFinite("the natural gradient is NaN or infinite; raise the damping, or look at the policy's logits.")
    return found


@dataclass(frozen=True, eq=False)
class _Damped:
    """F + damping I as conjugate gradients read it: one problem."""

    product: Product
    l2: Float[Tensor, " 1"]

    def times(self, vectors: Float[Tensor, "1 width"]) -> Float[Tensor, "1 width"]:
        return self.product(vectors[0])[None] + self.l2[:, None] * vectors

    def of(self, problems: Int[Tensor, " 1"]) -> "_Damped":
        return self


def _as_it_is(vectors: Tensor, shares: Tensor, l2: Tensor) -> Tensor:
    """No preconditioner."""
    return vectors
