"""From the scores of the members to one reward: what an ensemble believes, and how sure it is.

One convention: axis 0 is the members, higher is better, and every conservative reward is at most the mean. The
entropic one is the general case: the mean is its limit for a large temperature, the minimum for a small one, and
mean - variance / (2 b) its expansion to second order.

A reward without a bound pays an optimiser for ever more of the same. Two ways to bound it: `bounded` and `unit` squash
any reward, and `judged_better` makes the reward the log of a probability that a rater would prefer the completion.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from reward_models.errors import InvalidInput, NonFinite

Conservative = Literal["mean", "min", "lower", "entropic", "uwo"]
"""How members become one reward."""


@dataclass(frozen=True, eq=False)
class RewardEstimate:
    """Scores of K members for a batch of sequences. Raises NonFinite if one is not finite, InvalidInput if K is 0."""

    members: Float[Tensor, "members sequences"]
    """Each member's score; members must be centred for the spread to mean something."""

    def __post_init__(self) -> None:
        if self.members.ndim != 2 or self.members.shape[0] == 0:
            raise InvalidInput(f"member scores have shape {tuple(self.members.shape)}; expected (members, sequences)")
        if not bool(torch.isfinite(self.members).all()):
            raise NonFinite("a member's score is not finite; look at the features it was given, then refit")

    @property
    def mean(self) -> Float[Tensor, " sequences"]:
        """(1/K) sum_k r_k: the reward for reports."""
        return self.members.mean(dim=0)

    @property
    def variance(self) -> Float[Tensor, " sequences"]:
        """Population variance (1/K) sum_k (r_k - mean)^2, divided by K and not K - 1 (Coste et al. 2024)."""
        return self.members.var(dim=0, correction=0)

    @property
    def spread(self) -> Float[Tensor, " sequences"]:
        """Square root of the population variance."""
        return self.variance.sqrt()

    @property
    def min(self) -> Float[Tensor, " sequences"]:
        """min_k r_k: worst-case optimisation, WCO (Coste et al. 2024)."""
        return self.members.amin(dim=0)

    def uwo(self, penalty: float) -> Float[Tensor, " sequences"]:
        """Uncertainty-weighted optimisation  mean - penalty * variance (Coste et al. 2024 use 0.1 to 0.5).

        Can fall below the lowest member; `entropic` cannot. Raises InvalidInput if the penalty is negative.
        """
        return self.mean - _at_least_zero(penalty, name="penalty") * self.variance

    def lower(self, deviations: float) -> Float[Tensor, " sequences"]:
        """Lower confidence bound  mean - deviations * spread. Raises InvalidInput if deviations is negative."""
        return self.mean - _at_least_zero(deviations, name="deviations") * self.spread

    def entropic(self, temperature: float) -> Float[Tensor, " sequences"]:
        """Entropic reward  -b log (1/K) sum_k exp(-r_k / b), with b the temperature in units of reward.

        The worst mean reward that an adversary reaches who may reweigh the members at a price of b per nat of
        KL(weights || uniform). Between `min` and `mean`, and rising with b. Raises InvalidInput unless b is positive
        and finite.
        """
        if not (math.isfinite(temperature) and temperature > 0.0):
            raise InvalidInput(
                f"temperature is {temperature}; give a positive finite number, or use the limits `min` and `mean`"
            )
        # Around the mean and in float64, so that a large temperature does not multiply a rounding error.
        deviation = self.members.double() - self.members.double().mean(dim=0)
        log_mean = torch.logsumexp(-deviation / temperature, dim=0) - math.log(self.members.shape[0])
        return (self.members.double().mean(dim=0) - temperature * log_mean).to(self.members.dtype)

    def conservative(self, choice: Conservative, coefficient: float) -> Float[Tensor, " sequences"]:
        """The one reward that is chosen by name; `coefficient` is that of `lower`, `entropic` and `uwo`.

        The mean and the minimum have none and do not look at it. Raises InvalidInput as the method of that name does.
        """
        match choice:
            case "mean":
                return self.mean
            case "min":
                return self.min
            case "lower":
                return self.lower(coefficient)
            case "entropic":
                return self.entropic(coefficient)
            case "uwo":
                return self.uwo(coefficient)

    def judged_better(self, baseline: Float[Tensor, "#members #sequences"]) -> "RewardEstimate":
        """Each member's log-probability that a rater prefers the sequence to a baseline:  log sigmoid(r_k - b_k) <= 0.

        b_k is that member's own score of the baseline (the reference's completion of the same prompt, say), so that a
        constant which a member adds to a prompt cancels. Every estimate of the result is at most 0. Its `mean` is that
        of the logs: what one member finds hopeless stays hopeless, so it is the cautious choice for training.
        `log_judged_better` is the mean of the probabilities.
        """
        return RewardEstimate(functional.logsigmoid(self.members - baseline))

    def log_judged_better(self, baseline: Float[Tensor, "#members #sequences"]) -> Float[Tensor, " sequences"]:
        """Log of the mean of the probabilities,  log (1/K) sum_k sigmoid(r_k - b_k) <= 0: the reward of a judgement.

        With the members as equally likely hypotheses this, and not the mean of the logs, is the log-probability of an
        event: that the rater prefers the sequence. It is never below the mean of the logs (Jensen); where members
        differ, one that is convinced is enough to keep it near log(1/K).
        """
        log_probabilities = self.judged_better(baseline).members
        return torch.logsumexp(log_probabilities, dim=0) - math.log(self.members.shape[0])


def bounded(reward: Float[Tensor, "*shape"], *, limit: float) -> Float[Tensor, "*shape"]:
    """The reward squashed:  limit * tanh(reward / limit), inside (-limit, limit), never further from 0 than it was.

    The order of rewards stays and small ones are kept, but beyond a few limits nothing more is to be had. Bound the
    reward that is paid, after the members were reduced: `uwo` and `lower` of bounded members can lie below -limit.
    Raises InvalidInput unless the limit is positive and finite.
    """
    if not (math.isfinite(limit) and limit > 0.0):
        raise InvalidInput(f"limit is {limit}; give a positive finite number in units of the reward")
    return limit * torch.tanh(reward / limit)


def unit(reward: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The reward as a probability:  sigmoid(reward), that of being preferred to a completion of score 0."""
    return torch.sigmoid(reward)


def _at_least_zero(value: float, *, name: str) -> float:
    if not (math.isfinite(value) and value >= 0.0):
        raise InvalidInput(
            f"{name} is {value}; give a finite number that is at least 0, which keeps the reward conservative"
        )
    return value
