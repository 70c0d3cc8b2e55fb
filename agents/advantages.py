"""How much better a token was than expected: its return minus a baseline that the token has no say in.

    others        A_it = R_it - mean of R_jt over the other completions j                   RLOO, REINFORCE
    generalised   A_t = sum_l (g lambda)^l delta_{t+l},  delta_t = r_t + g V_{t+1} - V_t    actor-critic, PPO
    scaled        A_it = (R_it - mean of R_jt over all j of the prompt) / std of their scores    GRPO

Whatever a baseline b_t is made of, E[grad log pi(y_t | y_<t) b_t] = 0 as long as b_t does not depend on y_t. Other
completions do not, so theirs may stand at the same time t behind quite different prefixes: that costs variance, never
truth. A mean over all completions does (its own return is in it), and shrinks the expected gradient of the reward by
the factor (G - 1) / G.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from agents.returns import discounted_sum
from reward_models.errors import InvalidInput

SMALLEST_SPREAD = 1e-4
"""Added to a standard deviation, in reward units; one that is not above it is rounding noise in equal rewards."""


def leave_one_out(returns: Float[Tensor, "prompts group *rest"]) -> Float[Tensor, "prompts group *rest"]:
    """Each return minus the mean of the others of its group; `InvalidInput` for groups of one.

    Kool, van Hoof & Welling 2019, "Buy 4 REINFORCE samples, get a baseline for free!".
    """
    group = returns.shape[1]
    if group < 2:
        raise InvalidInput(f"Leave-one-out needs at least 2 completions to compare, got {group}; raise `group`.")
    # r_i - (S - r_i) / (G - 1) = (r_i - S / G) G / (G - 1), with S the sum of the group.
    return (returns - returns.mean(dim=1, keepdim=True)) * (group / (group - 1))


def others_advantages(
    returns: Float[Tensor, "sequences time"], mask: Bool[Tensor, "sequences time"], *, group: int
) -> Float[Tensor, "sequences time"]:
    """Return-to-go minus that of the other completions of the group at the same time; 0 where the mask is False.

    Completions that have ended stand in the baseline with the return of their last token. So a reward of whole
    completions that is the same for all gives no advantage to anyone, whatever their lengths.
    """
    grouped = held(returns, mask).view(-1, group, returns.shape[1])
    return leave_one_out(grouped).view_as(returns) * mask


def scaled_advantages(
    returns: Float[Tensor, "sequences time"],
    scores: Float[Tensor, " sequences"],
    mask: Bool[Tensor, "sequences time"],
    *,
    group: int,
) -> Float[Tensor, "sequences time"]:
    """(R_it - mean_j R_jt) / (std_j scores_j + 1e-4) within each group; 0 where the mask is False.

    The mean is over the whole group, the standard deviation is that of the population (divided by G), both as
    published. Groups of equal scores (a spread up to SMALLEST_SPREAD) teach nothing, also where the returns of their
    tokens differ. Shao et al. 2024, "DeepSeekMath", section 4.1.
    """
    grouped = held(returns, mask).view(-1, group, returns.shape[1])
    spread = scores.view(-1, group).std(dim=1, correction=0)[:, None, None]
    centred = grouped - grouped.mean(dim=1, keepdim=True)
    scaled = torch.where(spread > SMALLEST_SPREAD, centred / (spread + SMALLEST_SPREAD), torch.zeros_like(centred))
    return scaled.view_as(returns) * mask


def generalised_advantages(
    rewards: Float[Tensor, "sequences time"],
    values: Float[Tensor, "sequences time"],
    mask: Bool[Tensor, "sequences time"],
    *,
    discount: float,
    gae_lambda: float,
) -> Float[Tensor, "sequences time"]:
    """A_t = sum_l (g lambda)^l delta_{t+l} with delta_t = r_t + g V_{t+1} - V_t; 0 where the mask is False.

    `rewards` are those of the transition from token t to the next, `returns.transition_rewards`. An episode ends with
    the last token that counts, whether that ended the text or was the last one allowed: V is 0 after it, and nothing is
    bootstrapped there. lambda = 1 is the return minus V_t, lambda = 0 the error of one step. Schulman, Moritz, Levine,
    Jordan & Abbeel 2016, "High-dimensional continuous control using generalized advantage estimation".
    """
    zero = torch.zeros_like(values)
    values = torch.where(mask, values, zero)
    following = torch.cat([values[:, 1:], zero[:, :1]], dim=1)
    errors = torch.where(mask, rewards + discount * following - values, zero)
    return discounted_sum(errors, discount * gae_lambda)


def held(
    returns: Float[Tensor, "sequences time"], mask: Bool[Tensor, "sequences time"]
) -> Float[Tensor, "sequences time"]:
    """The returns, and after the end of a sequence that of its last token."""
    last = returns.gather(1, mask.sum(dim=1, keepdim=True) - 1)
    return torch.where(mask, returns, last)
