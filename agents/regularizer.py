"""How strongly a policy is held to its reference: the coefficient beta in E[reward] - beta KL(policy || reference).

    FixedPenalty      beta_t = beta                                      what is bought: the optimum at that price
    AdaptivePenalty   beta_t rises while KL is above a target            what is bought: a mean KL near the target
    EarlyStop         beta_t = beta, and an end once KL_t >= limit       what is bought: no training beyond the limit

A regularizer is a pure function of the KL that was measured so far. It keeps no state, so a resumed training, which
has the record of its steps, needs nothing more. None of them bounds the KL of an episode; `agents.limits` does.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from reward_models.errors import InvalidInput

RANGE = 1e4
"""How far the level of an adaptive penalty goes from where it began, as a factor either way."""
STRONGEST_DAMPING = 10.0
"""A factor of 22 000 between two steps, either way."""


class AbstractRegularizer(ABC):
    """Chooses the coefficient of the next step, and whether there is one."""

    @abstractmethod
    def coefficient(self, measured: Sequence[float]) -> float:
        """Beta of step t (reward units per nat), given the mean exact KL per sequence (nats) of steps 0 .. t-1."""

    @abstractmethod
    def finished(self, measured: Sequence[float]) -> bool:
        """Whether training ends before the next step, given the same."""


@final
@dataclass(frozen=True)
class FixedPenalty(AbstractRegularizer):
    """The same beta at every step; its optimum is pi0(y) exp(r(y) / beta) / Z (Korbak, Perez & Buckley 2022)."""

    beta: float
    """Reward units per nat, not negative."""

    def __post_init__(self) -> None:
        _check_beta(self.beta)

    def coefficient(self, measured: Sequence[float]) -> float:
        """Beta, whatever was measured."""
        return self.beta

    def finished(self, measured: Sequence[float]) -> bool:
        """Never."""
        return False


@final
@dataclass(frozen=True)
class AdaptivePenalty(AbstractRegularizer):
    """Raises beta while KL is above a target and lowers it while KL is below (after Ziegler et al. 2019).

        e_t = (KL_t - target) / target,    B_{t+1} = B_t (1 + gain clip(e_t, -clip, clip)),    B_0 = beta
        beta_{t+1} = B_{t+1} exp(damping clip(e_t, -1, 1))

    Ziegler et al. have gain 0.1 and no damping, for trainings of thousands of steps. Steps sum up in KL and errors sum
    up in B, and two sums in a loop swing: within a hundred steps a gain of 0.1 does not arrive and a gain of 0.5 swings
    about the target. The last factor answers to the last error alone and damps that. B stays within a factor of RANGE
    of where it began, so that a target out of reach is no overflow.
    """

    beta: float = 0.1
    """Of the first step; positive, because nothing multiplied brings 0 up."""
    target: float = 4.0
    """Nats a sequence, positive."""
    gain: float = 0.2
    """Relative change of B for a relative error of 1."""
    clip: float = 0.2
    """Largest relative error that B sees; gain x clip must be below 1."""
    damping: float = 2.0
    """How strongly beta answers to the last error alone; 0 is Ziegler et al."""

    def __post_init__(self) -> None:
        for name in ("beta", "target", "gain", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidInput(f"{name} of an adaptive penalty must be positive, got {getattr(self, name)}.")
        if not self.gain * self.clip < 1:
            raise InvalidInput(f"gain x clip must be below 1, got {self.gain} x {self.clip}: beta could reach 0.")
        if not 0 <= self.damping <= STRONGEST_DAMPING:
            raise InvalidInput(f"damping must be from 0 to {STRONGEST_DAMPING}, got {self.damping}.")

    def coefficient(self, measured: Sequence[float]) -> float:
        """A fold over all that was measured."""
        level = self.beta
        for kl in measured:
            step = 1 + self.gain * _clipped(kl / self.target - 1, self.clip)
            level = min(max(level * step, self.beta / RANGE), self.beta * RANGE)
        last = _clipped(measured[-1] / self.target - 1, 1.0) if measured else 0.0
        return level * math.exp(self.damping * last)

    def finished(self, measured: Sequence[float]) -> bool:
        """Never."""
        return False


@final
@dataclass(frozen=True)
class EarlyStop(AbstractRegularizer):
    """A fixed beta, and an end to training once the mean KL of one step, of no others, has reached a limit.

    The step that reached it is the last: its update has been made, so what remains is a little further than the limit.
    """

    beta: float = 0.0
    """Reward units per nat, not negative."""
    limit: float = 4.0
    """Nats a sequence, positive."""

    def __post_init__(self) -> None:
        _check_beta(self.beta)
        if not 0 < self.limit < math.inf:
            raise InvalidInput(f"limit must be a positive number of nats, got {self.limit}.")

    def coefficient(self, measured: Sequence[float]) -> float:
        """Beta, whatever was measured."""
        return self.beta

    def finished(self, measured: Sequence[float]) -> bool:
        """Whether any step has reached the limit."""
        return any(kl >= self.limit for kl in measured)


def _clipped(value: float, bound: float) -> float:
    return min(max(value, -bound), bound)


def _check_beta(beta: float) -> None:
    if not 0 <= beta < math.inf:
        raise InvalidInput(f"beta must be a number that is not negative, got {beta}.")
