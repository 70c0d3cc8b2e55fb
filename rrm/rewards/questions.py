"""Which comparisons are worth asking, by a reward model that is there already."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch

from reward_models.acquisition import Selected, select
from rrm.config import RewardSection
from rrm.rewards.models import AbstractRewards
from rrm.rewards.reading import Reading

BLOCK = 20
"""Questions that are ordered together: whoever stops early has answered the same share of random ones."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Comparisons that could be asked."""

    scores_first: torch.Tensor
    """Every member's score of the first completion, (members, candidates)."""
    scores_second: torch.Tensor
    features: torch.Tensor | None
    """What the base reads of the first less that of the second, (candidates, width), where likeness matters."""

    def __len__(self) -> int:
        """Number of comparisons."""
        return self.scores_first.shape[1]

    def at(self, places: Sequence[int]) -> "Candidates":
        """Those at these places, in this order."""
        index = torch.tensor(places, dtype=torch.long)
        return Candidates(
            self.scores_first[:, index],
            self.scores_second[:, index],
            None if self.features is None else self.features[index],
        )


def likeness(settings: RewardSection) -> tuple[str, ...]:
    """The features by which questions resemble each other; none where that does not matter."""
    return tuple(settings.features) if settings.diversity > 0.0 else ()


def candidates(rewards: AbstractRewards, first: Reading, second: Reading, *, settings: RewardSection) -> Candidates:
    """Comparisons of the completions of two readings, row by row."""
    names = likeness(settings)
    return Candidates(
        scores_first=rewards.scores(first),
        scores_second=rewards.scores(second),
        features=first.joined(names) - second.joined(names) if names else None,
    )


def questions(found: Candidates, *, count: int, settings: RewardSection, generator: torch.Generator) -> list[Selected]:
    """Choose `count` comparisons as configured, in random order."""
    return select(
        found.scores_first,
        found.scores_second,
        count=count,
        method=settings.acquisition,
        random_share=settings.random_share,
        generator=generator,
        features=found.features,
        diversity=settings.diversity,
    )


def in_order(found: Candidates, *, settings: RewardSection, generator: torch.Generator) -> list[Selected]:
    """All comparisons, what is most worth asking first, with the same share of random ones in every block."""
    size = max(BLOCK, ceil(round(1.0 / settings.random_share, 9)))
    left, order = list(range(len(found))), list[Selected]()
    while left:
        block = questions(found.at(left), count=min(size, len(left)), settings=settings, generator=generator)
        order += [Selected(index=left[one.index], reason=one.reason) for one in block]
        taken = {one.index for one in block}
        left = [place for row, place in enumerate(left) if row not in taken]
    return order
