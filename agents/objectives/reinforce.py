"""REINFORCE with return-to-go and an exact KL penalty: one gradient step per batch, and the plainest of baselines.

What it maximises and the gradient stand in policy_gradient.py. With R_it the return-to-go of token t of completion i
of the N in the batch, whatever their prompts,

    none          A_it = R_it
    batch_mean    A_it = R_it - 1/(N - 1) sum_{j != i} R_jt

The mean over all N, the own return with it, would be (N - 1) / N times this: the reward would count less than the KL,
and the gradient would not be that of J. Leaving the own return out costs nothing. Unlike RLOO this needs no second
completion of a prompt, but the baseline does not know that one prompt is harder than another.

Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning". Left out: a
running mean over steps (an objective has no state), learned baselines (see actor_critic.py).
"""

from dataclasses import dataclass
from typing import Literal, final

import torch

from agents.advantages import others_advantages
from agents.batch import Batch
from agents.learner import Learner
from agents.objectives.objective import AbstractObjective, UpdateRecord
from agents.objectives.policy_gradient import policy_gradient_loss


@final
@dataclass(frozen=True)
class REINFORCE(AbstractObjective):
    """One gradient step per batch, each completion compared with all others of the batch, or with nothing."""

    baseline: Literal["none", "batch_mean"] = "batch_mean"

    def update(self, learner: Learner, batch: Batch, generator: torch.Generator) -> UpdateRecord:
        """One step; there is nothing to draw. `InvalidInput` for a batch of one completion with `batch_mean`."""
        reading = learner.read(batch)
        advantage = batch.returns(reading.kl.detach())
        if self.baseline == "batch_mean":
            advantage = others_advantages(advantage, batch.mask, group=len(advantage))
        loss = policy_gradient_loss(reading.chosen, reading.kl, advantage, batch.mask, beta=batch.beta)
        return UpdateRecord(gradient_norm=learner.descend(loss))
