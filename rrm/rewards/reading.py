"""Completions as reward models read them: their texts, and what the base policy makes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from agents.fitting_text import fitted_to_context
from agents.policy import Policy
from agents.rollout import trace
from reward_models.features import extract
from reward_models.trace import CompletionTrace

PROMPTS_TOGETHER = 256
"""Prompts whose hidden states are in memory at once."""


@dataclass(frozen=True, eq=False)
class Reading:
    """Completions in some order."""

    prompts: tuple[str, ...]
    """The prompt of each completion."""
    completions: tuple[str, ...]
    features: Mapping[str, torch.Tensor]
    """For each kind of feature that was read, a tensor of shape (completions, width) on the CPU."""

    def __len__(self) -> int:
        """Number of completions."""
        return len(self.completions)

    def rows(self, places: Sequence[int]) -> "Reading":
        """The completions at these places, in this order."""
        index = torch.tensor(places, dtype=torch.long)
        return Reading(
            prompts=tuple(self.prompts[place] for place in places),
            completions=tuple(self.completions[place] for place in places),
            features={name: values[index] for name, values in self.features.items()},
        )

    def joined(self, names: Sequence[str]) -> torch.Tensor:
        """The named features side by side, as `reward_models.features.extract` has them."""
        return torch.cat([self.features[name] for name in names], dim=1)


@dataclass(frozen=True, eq=False)
class StoredReading:
    """Completions of the run's store, found by their ids."""

    places: Mapping[str, int]
    """Row of a completion by its id."""
    reading: Reading

    def of(self, identifiers: Sequence[str]) -> Reading:
        """These completions, in this order."""
        return self.reading.rows([self.places[identifier] for identifier in identifiers])


def read(
    base: Policy, prompts: Sequence[str], completions: Sequence[Sequence[str]], *, names: Sequence[str]
) -> Reading:
    """Read an equal number of completions of each prompt: the prompts in their order, the completions within them.

    Without names of features the base is not asked.
    """
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    for begin in range(0, len(prompts) if names else 0, PROMPTS_TOGETHER):
        end = begin + PROMPTS_TOGETHER
        seen = trace_fitted(base, prompts[begin:end], completions[begin:end])
        for name in names:
            parts[name].append(extract(seen, (name,)).cpu())
    return Reading(
        prompts=tuple(prompt for prompt, texts in zip(prompts, completions, strict=True) for _ in texts),
        completions=tuple(text for texts in completions for text in texts),
        features={name: torch.cat(found) for name, found in parts.items()},
    )


def trace_fitted(base: Policy, prompts: Sequence[str], completions: Sequence[Sequence[str]]) -> CompletionTrace:
    """As `agents.rollout.trace`, of as much of the texts as the base can read.

    Where something has to be cut, each completion is read by itself: what is left of a prompt must not depend on which
    other completions stand beside it.
    """
    if all(fitted_to_context(base, *pair).cut == 0 for pair in zip(prompts, completions, strict=True)):
        return trace(base, prompts, completions)
    pairs = [(prompt, text) for prompt, texts in zip(prompts, completions, strict=True) for text in texts]
    fitted = [fitted_to_context(base, prompt, [text]) for prompt, text in pairs]
    return trace(base, [one.prompt for one in fitted], [one.completions for one in fitted])


def put_together(parts: Sequence[StoredReading]) -> StoredReading:
    """One reading out of several with the same features."""
    places: dict[str, int] = {}
    begin = 0
    for part in parts:
        places |= {identifier: begin + row for identifier, row in part.places.items()}
        begin += len(part.reading)
    names = parts[0].reading.features
    return StoredReading(
        places=places,
        reading=Reading(
            prompts=tuple(prompt for part in parts for prompt in part.reading.prompts),
            completions=tuple(text for part in parts for text in part.reading.completions),
            features={name: torch.cat([part.reading.features[name] for part in parts]) for name in names},
        ),
    )
