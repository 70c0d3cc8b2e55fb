"""Judged comparisons as a reward model learns from them, or is tested on them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from rrm.rewards.reading import Reading, StoredReading
from rrm.store.records import Judgement, StoredComparison, label_of


@dataclass(frozen=True, eq=False)
class Answers:
    """Comparisons with what was answered."""

    asked: tuple[StoredComparison, ...]
    first: Reading
    second: Reading
    labels: torch.Tensor
    """Probability that the first is better, (comparisons,)."""
    groups: torch.Tensor
    """Comparisons of one document have the same number, (comparisons,): no fold divides them."""

    def __len__(self) -> int:
        """Number of comparisons."""
        return len(self.labels)

    def rows(self, places: torch.Tensor) -> "Answers":
        """The comparisons at these places, in this order."""
        listed = places.tolist()
        return Answers(
            asked=tuple(self.asked[place] for place in listed),
            first=self.first.rows(listed),
            second=self.second.rows(listed),
            labels=self.labels[places],
            groups=self.groups[places],
        )

    def where(self, counts: Callable[[StoredComparison], bool]) -> "Answers":
        """The comparisons of which this is true."""
        places = [place for place, one in enumerate(self.asked) if counts(one)]
        return self.rows(torch.tensor(places, dtype=torch.long))


def answers_to(asked: Sequence[StoredComparison], judged: Sequence[Judgement], reading: StoredReading) -> Answers:
    """Answers that count, with the comparison of each."""
    numbers = {document: number for number, document in enumerate(dict.fromkeys(one.document_id for one in asked))}
    return Answers(
        asked=tuple(asked),
        first=reading.of([one.first_completion_id for one in asked]),
        second=reading.of([one.second_completion_id for one in asked]),
        labels=torch.tensor([label_of(one.choice) for one in judged], dtype=torch.float64),
        groups=torch.tensor([numbers[one.document_id] for one in asked], dtype=torch.long),
    )
