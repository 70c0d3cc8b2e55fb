"""What is known around the present weights: the gradient of the objective, and the Fisher information of the policy.

Two divergences stand here that must not be taken for each other: KL(pi || pi_0) to the *reference*, which beta prices
and which is part of what is maximised, and KL(pi_old || pi) to the *previous* policy, which only bounds a step.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from agents.advantages import others_advantages
from agents.averaging import average
from agents.batch import Batch
from agents.learner import Learner, Reading
from agents.objectives.policy_gradient import policy_gradient_loss
from agents.second_order.fisher import Fisher, NaturalDirection, kl_to_old, natural_direction
from agents.second_order.weights import flat_gradient, set_weights, weights_of
from reward_models.errors import InvalidInput, NonFinite


@dataclass(frozen=True)
class Solver:
    """How the natural gradient is found; `InvalidInput` if a value cannot be used."""

    damping: float
    """Added to the diagonal of the Fisher information, positive."""
    iterations: int
    """Products with it at most."""
    tolerance: float
    """Share of the gradient that may be left over."""

    def __post_init__(self) -> None:
        if not (self.damping > 0 and self.iterations >= 1 and self.tolerance >= 0):
            raise InvalidInput(
                "damping must be positive, iterations at least 1 and tolerance not negative, got "
                f"{self.damping}, {self.iterations} and {self.tolerance}."
            )


@dataclass(frozen=True, eq=False)
class LocalModel:
    """The penalised objective J and the KL to the present policy, around the present weights."""

    batch: Batch
    """The completions, drawn from the present policy."""
    weights: Float[Tensor, " width"]
    """The present ones."""
    reading: Reading
    """What the present policy says of the completions, without gradient."""
    advantage: Float[Tensor, "sequences time"]
    """As in RLOO: the return of each token minus that of the other completions of its prompt."""
    gradient: Float[Tensor, " width"]
    """An estimate of grad J."""
    natural: NaturalDirection
    """The natural gradient."""

    @torch.no_grad()
    def after(self, learner: Learner, multiple: float) -> Reading:
        """Take a step of this multiple of the natural gradient from `weights`, and read the completions again."""
        set_weights(learner, self.weights + multiple * self.natural.direction)
        return learner.read(self.batch)

    def kl(self, learner: Learner, reading: Reading) -> float:
        """KL(present || that of the reading) in nats per completion."""
        own = kl_to_old(self.reading.distributions, reading.distributions, self.batch.held_mask)
        return float(learner.processes.total(_share_held(self.batch) * own))

    def gain(self, reading: Reading) -> float:
        """What `surrogate_gain` says of the policy of the reading."""
        return float(
            surrogate_gain(
                reading.chosen - self.reading.chosen,
                reading.kl - self.reading.kl,
                self.advantage,
                self.batch.mask,
                beta=self.batch.beta,
            )
        )


def local_model(learner: Learner, batch: Batch, solver: Solver) -> LocalModel:
    """Read the batch with second derivatives; call inside `weights.twice_differentiable`.

    Raises `NonFinite` if the loss, its gradient or the natural gradient is, `InvalidInput` for groups of one.
    """
    reading = learner.read(batch)
    advantage = others_advantages(batch.returns(reading.kl.detach()), batch.mask, group=batch.group)
    loss = policy_gradient_loss(reading.chosen, reading.kl, advantage, batch.mask, beta=batch.beta)
    if not bool(loss.isfinite()):
        raise NonFinite(f"the loss is {loss.item()}; look at the reward, or go back to earlier weights.")
    total, share = learner.processes.total, _share_held(batch)
    gradient = -total(flat_gradient(loss, learner.parameters))
    fisher = Fisher(reading.distributions, batch.held_mask, learner.parameters)
    natural = natural_direction(
        lambda vector: total(share * fisher.times(vector)),
        gradient,
        damping=solver.damping,
        iterations=solver.iterations,
        tolerance=solver.tolerance,
    )
    return LocalModel(
        batch=batch,
        weights=weights_of(learner),
        reading=Reading(*(tensor.detach() for tensor in reading)),
        advantage=advantage,
        gradient=gradient,
        natural=natural,
    )


def _share_held(batch: Batch) -> float:
    """The part of the completions that this process holds: means over its own are weighed by it, and added up."""
    return len(batch.held_mask) / len(batch.mask)


def surrogate_gain(
    log_ratio: Float[Tensor, "sequences time"],
    kl_change: Float[Tensor, "sequences time"],
    advantage: Float[Tensor, "sequences time"],
    mask: Bool[Tensor, "sequences time"],
    *,
    beta: float,
) -> Float[Tensor, ""]:
    """L(pi) - L(pi_old) = 1/N sum_it [ (rho_it - 1) A_it - beta (KL_it(pi) - KL_it(pi_old)) ], rho = pi / pi_old.

    `log_ratio` is log rho of the drawn tokens, `kl_change` that of the exact KL(pi || pi_0) of each token in nats. At
    pi_old its gradient is that of -`policy_gradient_loss`, an estimate of grad J; farther away it leaves out that
    another policy reaches other prefixes, which a trust region keeps small (Schulman et al. 2015, equation 3).
    """
    return average(torch.expm1(log_ratio) * advantage - beta * kl_change, mask, how="per_sequence")
