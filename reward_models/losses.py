"""Preference losses, each a pure function of scores and labels.

Higher score is better, label 1 means the first is better. Losses are per comparison and to be minimised; the caller
weighs and averages. Leading axes of the scores (members, say) are kept.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from reward_models.errors import InvalidInput


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
    if bool(((label < 0.0) | (label > 1.0)).any()):
        raise InvalidInput("a label lies outside [0, 1]; 1 means the first is better, 0.5 a tie")
    if margin is not None and bool((margin < 0.0).any()):
        raise InvalidInput("a margin is negative; give by how much the better completion should lead, at least 0")
    difference = score_first - score_second
    lead = torch.zeros_like(label) if margin is None else margin
    for_first = log_preference(difference - lead, rater_error=rater_error)
    for_second = log_preference(-difference - lead, rater_error=rater_error)
    return -label * for_first - (1.0 - label) * for_second


def centring_penalty(
    score_first: Float[Tensor, "*members comparisons"], score_second: Float[Tensor, "*members comparisons"]
) -> Float[Tensor, "*members comparisons"]:
    """Squared sum of the two scores, (r_first + r_second)^2 (Eisenstein et al. 2024, section 3, term of weight eta).

    Comparisons leave a constant per prompt free. Two members that chose it differently would seem to disagree, and a
    minimum or spread over members would be meaningless; this pulls every member's constant towards 0.
    """
    return (score_first + score_second).square()
