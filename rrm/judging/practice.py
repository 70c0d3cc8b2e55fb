"""Practice: comparisons with a known answer and the reason for it. Nothing of it is stored."""

from dataclasses import dataclass
from typing import Literal

from reward_models.errors import InvalidInput
from rrm.tasks.task import AbstractTask, PracticeItem

Side = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a rater is told at once."""

    right: bool
    why: str


def practice_item(task: AbstractTask, place: int) -> PracticeItem | None:
    """The item at a place, from 0; None after the last one, and where the task has none."""
    items = task.practice()
    return items[place] if 0 <= place < len(items) else None


def practise(task: AbstractTask, place: int, side: Side) -> Feedback:
    """Whether an answer is the known one, and why; the first brief stands on the left."""
    item = practice_item(task, place)
    if item is None:
        raise InvalidInput(f"there is no practice item {place + 1}; this task has {len(task.practice())}")
    return Feedback(right=(side == "left") == (item.answer == "first"), why=item.why)
