"""Group relative policy optimisation: the clipped surrogate, with advantages in units of the group's own spread.

Each step maximises, with rho_it = pi / pi_previous of the sampled token,

    average over i, t of  min(rho_it A_it, clip(rho_it, 1 - e, 1 + e) A_it) - beta penalty_it,
    A_it = (R_it - mean_j R_jt) / std_j r_j,

where R is the return-to-go of the reward within the group of a prompt: for a reward of whole completions, r_i at every
token. Where it ends, with large groups and one pass (w_i = 1/T_i for `sequence_mean`, else a constant): at the policy
with, at every prefix s of t - 1 tokens,

    pi(v | s) ~ pi_0(v | s) exp( E[w A_t | s, v] / (beta E[w | s]) ),

both expectations under pi itself. For w = 1 and the exact KL that is pi(y) ~ pi_0(y) exp(r(y) / (beta sigma)), with
sigma the standard deviation of r under pi: not the posterior of beta, but that of beta sigma. The spread shrinks as the
policy settles and the price of a nat with it, so a policy ends further from the reference than beta says where rewards
vary little, and nearer where they vary much. `scale="none"` with `per_sequence` is Dr. GRPO (Liu et al. 2025), compares
with the others of the group only, and ends at the posterior as RLOO does.

The penalty: `exact` is KL(policy || reference) of each token's distribution with its whole gradient, which means that
the KL of later tokens counts in A (unscaled), as in policy_gradient.py. `k3` is the published term, the estimate
(q/p - 1) + log p/q of the sampled token, differentiated as it stands and in no return. As a number its mean is
KL(pi || pi_0), but its mean gradient is that of KL(pi_0 || pi) at the prefixes that the policy visits, another
regularizer: for w = 1 it ends at pi(v | s) = beta pi_0(v | s) / (beta + E[A_t | s] - E[A_t | s, v]).

Shao et al. 2024, "DeepSeekMath", section 4.1. Left out: rewards of steps normalised by themselves, updates of the
reference.
"""

from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from agents.advantages import others_advantages, scaled_advantages
from agents.averaging import Averaging
from agents.batch import Batch
from agents.divergence import k3
from agents.learner import Learner, Reading
from agents.objectives.clipped import check_passes, clipped_loss, log_ratio_of, several_passes
from agents.objectives.objective import AbstractObjective, UpdateRecord


@final
@dataclass(frozen=True)
class GRPO(AbstractObjective):
    """`epochs` times `minibatches` steps per batch, without a critic; `InvalidInput` on unusable values.

    Minibatches are made of whole prompts, so there can be no more of them than prompts in a step.
    """

    epochs: int = 1
    """Passes over each batch; the clip has no effect on the first step."""
    minibatches: int = 1
    """Parts of a pass, one step each."""
    clip: float = 0.2
    """How far the ratio of a token may move from 1 before its advantage has no more say."""
    scale: Literal["group", "none"] = "group"
    """Whether advantages are divided by the standard deviation of the group's rewards."""
    averaging: Averaging = "sequence_mean"
    """How tokens and completions weigh in the loss."""
    kl: Literal["exact", "k3"] = "exact"
    """The penalty and its gradient."""

    def __post_init__(self) -> None:
        check_passes(epochs=self.epochs, minibatches=self.minibatches, clip=self.clip)

    def update(self, learner: Learner, batch: Batch, generator: torch.Generator) -> UpdateRecord:
        """Compare within the groups once, then learn in several passes; `generator` divides it into minibatches."""
        advantage = self.advantages(batch)

        def loss(reading: Reading, part: Batch, rows: Int[Tensor, " rows"]) -> Float[Tensor, ""]:
            return clipped_loss(
                log_ratio_of(reading, part),
                self._penalty(reading, part),
                advantage[rows],
                part.mask,
                clip=self.clip,
                beta=part.beta,
                averaging=self.averaging,
            )

        return several_passes(
            learner, batch, loss, generator, epochs=self.epochs, minibatches=self.minibatches, clip=self.clip
        )

    def advantages(self, batch: Batch) -> Float[Tensor, "sequences time"]:
        """Of the reward in units of the group's spread (or of reward), and of the later KL in units of reward."""
        kl = batch.rollouts.kl
        none = torch.zeros_like(kl)
        later = batch.returns(kl) - batch.returns(none) if self.kl == "exact" else none
        if self.scale == "none":
            return others_advantages(batch.returns(none) + later, batch.mask, group=batch.group)
        of_reward = scaled_advantages(batch.returns(none), batch.scores, batch.mask, group=batch.group)
        return of_reward + others_advantages(later, batch.mask, group=batch.group)

    def _penalty(self, reading: Reading, part: Batch) -> Float[Tensor, "sequences time"]:
        if self.kl == "exact":
            return reading.kl
        difference = reading.chosen - part.rollouts.reference.log_probabilities
        return k3(torch.where(part.mask, difference, torch.zeros_like(difference)))
