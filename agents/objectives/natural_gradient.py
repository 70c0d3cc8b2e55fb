"""The natural gradient: steps of a given length in KL to the previous policy, whatever the units of the weights are.

We maximise the penalised objective of RLOO, J = E_{y ~ pi}[ r(y) ] - beta KL(pi || pi_0), with the same estimate g of
its gradient (policy_gradient.py). What differs is the step:

    w <- w + a x,    x = (F + damping I)^-1 g,    a = min( step / beta,  sqrt(2 max_kl / (x^T (F + damping I) x)) )

with F the Fisher information of the policy at the drawn prefixes (second_order/fisher.py) and max_kl the predicted
KL(pi_old || pi) of whole completions. That trust region is to the *previous* policy; beta prices KL to the *reference*.

Why step / beta: J(pi) = beta log Z - beta KL(pi || pi*), so near its optimum pi* the second derivative of J is -beta F,
and x / beta is the Newton step. Without that bound the steps would never get shorter than max_kl, and noise would be
blown up to it. With beta = 0 there is no such bound, as there is no inner optimum.

Kakade 2001, "A natural policy gradient"; Amari 1998. Left out: the line search (trpo.py), an optimiser with moments,
and clipping of the gradient; the learning rate of the training is not used.
"""

from dataclasses import dataclass
from typing import final

import torch

from agents.batch import Batch
from agents.learner import Learner
from agents.objectives.objective import AbstractObjective, UpdateRecord
from agents.second_order.local_model import Solver, local_model
from agents.second_order.weights import set_weights, twice_differentiable
from reward_models.errors import InvalidInput, NonFinite


@final
@dataclass(frozen=True)
class NaturalGradient(AbstractObjective):
    """One natural step per batch; `InvalidInput` if a setting cannot be used."""

    max_kl: float = 0.02
    """Longest step, in nats of KL(previous policy || policy) per completion, to second order."""
    step: float = 0.2
    """Longest step as a share of the Newton step x / beta; 1 believes each batch fully."""
    damping: float = 1e-3
    """Added to the diagonal of the Fisher information."""
    iterations: int = 10
    """Products with the Fisher information for one step at most, each at the price of about two gradients."""
    tolerance: float = 0.1
    """Conjugate gradients end once this share of the gradient is left over."""

    def __post_init__(self) -> None:
        if not (self.max_kl > 0 and self.step > 0):
            raise InvalidInput(f"max_kl and step must be positive, got {self.max_kl} and {self.step}.")
        Solver(damping=self.damping, iterations=self.iterations, tolerance=self.tolerance)

    def update(self, learner: Learner, batch: Batch, generator: torch.Generator) -> UpdateRecord:
        """One step; there is nothing to draw."""
        solver = Solver(damping=self.damping, iterations=self.iterations, tolerance=self.tolerance)
        with twice_differentiable(learner):
            model = local_model(learner, batch, solver)
            multiple = self.multiple(model.natural.longest(self.max_kl), batch.beta)
            kl = model.kl(learner, model.after(learner, multiple))
        if not torch.tensor(kl).isfinite():
            set_weights(learner, model.weights)
            raise NonFinite(f"after the step its KL to the previous policy is {kl}; lower max_kl or raise the damping.")
        measures = {
            "kl_predicted": model.natural.predicted_kl(multiple),
            "kl_measured": kl,
            "step_length": multiple * float(model.natural.direction.norm()),
            "newton_share": multiple * batch.beta,
            "residual": model.natural.residual,
        }
        return UpdateRecord(gradient_norm=float(model.gradient.norm()), measures=measures)

    def multiple(self, longest: float, beta: float) -> float:
        """a: the multiple of the natural gradient, given the one whose predicted KL is max_kl."""
        return longest if beta == 0 else min(self.step / beta, longest)
