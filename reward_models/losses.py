"""Preference losses, each a pure function of scores and labels.

Higher score is better, label 1 means the first is better. Losses are per comparison and to be minimised; the caller
weighs and averages, with `weighted_mean` if it likes. Leading axes of the scores (members, say) are kept.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from reward_models.errors import InvalidInput


class Targets(NamedTuple):
    """What the losses need of answers."""

    labels: Float[Tensor, " comparisons"]
    """1 first, 0 second, 0.5 otherwise."""
    weights: Float[Tensor, " comparisons"]
    """0 where the answer carries no label, so that no loss sees it."""
    tied: Float[Tensor, " comparisons"]
    """1 where neither was better: a tie, or both bad."""
    both_bad: Float[Tensor, " comparisons"]
    """1 where both were bad."""


_TARGETS: Mapping[str, tuple[float, float, float, float]] = MappingProxyType(
    {
        "first": (1.0, 1.0, 0.0, 0.0),
        "second": (0.0, 1.0, 0.0, 0.0),
        "tie": (0.5, 1.0, 1.0, 0.0),
        "both_bad": (0.5, 1.0, 1.0, 1.0),
        "cannot_tell": (0.5, 0.0, 0.0, 0.0),
        "skip": (0.5, 0.0, 0.0, 0.0),
    }
)


def targets(answers: Sequence[str]) -> Targets:
    """Answers of raters as targets: `first`, `second`, `tie`, `both_bad`, and without a label `cannot_tell` and `skip`.

    Raises InvalidInput for any other answer.
    """
    unknown = sorted({answer for answer in answers if answer not in _TARGETS})
    if unknown:
        raise InvalidInput(f"answers {unknown} are not known; give {', '.join(_TARGETS)}")
    rows = torch.tensor([_TARGETS[answer] for answer in answers], dtype=torch.float64).reshape(-1, 4)
    labels, weights, tied, both_bad = rows.unbind(dim=1)
    return Targets(labels=labels, weights=weights, tied=tied, both_bad=both_bad)


def log_preference(
    difference: Float[Tensor, "*members comparisons"], *, rater_error: float = 0.0
) -> Float[Tensor, "*members comparisons"]:
    """Log of the probability that the first is preferred, given the score difference d = r_first - r_second.

    p = sigmoid(d) (Bradley and Terry 1952), then  p' = (1 - e) p + e / 2  for a rater who answers by a coin with
    probability e (Christiano et al. 2017, section 2.2.3: e = 0.1, so p' = 0.9 p + 0.05). The softening bounds what a
    single answer can cost at -log(e / 2), so that a few slips do not bend the reward.

    Raises InvalidInput unless 0 <= e < 1.
    """
    if not 0.0 <= rater_error < 1.0:
        raise InvalidInput(f"rater_error is {rater_error}; give the share of coin-toss answers, at least 0 and below 1")
    if rater_error == 0.0:
        return functional.logsigmoid(difference)
    return torch.log((1.0 - rater_error) * torch.sigmoid(difference) + rater_error / 2.0)


def bradley_terry(
    score_first: Float[Tensor, "*members comparisons"],
    score_second: Float[Tensor, "*members comparisons"],
    label: Float[Tensor, " comparisons"],
    *,
    margin: Float[Tensor, " comparisons"] | None = None,
    rater_error: float = 0.0,
) -> Float[Tensor, "*members comparisons"]:
    """Soft-label Bradley-Terry loss, in nats per comparison.

        loss = -y log p'(d - m) - (1 - y) log p'(-d - m),    d = r_first - r_second

    with y the label in [0, 1] (0.5 is a tie), p' of `log_preference`, and m >= 0 the margin by which the better one
    should lead (Touvron et al. 2023, "Llama 2", equation 2; none means 0). Swapping the sides and turning the label
    leaves it unchanged. With m = 0 and e = 0 it is the cross-entropy of sigmoid(d) against y.

    Raises InvalidInput for a label outside [0, 1], a negative margin or a rater error outside [0, 1).
    """
    _check_shares(label, name="label")
    if margin is not None and bool((margin < 0.0).any()):
        raise InvalidInput("a margin is negative; give by how much the better completion should lead, at least 0")
    difference = score_first - score_second
    lead = torch.zeros_like(label) if margin is None else margin
    for_first = log_preference(difference - lead, rater_error=rater_error)
    for_second = log_preference(-difference - lead, rater_error=rater_error)
    return -label * for_first - (1.0 - label) * for_second


def davidson(
    score_first: Float[Tensor, "*members comparisons"],
    score_second: Float[Tensor, "*members comparisons"],
    label: Float[Tensor, " comparisons"],
    *,
    tied: Float[Tensor, " comparisons"],
    log_tie: Float[Tensor, ""],
) -> Float[Tensor, "*members comparisons"]:
    """Bradley-Terry with ties as a third answer (Davidson 1970), in nats per comparison.

        P(first) = e^(d/2) / Z,   P(tie) = nu / Z,   P(second) = e^(-d/2) / Z,   Z = e^(d/2) + nu + e^(-d/2)
        loss = -t log P(tie) - (1 - t) [ y log P(first) + (1 - y) log P(second) ],    d = r_first - r_second

    with t in [0, 1] the share of ties among the answers, y the label of the others, and log nu one number for all
    comparisons, to be chosen or learned: equal scores tie with probability nu / (nu + 2), more for larger nu. A tie
    tells more here than the label 0.5 does: that the scores are close on the scale of nu, and how rare that is. For
    nu -> 0 and t = 0 it is `bradley_terry`.

    Raises InvalidInput for a label or a share of ties outside [0, 1].
    """
    _check_shares(label, name="label")
    _check_shares(tied, name="share of ties")
    half = 0.5 * (score_first - score_second)
    tie = log_tie.expand(half.shape).to(half.dtype)
    total = torch.logsumexp(torch.stack([half, tie, -half]), dim=0)
    # y half - (1 - y) half is what the numerators of the two decided answers leave.
    return total - tied * tie - (1.0 - tied) * (2.0 * label - 1.0) * half


def both_bad(
    score_first: Float[Tensor, "*members comparisons"],
    score_second: Float[Tensor, "*members comparisons"],
    *,
    level: float,
) -> Float[Tensor, "*members comparisons"]:
    """What "both bad" adds to a tie: both scores belong below a level L, in nats per comparison.

        loss = -log sigmoid(L - r_first) - log sigmoid(L - r_second)

    Bradley-Terry against a third completion of score L that was preferred to both. A tie fixes only the difference of
    the scores; this term fixes their height, so weigh it by the share of raters who said so. L is in units of the
    scores, whose mean over the training completions is 0: a level below 0 asks for worse than typical.
    """
    return -functional.logsigmoid(level - score_first) - functional.logsigmoid(level - score_second)


def centring_penalty(
    score_first: Float[Tensor, "*members comparisons"], score_second: Float[Tensor, "*members comparisons"]
) -> Float[Tensor, "*members comparisons"]:
    """Squared sum of the two scores, (r_first + r_second)^2 (Eisenstein et al. 2024, section 3, term of weight eta).

    Comparisons leave a constant per prompt free. Two members that chose it differently would seem to disagree, and a
    minimum or spread over members would be meaningless; this pulls every member's constant towards 0.
    """
    return (score_first + score_second).square()


def weighted_mean(
    loss: Float[Tensor, "*members comparisons"], weights: Float[Tensor, "*#members comparisons"]
) -> Float[Tensor, "*members"]:
    """sum_i w_i loss_i / sum_i w_i: a comparison of weight 2 counts as two copies, one of weight 0 not at all.

    A comparison that weighs nothing adds nothing to the gradient either, whatever its loss. Give weights of the shape
    of the losses, or of their last axis. Raises InvalidInput for weights that are negative, not finite, or all 0.
    """
    if not bool(torch.isfinite(weights).all()) or bool((weights < 0.0).any()) or bool((weights.sum(dim=-1) <= 0).any()):
        raise InvalidInput("weights are negative, not finite or all 0; give at least one comparison that counts")
    counted = torch.where(weights > 0.0, loss, torch.zeros_like(loss))
    return (weights * counted).sum(dim=-1) / weights.sum(dim=-1)


def _check_shares(values: Tensor, *, name: str) -> None:
    if bool(((values < 0.0) | (values > 1.0)).any()):
        what = "1 means the first is better, 0.5 a tie" if name == "label" else "give 1 where all answers were ties"
        raise InvalidInput(f"a {name} lies outside [0, 1]; {what}")
