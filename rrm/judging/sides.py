"""Sides and choices: a rater answers in sides of the screen, the store keeps the comparison's own order."""

from enum import StrEnum

from reward_models.errors import InvalidInput
from rrm.store.records import Choice


class Side(StrEnum):
    """What a rater answered, as they saw it."""

    LEFT = "left"
    """The completion on the left is better."""
    RIGHT = "right"
    """The completion on the right is better."""
    TIE = "tie"
    """They are equally good."""
    BOTH_BAD = "both_bad"
    """Neither is acceptable."""
    CANNOT_TELL = "cannot_tell"
    """The rater tried and could not decide."""
    SKIP = "skip"
    """The rater did not try."""

    @property
    def names_a_side(self) -> bool:
        """Whether one of the two is better."""
        return self in (Side.LEFT, Side.RIGHT)


def choice_of(side: Side, *, first_on_left: bool) -> Choice:
    """The choice that a side stands for, given the stored coin."""
    if not side.names_a_side:
        return Choice(side.value)
    return Choice.FIRST if (side is Side.LEFT) == first_on_left else Choice.SECOND


def side_of(choice: Choice, *, first_on_left: bool) -> Side:
    """The side on which a choice was given; an undo has none -> InvalidInput."""
    if choice is Choice.UNDO:
        raise InvalidInput("an undo is no answer, so it has no side; ask for the answer that it takes back")
    if choice not in (Choice.FIRST, Choice.SECOND):
        return Side(choice.value)
    return Side.LEFT if (choice is Choice.FIRST) == first_on_left else Side.RIGHT
