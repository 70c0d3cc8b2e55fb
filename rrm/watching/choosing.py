"""What choosing questions gained: how the reward model that chose them did on them, before it learned from them."""

from collections.abc import Sequence
from dataclasses import dataclass

from rrm.watching.fits import Fit, accuracy, number, part, parts
from rrm.watching.shares import Share

RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Asked:
    """Answers to questions that were asked for one reason."""

    reason: str
    """`random`, or how they were chosen."""
    right: Share
    """How often the model before agrees with them."""
    surprise: float
    """Its log loss, nats an answer."""
    disagreement: float
    """Mean deviation between its members' probabilities."""
    information: float
    """What its members expected to learn, nats an answer."""


@dataclass(frozen=True, slots=True)
class Choosing:
    """The questions between one reward model and the next."""

    name: str
    """The next one: `Level 0, round 1`, or `Session 3`."""
    before: str
    """Id of the model that chose them."""
    asked: tuple[Asked, ...]
    """The random ones first."""

    @property
    def random(self) -> Asked | None:
        """The random share; None where there is none."""
        return next((one for one in self.asked if one.reason == RANDOM), None)

    @property
    def chosen(self) -> Asked | None:
        """What was chosen, of several ways the one with most answers; None where all were random."""
        others = [one for one in self.asked if one.reason != RANDOM]
        return max(others, key=lambda one: one.right.n, default=None)


def choosings(found: Sequence[Fit]) -> list[Choosing]:
    """For every reward model that had one before it, where answers came since."""
    return [one for one in map(_choosing, found) if one.asked]


def _choosing(fit: Fit) -> Choosing:
    before = part(fit.result, "before")
    asked = [
        Asked(
            reason=str(one.get("name")),
            right=right,
            surprise=number(one, "loss") or 0.0,
            disagreement=number(one, "spread") or 0.0,
            information=number(one, "information") or 0.0,
        )
        for one in parts(before, "asked")
        if (right := accuracy(one)) is not None
    ]
    asked.sort(key=lambda one: one.reason != RANDOM)
    return Choosing(fit.name, str((before or {}).get("model")), tuple(asked))
