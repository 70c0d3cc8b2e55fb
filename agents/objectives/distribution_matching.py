"""Distribution matching: the policy is fitted to the posterior, without maximising a reward.

Regularised reward maximisation has the optimum pi*(y) = pi_0(y) exp(r(y) / beta) / Z. Its gradient descends
KL(pi || pi*); here the other KL is descended, with completions y drawn from a sampler q and weighed:

    minimise KL(pi* || pi) = E_{y ~ pi*}[ log pi*(y) - log pi(y) ],
    grad KL(pi* || pi) = -E_{y ~ q}[ (pi*(y) / q(y)) grad log pi(y) ].

Khalifa, Elsahar & Dymetman 2021, "A Distributional Approach to Controlled Text Generation" (distributional policy
gradient); Korbak, Perez & Buckley 2022 on what it shares with regularised RL; Korbak et al. 2022, "On Reinforcement
Learning and Distribution Matching for Fine-Tuning Language Models with no Catastrophic Forgetting", for the baseline.

Z is not known. The weights of the G completions of a prompt are normalised among themselves, and so are those that the
policy would have, which is the baseline: with u_i = log pi_0(y_i) + r(y_i) / beta - log q(y_i),

    w = softmax_i( u_i ),    v = softmax_i( log pi(y_i) - log q(y_i) ),    loss = sum_i w_i log( w_i / v_i ),
    -grad loss = sum_i (w_i - v_i) grad log pi(y_i).

So the loss is the forward KL itself, both distributions seen through the group. E_q[(pi / q) grad log pi] = 0 makes the
second sum a baseline. Normalising within the group is biased, of order 1 / G: weights above G times the mean cannot be
seen, so that steps towards a far posterior are too short. The bias does not move the fixed point: at pi = pi* it holds
that w = v in every group, whatever its size and the sampler, and no noise is left.

The sampler is the policy itself, which makes v = 1 / G. With the reference as the sampler the weights would be those
of exp(r / beta) for ever: the share of the group that counts stays as small as it is at the start, and shrinks
exponentially with KL(pi* || pi_0). With the policy it grows to the whole group as training goes. Left out: an
off-policy sampler that is replaced only when a better one was measured (Khalifa et al.), since there is one step per
batch.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from agents.batch import Batch
from agents.learner import Learner
from agents.objectives.objective import AbstractObjective, UpdateRecord
from agents.objectives.whole_completions import check_horizon, of_sequences
from reward_models.errors import InvalidInput


@final
@dataclass(frozen=True)
class DistributionMatching(AbstractObjective):
    """One gradient step per batch down the forward KL to the posterior. It has no settings."""

    needs_penalty: ClassVar[bool] = True

    def update(self, learner: Learner, batch: Batch, generator: torch.Generator) -> UpdateRecord:
        """One step; there is nothing to draw."""
        check_horizon(batch, name="DistributionMatching")
        sampler = of_sequences(batch.rollouts.samples.log_probabilities, batch.mask)
        reference = of_sequences(batch.rollouts.reference.log_probabilities, batch.mask)
        weights = posterior_weights(reference, sampler, batch.scores, group=batch.group, beta=batch.beta)
        policy = of_sequences(learner.read(batch).chosen, batch.mask)
        loss = forward_kl_loss(policy, sampler, weights.log_weights)
        norm = learner.descend(loss)
        return UpdateRecord(
            gradient_norm=norm,
            measures={
                "forward_kl": float(loss.detach()),
                "effective_samples": float(effective_samples(weights.log_weights).mean()),
                "log_normaliser": float(weights.log_normaliser.mean()),
            },
        )


class PosteriorWeights(NamedTuple):
    """What the completions of each prompt count."""

    log_weights: Float[Tensor, "prompts group"]
    """log w, of sum 1 in each group."""
    log_normaliser: Float[Tensor, " prompts"]
    """log of the estimate of Z = E_{y ~ pi_0}[ exp(r / beta) ]: the estimate itself is unbiased, its log too low."""


def posterior_weights(
    log_reference: Float[Tensor, " sequences"],
    log_sampler: Float[Tensor, " sequences"],
    rewards: Float[Tensor, " sequences"],
    *,
    group: int,
    beta: float,
) -> PosteriorWeights:
    """w_i = u_i / sum_j u_j over the group, u = pi_0(y) exp(r(y) / beta) / q(y); Z is estimated by the mean of u.

    Arguments are log-probabilities of whole completions (nats) and their rewards. `InvalidInput` for groups of one, in
    which any weight is 1.
    """
    if group < 2:
        raise InvalidInput(f"Weights need at least 2 completions per prompt to be shared among, got {group}.")
    log_ratio = (log_reference - log_sampler + rewards / beta).view(-1, group)
    mean = torch.logsumexp(log_ratio, dim=1) - torch.log(torch.tensor(float(group)))
    return PosteriorWeights(log_weights=torch.log_softmax(log_ratio, dim=1), log_normaliser=mean)


def forward_kl_loss(
    log_policy: Float[Tensor, " sequences"],
    log_sampler: Float[Tensor, " sequences"],
    log_weights: Float[Tensor, "prompts group"],
) -> Float[Tensor, ""]:
    """(1/P) sum_p sum_i w_i (log w_i - log v_i) with v = softmax over the group of log pi(y_i) - log q(y_i), in nats.

    `log_policy` carries the gradient, which is -sum_i (w_i - v_i) grad log pi(y_i). With pi for q it estimates
    KL(pi* || pi), and cannot exceed log G.
    """
    seen = torch.log_softmax((log_policy - log_sampler).view_as(log_weights), dim=1)
    return (log_weights.exp() * (log_weights - seen)).sum(dim=1).mean()


def effective_samples(log_weights: Float[Tensor, "prompts group"]) -> Float[Tensor, " prompts"]:
    """1 / sum_i w_i^2: how many equally weighted completions would be as good, from 1 to G (Kish 1965)."""
    return (-torch.logsumexp(2.0 * log_weights, dim=1)).exp()
