"""From rewards and KL to the return of each token. A horizon is a discount: 1 is the whole completion, 0 one token."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def at_the_end(
    rewards: Float[Tensor, " sequences"], mask: Bool[Tensor, "sequences time"]
) -> Float[Tensor, "sequences time"]:
    """A reward of whole completions, as a reward of tokens: all of it at the last token that counts."""
    last = mask.sum(dim=1, keepdim=True) - 1
    return torch.zeros(mask.shape, device=rewards.device).scatter(1, last.to(rewards.device), rewards.float()[:, None])


def discounted_sum(values: Float[Tensor, "sequences time"], discount: float) -> Float[Tensor, "sequences time"]:
    """sum_{s >= t} discount^(s - t) values_s at every t."""
    if discount == 1.0:
        return values.flip(1).cumsum(dim=1).flip(1)
    later = torch.zeros_like(values[:, 0])
    sums: list[Tensor] = []
    for time in reversed(range(values.shape[1])):
        later = values[:, time] + discount * later
        sums.append(later)
    return torch.stack(sums[::-1], dim=1)


def transition_rewards(
    rewards: Float[Tensor, "sequences time"],
    kl: Float[Tensor, "sequences time"],
    mask: Bool[Tensor, "sequences time"],
    *,
    beta: float,
    discount: float = 1.0,
) -> Float[Tensor, "sequences time"]:
    """r_t - g beta KL_{t+1}: what token t earns on the way to the next one; 0 where the mask is False.

    KL_s is the exact KL of the distribution that token s is drawn from, a function of the tokens before s: token t has
    no say in KL_t, and the first KL it can change is the next. There is none after the last token that counts.
    """
    following = torch.cat([(kl * mask)[:, 1:], torch.zeros_like(kl[:, :1])], dim=1)
    return rewards * mask - discount * beta * following


def returns_to_go(
    rewards: Float[Tensor, "sequences time"],
    kl: Float[Tensor, "sequences time"],
    mask: Bool[Tensor, "sequences time"],
    *,
    beta: float,
    discount: float = 1.0,
) -> Float[Tensor, "sequences time"]:
    """R_t = sum_{s >= t} g^(s - t) r_s - beta sum_{s > t} g^(s - t) KL_s, the return that token t has a say in.

    The discounted sum of the `transition_rewards`. With discount g = 0 what remains is r_t: the agent is myopic, and
    does not care what its token makes of the tokens after it.
    """
    return discounted_sum(transition_rewards(rewards, kl, mask, beta=beta, discount=discount), discount)
