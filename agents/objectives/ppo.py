"""Proximal policy optimisation: an actor-critic that learns several times from one batch, clipped to the policy before.

Each step maximises, with rho_t = pi / pi_previous of the sampled token and A_t as in actor_critic.py,

    1/N sum_i sum_t [ min(rho_t A_t, clip(rho_t, 1 - e, 1 + e) A_t) - beta KL_t ]  -  mean_t (V_t - R_t)^2 / 2.

Advantages and the targets of the critic are made once, before the first step, from the values of that time. KL_t, to
the reference, is exact and has its gradient at the present weights; the KL of later tokens is a part of A_t. The clip
is about the previous policy and is explained in clipped.py.

Schulman et al. 2017; for language models Ziegler et al. 2019, Ouyang et al. 2022. Left out: normalised advantages (they
divide the reward by a moving number, so the price of a nat would be another one in each batch; see grpo.py), clipping
of the value, an entropy bonus, KL as a sampled log-ratio in the reward.
"""

from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from agents.batch import Batch
from agents.learner import Learner, Reading
from agents.objectives.actor_critic import advantages_of, check_lambda, values_of
from agents.objectives.clipped import check_passes, clipped_loss, log_ratio_of, several_passes
from agents.objectives.objective import AbstractObjective, UpdateRecord
from agents.value_function import explained_variance, value_loss
from reward_models.errors import InvalidInput


@final
@dataclass(frozen=True)
class PPO(AbstractObjective):
    """`epochs` times `minibatches` steps per batch, for the policy and its critic; `InvalidInput` on unusable values.

    Minibatches are made of whole prompts, so there can be no more of them than prompts in a step.
    """

    epochs: int = 4
    """Passes over each batch."""
    minibatches: int = 1
    """Parts of a pass, one step each."""
    clip: float = 0.2
    """How far the ratio of a token may move from 1 before its advantage has no more say."""
    gae_lambda: float = 0.95
    """1 believes the returns that were seen, 0 the critic's value of the next state."""
    kl_stop: float | None = None
    """No more steps on a batch once KL(previous || policy) is above this, in nats a completion."""

    needs_critic = True

    def __post_init__(self) -> None:
        check_passes(epochs=self.epochs, minibatches=self.minibatches, clip=self.clip)
        check_lambda(self.gae_lambda)
        if self.kl_stop is not None and not self.kl_stop > 0:
            raise InvalidInput(f"kl_stop must be above 0 nats, or None for no stop; got {self.kl_stop}.")

    def update(self, learner: Learner, batch: Batch, generator: torch.Generator) -> UpdateRecord:
        """Judge the batch once, then learn from it in several passes; `generator` divides it into minibatches."""
        first, values = self._judge(learner, batch)
        kl = batch.rollouts.kl
        advantage = advantages_of(batch, kl, values, gae_lambda=self.gae_lambda)
        returns = batch.returns(kl)

        def loss(reading: Reading, part: Batch, rows: Int[Tensor, " rows"]) -> Float[Tensor, ""]:
            log_ratio = log_ratio_of(reading, part)
            policy_loss = clipped_loss(
                log_ratio,
                reading.kl,
                advantage[rows],
                part.mask,
                clip=self.clip,
                beta=part.beta,
                averaging="per_sequence",
            )
            return policy_loss + value_loss(values_of(learner, reading, part), returns[rows], part.mask)

        record = several_passes(
            learner,
            batch,
            loss,
            generator,
            epochs=self.epochs,
            minibatches=self.minibatches,
            clip=self.clip,
            kl_stop=self.kl_stop,
            first=first,
        )
        critic = {
            "value_loss": float(value_loss(values, returns, batch.mask)),
            "explained_variance": explained_variance(values, returns, batch.mask),
        }
        return replace(record, measures={**record.measures, **critic})

    def _judge(self, learner: Learner, batch: Batch) -> tuple[list[Reading], Float[Tensor, "sequences time"]]:
        """The value of every state before the first step; with the reading, where that is the first step's as well."""
        whole = self.minibatches == 1
        with torch.set_grad_enabled(whole):
            reading = learner.read(batch)
        return [reading] if whole else [], values_of(learner, reading, batch).detach()
