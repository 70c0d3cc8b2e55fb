"""What a preference is: two completions of one prompt, and which of them a rater found better."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from reward_models.errors import InvalidInput


@dataclass(frozen=True)
class Comparison:
    """Two completions of one prompt, in an order that means nothing."""

    prompt: str
    """What both completions answer."""
    first: str
    """One completion."""
    second: str
    """The other completion."""

    def swap(self) -> "Comparison":
        """The same comparison with its sides exchanged."""
        return Comparison(prompt=self.prompt, first=self.second, second=self.first)


@dataclass(frozen=True)
class Preference:
    """A comparison with an answer. Raises InvalidInput for a label or weight out of range."""

    comparison: Comparison
    """What was asked."""
    label: float
    """Probability that the first is better: 1 first, 0 second, 0.5 for a tie or for both bad."""
    weight: float = 1.0
    """How many judgements this one counts for; 0 leaves it out."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.label <= 1.0:
            raise InvalidInput(f"label is {self.label}; give 1 (first is better), 0 (second), or a number between")
        if not (math.isfinite(self.weight) and self.weight >= 0.0):
            raise InvalidInput(f"weight is {self.weight}; give a finite number that is not negative")

    def swap(self) -> "Preference":
        """The same preference with the sides exchanged and the label turned round."""
        return replace(self, comparison=self.comparison.swap(), label=1.0 - self.label)


class LabelsAndWeights(NamedTuple):
    """What a loss needs of a list of preferences."""

    labels: Float[Tensor, " comparisons"]
    """Probability that the first is better."""
    weights: Float[Tensor, " comparisons"]
    """How many judgements each counts for."""


def labels_and_weights(preferences: Sequence[Preference]) -> LabelsAndWeights:
    """The labels and weights of preferences as float64 tensors, in their order."""
    labels = torch.tensor([preference.label for preference in preferences], dtype=torch.float64)
    weights = torch.tensor([preference.weight for preference in preferences], dtype=torch.float64)
    return LabelsAndWeights(labels=labels, weights=weights)
