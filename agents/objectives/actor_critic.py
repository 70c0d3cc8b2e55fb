"""The advantage actor-critic with generalised advantages and an exact KL penalty: one gradient step per batch.

What it maximises and the gradient stand in policy_gradient.py. The baseline is a learned value V(y_<t) of the state in
which token t is chosen; it aims at E[R_t | y_<t], with R_t the return that token t has a say in:

    A_t = sum_l (g lambda)^l delta_{t+l},    delta_t = (r_t - g beta KL_{t+1}) + g V_{t+1} - V_t.

The KL of the next token is a part of what token t earns; KL_t itself was settled before y_t was drawn, and its gradient
is taken exactly beside the advantages, never estimated. So lambda = 1 is R_t - V_t and has no bias, whatever the critic
believes; a lower lambda trusts the critic in place of what came later, with less variance and with its errors.

Mnih et al. 2016, "Asynchronous methods for deep reinforcement learning"; Schulman et al. 2016 (generalised advantages).
Left out: a coefficient of the value loss (the critic shares no weights with the policy, and AdamW would undo it),
normalised advantages and an entropy bonus, which change what is maximised. A completion cut off at its longest length
counts as ended there.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from agents.advantages import generalised_advantages
from agents.batch import Batch
from agents.learner import Learner, Reading
from agents.objectives.objective import AbstractObjective, UpdateRecord
from agents.objectives.policy_gradient import policy_gradient_loss
from agents.value_function import explained_variance, value_loss
from reward_models.errors import InvalidInput


@final
@dataclass(frozen=True)
class ActorCritic(AbstractObjective):
    """One gradient step per batch for the policy and its critic; needs no second completion of a prompt."""

    gae_lambda: float = 0.95
    """1 believes the returns that were seen, 0 the critic's value of the next state."""

    needs_critic = True

    def __post_init__(self) -> None:
        check_lambda(self.gae_lambda)

    def update(self, learner: Learner, batch: Batch, generator: torch.Generator) -> UpdateRecord:
        """One step; there is nothing to draw."""
        reading = learner.read(batch)
        values = values_of(learner, reading, batch)
        kl = reading.kl.detach()
        advantage = advantages_of(batch, kl, values.detach(), gae_lambda=self.gae_lambda)
        returns = batch.returns(kl)
        error = value_loss(values, returns, batch.mask)
        loss = policy_gradient_loss(reading.chosen, reading.kl, advantage, batch.mask, beta=batch.beta) + error
        return UpdateRecord(
            gradient_norm=learner.descend(loss),
            measures={
                "value_loss": float(error.detach()),
                "explained_variance": explained_variance(values.detach(), returns, batch.mask),
            },
        )


def values_of(learner: Learner, reading: Reading, batch: Batch) -> Float[Tensor, "sequences time"]:
    """The critic's value of every state, with gradient for the critic; `InvalidInput` if the learner has none."""
    if learner.critic is None:
        raise InvalidInput("This objective needs a critic, and the learner has none; build it `with_critic=True`.")
    return batch.everywhere(learner.critic(reading.states))


def advantages_of(
    batch: Batch,
    kl: Float[Tensor, "sequences time"],
    values: Float[Tensor, "sequences time"],
    *,
    gae_lambda: float,
) -> Float[Tensor, "sequences time"]:
    """Generalised advantages of a batch, with this KL and value of each token."""
    rewards = batch.transitions(kl)
    return generalised_advantages(rewards, values, batch.mask, discount=batch.discount, gae_lambda=gae_lambda)


def check_lambda(gae_lambda: float) -> None:
    """`InvalidInput` unless it is from 0 to 1."""
    if not 0 <= gae_lambda <= 1:
        raise InvalidInput(f"gae_lambda must be from 0 to 1, got {gae_lambda}.")
