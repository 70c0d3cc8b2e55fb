"""REINFORCE leave-one-out with an exact KL penalty, strictly on-policy: one gradient step per batch.

What it maximises and the gradient stand in policy_gradient.py. The baseline b_t is the mean of the same return-to-go
over the other completions of the prompt, which do not depend on y:

    A_it = R_it - 1/(G - 1) sum_{j != i} R_jt        (a completion that has ended keeps the return of its last token)

Leave-one-out: Kool, van Hoof & Welling 2019, "Buy 4 REINFORCE samples, get a baseline for free!"; for language models
Ahmadian et al. 2024, "Back to Basics". Left out: importance ratios, clipping, and division by length or by the group's
standard deviation, all of which change what is maximised.
"""

from dataclasses import dataclass
from typing import final

import torch

from agents.advantages import others_advantages
from agents.batch import Batch
from agents.learner import Learner
from agents.objectives.objective import AbstractObjective, UpdateRecord
from agents.objectives.policy_gradient import policy_gradient_loss


@final
@dataclass(frozen=True)
class RLOO(AbstractObjective):
    """One gradient step per batch, each completion compared with the others of its prompt."""

    def update(self, learner: Learner, batch: Batch, generator: torch.Generator) -> UpdateRecord:
        """One step; there is nothing to draw. `InvalidInput` if prompts have one completion each."""
        reading = learner.read(batch)
        advantage = others_advantages(batch.returns(reading.kl.detach()), batch.mask, group=batch.group)
        loss = policy_gradient_loss(reading.chosen, reading.kl, advantage, batch.mask, beta=batch.beta)
        return UpdateRecord(gradient_norm=learner.descend(loss))
