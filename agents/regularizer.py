"""How strongly a policy is held to its reference: the coefficient beta in E[reward] - beta KL(policy || reference).

A regularizer is a pure function of the KL that was measured so far. It keeps no state, so a resumed training, which
has the record of its steps, needs nothing more.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from reward_models.errors import InvalidInput


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
        if not self.beta >= 0:
            raise InvalidInput(f"beta must be a number that is not negative, got {self.beta}.")

    def coefficient(self, measured: Sequence[float]) -> float:
        """Beta, whatever was measured."""
        return self.beta

    def finished(self, measured: Sequence[float]) -> bool:
        """Never."""
        return False
