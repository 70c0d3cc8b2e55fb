"""REINFORCE leave-one-out with an exact KL penalty, strictly on-policy: one gradient step per batch.

We maximise, over completions y = y_1 .. y_T of a prompt,

    J = E_{y ~ pi}[ r(y) - beta sum_t KL_t ],    KL_t = KL(pi(. | y_<t) || pi_0(. | y_<t)), summed over the vocabulary.

KL_t is a function of the prefix y_<t and of the weights, so that

    grad J = E[ sum_t grad log pi(y_t | y_<t) (r - beta sum_{s > t} KL_s - b_t)  -  beta sum_t grad KL_t ].

Token y_t has no say in KL_s for s <= t; leaving those out of its return is exact and lowers the variance. The baseline
b_t is the mean of the same return-to-go over the other completions of the prompt, which do not depend on y.

Leave-one-out: Kool, van Hoof & Welling 2019, "Buy 4 REINFORCE samples, get a baseline for free!"; for language models
Ahmadian et al. 2024, "Back to Basics". Left out: importance ratios, clipping, and division by length or by the group's
standard deviation, all of which change what is maximised.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from agents.averaging import average
from agents.batch import Batch
from agents.learner import Learner
from agents.objectives.objective import AbstractObjective, UpdateRecord
from reward_models.errors import InvalidInput


@final
@dataclass(frozen=True)
class RLOO(AbstractObjective):
    """One gradient step per batch, each completion compared with the others of its prompt."""

    def update(self, learner: Learner, batch: Batch, generator: torch.Generator) -> UpdateRecord:
        """One step; there is nothing to draw."""
        reading = learner.read(batch)
        advantage = advantages(batch.returns(reading.kl.detach()), batch.mask, group=batch.group)
        loss = policy_gradient_loss(reading.chosen, reading.kl, advantage, batch.mask, beta=batch.beta)
        return UpdateRecord(gradient_norm=learner.descend(loss))


def leave_one_out(returns: Float[Tensor, "prompts group *rest"]) -> Float[Tensor, "prompts group *rest"]:
    """Each return minus the mean of the others of its group; `InvalidInput` for groups of one."""
    group = returns.shape[1]
    if group < 2:
        raise InvalidInput(f"Leave-one-out needs at least 2 completions per prompt, got {group}; raise `group`.")
    # r_i - (S - r_i) / (G - 1) = (r_i - S / G) G / (G - 1), with S the sum of the group.
    return (returns - returns.mean(dim=1, keepdim=True)) * (group / (group - 1))


def advantages(
    returns: Float[Tensor, "sequences time"], mask: Bool[Tensor, "sequences time"], *, group: int
) -> Float[Tensor, "sequences time"]:
    """Return-to-go minus that of the other completions of the prompt at the same time; 0 where the mask is False."""
    grouped = returns.view(-1, group, returns.shape[1])
    return leave_one_out(grouped).view_as(returns) * mask


def policy_gradient_loss(
    log_probabilities: Float[Tensor, "sequences time"],
    kl: Float[Tensor, "sequences time"],
    advantage: Float[Tensor, "sequences time"],
    mask: Bool[Tensor, "sequences time"],
    *,
    beta: float,
) -> Float[Tensor, ""]:
    """-(1/N) sum_i sum_t [ A_it log pi(y_it) - beta KL_it ] over N sequences; its expected gradient is -grad J.

    `log_probabilities` (of the sampled tokens) and `kl` (exact, KL(policy || reference), nats) carry the gradient;
    the advantages A do not. The value itself is not -J and is only there to be differentiated.
    """
    return average(beta * kl - advantage.detach() * log_probabilities, mask, how="per_sequence")
