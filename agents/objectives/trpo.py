"""Trust region policy optimisation: a natural step as long as the trust region allows, taken if it holds its promise.

We maximise the penalised objective of RLOO, J = E_{y ~ pi}[ r(y) ] - beta KL(pi || pi_0), by steps that solve

    maximise    L(pi) = 1/N sum_it [ rho_it A_it - beta KL_it(pi) ],    rho_it = pi(y_it | y_i,<t) / pi_old(the same)
    subject to  1/N sum_it KL(pi_old(. | y_i,<t) || pi(. | y_i,<t)) <= max_kl

roughly: x = (F + damping I)^-1 grad L (second_order/fisher.py) is scaled to a predicted KL of max_kl, then shortened
until L itself improves and KL itself, measured, is at most max_kl. A is the advantage of RLOO, KL_it the exact
KL(pi || pi_0) of a token. The trust region is to the *previous* policy; beta prices KL to the *reference*.

Schulman, Levine, Moritz, Jordan & Abbeel 2015, "Trust region policy optimization". Left out: a critic (the baseline is
the other completions), states drawn by another policy than the last one, an optimiser with moments, and clipping of the
gradient; the learning rate of the training is not used.
"""

from dataclasses import dataclass
from typing import final

import torch

from agents.batch import Batch
from agents.learner import Learner
from agents.objectives.objective import AbstractObjective, UpdateRecord
from agents.second_order.line_search import Accepted, Trial, backtrack
from agents.second_order.local_model import LocalModel, Solver, local_model
from agents.second_order.weights import set_weights, twice_differentiable
from reward_models.errors import InvalidInput


@final
@dataclass(frozen=True)
class TRPO(AbstractObjective):
    """One step with a line search per batch; `InvalidInput` if a setting cannot be used."""

    max_kl: float = 0.02
    """Trust region: nats of KL(previous policy || policy) per completion, measured at the drawn prefixes."""
    damping: float = 1e-3
    """Added to the diagonal of the Fisher information."""
    iterations: int = 10
    """Products with the Fisher information for one step at most, each at the price of about two gradients."""
    tolerance: float = 0.1
    """Conjugate gradients end once this share of the gradient is left over."""
    shrink: float = 0.5
    """Each trial of the line search is this part of the one before."""
    trials: int = 10
    """Trials at most, each at the price of a pass without gradient; after the last one there is no step."""

    def __post_init__(self) -> None:
        if not (self.max_kl > 0 and 0 < self.shrink < 1 and self.trials >= 1):
            raise InvalidInput(
                "max_kl must be positive, shrink between 0 and 1 and trials at least 1, got "
                f"{self.max_kl}, {self.shrink} and {self.trials}."
            )
        Solver(damping=self.damping, iterations=self.iterations, tolerance=self.tolerance)

    def update(self, learner: Learner, batch: Batch, generator: torch.Generator) -> UpdateRecord:
        """One step or none; there is nothing to draw."""
        solver = Solver(damping=self.damping, iterations=self.iterations, tolerance=self.tolerance)
        with twice_differentiable(learner):
            model = local_model(learner, batch, solver)
            accepted = self._search(learner, model)
        taken = Accepted(0.0, Trial(0.0, 0.0)) if accepted is None else accepted
        multiple = taken.share * model.natural.longest(self.max_kl)
        measures = {
            "kl_predicted": model.natural.predicted_kl(multiple),
            "kl_measured": taken.trial.kl,
            "step_length": multiple * float(model.natural.direction.norm()),
            "accepted_share": taken.share,
            "surrogate_gain": taken.trial.gain,
            "residual": model.natural.residual,
        }
        return UpdateRecord(gradient_norm=float(model.gradient.norm()), measures=measures)

    def _search(self, learner: Learner, model: LocalModel) -> Accepted | None:
        """Leave the learner with the accepted weights, or with those it had."""
        longest = model.natural.longest(self.max_kl)

        def attempt(share: float) -> Trial:
            reading = model.after(learner, share * longest)
            return Trial(gain=model.gain(reading), kl=model.kl(learner, reading))

        accepted = None
        try:
            accepted = backtrack(attempt, max_kl=self.max_kl, shrink=self.shrink, trials=self.trials)
        finally:
            if accepted is None:
                set_weights(learner, model.weights)
        return accepted
