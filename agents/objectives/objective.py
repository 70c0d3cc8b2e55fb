"""What all objectives have in common: one signature, from a batch to a change of the weights and a record of it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch

from agents.batch import Batch
from agents.learner import Learner
from agents.sources import Given


@dataclass(frozen=True)
class UpdateRecord:
    """What one update did."""

    gradient_norm: float
    """Norm of the gradient before clipping; of the last of several steps."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """Figures of this objective by name; its page in the documentation has the formula of each."""


class AbstractObjective(ABC):
    """How a policy learns from one batch. Implementations are frozen dataclasses of their settings, without state."""

    samples_from: ClassVar[Literal["policy", "reference"]] = "policy"
    """Whose completions it learns from."""
    takes: ClassVar[tuple[Given, ...]] = ("rewards",)
    """What it can learn from; a source of anything else is refused before the first step."""
    needs_critic: ClassVar[bool] = False
    """Whether the learner must have a value function."""
    needs_penalty: ClassVar[bool] = False
    """Whether beta = 0 has no meaning."""

    @abstractmethod
    def update(self, learner: Learner, batch: Batch, generator: torch.Generator) -> UpdateRecord:
        """Change the weights of `learner`. `generator` is for the objective's own draws, such as minibatches.

        Raises `NonFinite` before a loss or gradient that is not finite can touch the weights.
        """
