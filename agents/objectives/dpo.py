"""Direct preference optimisation: the policy itself is fitted as a reward model of pairs of completions.

The optimum pi*(y) = pi_0(y) exp(r(y) / beta) / Z of E[r] - beta KL(pi || pi_0) can be solved for the reward: r(y) =
beta log pi*(y) / pi_0(y) + beta log Z. In a pair the constant cancels, so that the Bradley-Terry probability that the
first is better, sigmoid(r(y1) - r(y2)), can be written with the policy alone. We maximise the log-likelihood

    p log sigmoid(h) + (1 - p) log sigmoid(-h),    h = beta ( log pi(y1) / pi_0(y1)  -  log pi(y2) / pi_0(y2) ),

with p the probability that the first is better. It comes from given pairs, where the batch has them (Rafailov et al.
2023, "Direct Preference Optimization"), or from the reward's own Bradley-Terry model, p = sigmoid(r(y1) - r(y2)), on
pairs of the policy's completions of one prompt (online; Guo et al. 2024, "Direct Language Model Alignment from Online
AI Feedback", who ask a judge instead).

Online the minimiser is exactly pi*: the loss of a pair is smallest where sigmoid(h) = p, that is h = r(y1) - r(y2); a
policy that meets this on all pairs has beta log pi / pi_0 = r + constant, and pi* is the only one. There the gradient
of every single pair is 0, so no sampling noise is left. Which pairs are drawn decides how fast, not where to.

Left out: the reference-free and length-normalised variants, and an extra likelihood term on the better completion. With
hard labels and few pairs the maximum lies at infinity; `label_smoothing` keeps it finite.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from agents.batch import Batch
from agents.learner import Learner
from agents.objectives.objective import AbstractObjective, UpdateRecord
from agents.objectives.whole_completions import check_horizon, of_sequences
from agents.sources import Given
from reward_models.errors import InvalidInput
from reward_models.losses import bradley_terry


@final
@dataclass(frozen=True)
class DPO(AbstractObjective):
    """One gradient step per batch of pairs; `InvalidInput` for a share outside [0, 1)."""

    pairs: Literal["all", "neighbours"] = "all"
    """Online, which completions of a prompt are compared: each with each, or the first with the second, the third with
    the fourth, and so on."""
    label_smoothing: float = 0.0
    """e: labels become (1 - e) p + e / 2 (Mitchell 2023, "A note on DPO with noisy preferences", whose share of turned
    labels is e / 2). It holds h below log (2 - e) / e, and moves the optimum."""
    rater_error: float = 0.0
    """Given pairs only: the share of answers that were a coin's, as in `reward_models.losses.log_preference`. The loss
    is then that of such a rater, so that the optimum is that of the answers without slips."""

    takes: ClassVar[tuple[Given, ...]] = ("rewards", "preferences")
    needs_penalty: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("label_smoothing", "rater_error"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InvalidInput(f"{name} must be at least 0 and below 1, got {getattr(self, name)}.")

    def update(self, learner: Learner, batch: Batch, generator: torch.Generator) -> UpdateRecord:
        """One step; there is nothing to draw."""
        check_horizon(batch, name="DPO")
        pairs = self.pairs_of(batch)
        log_policy = of_sequences(learner.read(batch).chosen, batch.mask)
        log_reference = of_sequences(batch.rollouts.reference.log_probabilities, batch.mask)
        rewards = implicit_reward(log_policy, log_reference, beta=batch.beta)
        loss = self.loss(rewards, pairs, given=batch.preferences is not None)
        norm = learner.descend(loss)
        return UpdateRecord(
            gradient_norm=norm,
            measures={"loss": float(loss.detach()), **measures(rewards.detach(), log_policy.detach(), pairs)},
        )

    def pairs_of(self, batch: Batch) -> "Pairs":
        """The given pairs, or pairs of the batch's own completions; `InvalidInput` if there can be none."""
        if batch.preferences is not None:
            return given_pairs(batch.preferences, group=batch.group)
        return online_pairs(batch.scores, group=batch.group, which=self.pairs)

    def loss(self, rewards: Float[Tensor, " sequences"], pairs: "Pairs", *, given: bool) -> Float[Tensor, ""]:
        """Mean over the pairs, each with the same weight."""
        return dpo_loss(
            rewards[pairs.first],
            rewards[pairs.second],
            (1.0 - self.label_smoothing) * pairs.label + self.label_smoothing / 2.0,
            rater_error=self.rater_error if given else 0.0,
        )


class Pairs(NamedTuple):
    """Which sequences are compared."""

    first: Int[Tensor, " pairs"]
    """Numbers of sequences."""
    second: Int[Tensor, " pairs"]
    label: Float[Tensor, " pairs"]
    """Probability that the first is better."""


def implicit_reward(
    log_policy: Float[Tensor, " sequences"], log_reference: Float[Tensor, " sequences"], *, beta: float
) -> Float[Tensor, " sequences"]:
    """The reward of which the policy is the optimum, up to a constant per prompt: beta log pi(y) / pi_0(y)."""
    return beta * (log_policy - log_reference)


def dpo_loss(
    first: Float[Tensor, " pairs"],
    second: Float[Tensor, " pairs"],
    label: Float[Tensor, " pairs"],
    *,
    rater_error: float = 0.0,
) -> Float[Tensor, ""]:
    """-(1/N) sum_n [ p_n log sigmoid(h_n) + (1 - p_n) log sigmoid(-h_n) ],  h = first - second, in nats per pair.

    `first` and `second` are implicit rewards (`implicit_reward`), with gradient; p is the label. Rafailov et al. 2023,
    equation 7, with a label that may lie between 0 and 1. The gradient is -(p - sigmoid(h)) grad h: 0 where the policy
    already says what the label says. With a rater error e, sigmoid(h) becomes (1 - e) sigmoid(h) + e / 2.
    """
    return bradley_terry(first, second, label, rater_error=rater_error).mean()


def given_pairs(preferences: Float[Tensor, " pairs"], *, group: int) -> Pairs:
    """Sequences 2 n and 2 n + 1 with the label of pair n; `InvalidInput` unless the group is 2."""
    if group != 2:
        raise InvalidInput(f"Given pairs stand in groups of 2, got a group of {group}; use the source `Comparisons`.")
    first = 2 * torch.arange(len(preferences), device=preferences.device)
    return Pairs(first=first, second=first + 1, label=preferences)


def online_pairs(
    scores: Float[Tensor, " sequences"], *, group: int, which: Literal["all", "neighbours"] = "all"
) -> Pairs:
    """Pairs within each group with p = sigmoid(r1 - r2), r the scores; `InvalidInput` for groups of one.

    "all" gives G (G - 1) / 2 pairs a group; "neighbours" floor(G / 2) pairs that share no completion.
    """
    if group < 2:
        raise InvalidInput(f"Pairs need at least 2 completions per prompt, got {group}; raise `group`.")
    if which == "all":
        one, other = torch.triu_indices(group, group, offset=1)
    else:
        one = torch.arange(0, group - 1, 2)
        other = one + 1
    begin = torch.arange(0, len(scores), group)[:, None]
    first = (begin + one).flatten().to(scores.device)
    second = (begin + other).flatten().to(scores.device)
    return Pairs(first=first, second=second, label=torch.sigmoid(scores[first] - scores[second]))


def measures(
    rewards: Float[Tensor, " sequences"], log_policy: Float[Tensor, " sequences"], pairs: Pairs
) -> dict[str, float]:
    """The figures of the field, before the step; `rewards` are implicit. Docs: `docs/objectives/dpo.md`."""
    first_leads = pairs.label >= 0.5
    chosen = torch.where(first_leads, pairs.first, pairs.second)
    rejected = torch.where(first_leads, pairs.second, pairs.first)
    lead = rewards[pairs.first] - rewards[pairs.second]
    # 1 where both lean to one side, 0 where to different ones, 1/2 where either leans to none.
    agreement = 0.5 + 0.5 * lead.sign() * (pairs.label - 0.5).sign()
    return {
        "rewards/chosen": float(rewards[chosen].mean()),
        "rewards/rejected": float(rewards[rejected].mean()),
        "rewards/margins": float((rewards[chosen] - rewards[rejected]).mean()),
        "rewards/accuracies": float(agreement.mean()),
        "logps/chosen": float(log_policy[chosen].mean()),
        "logps/rejected": float(log_policy[rejected].mean()),
    }
