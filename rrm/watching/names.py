"""What stages and kinds of raters are called in figures, and the record of how one way of judging does."""

from dataclasses import dataclass

from rrm.store.records import RaterKind, Stage
from rrm.watching.shares import Share

STAGES = {Stage.ALONE: "alone", Stage.AIDED: "assisted"}
"""The two answers of a sitting, as their labels are called where they are compared."""
KINDS = {RaterKind.PERSON: "people", RaterKind.SIMULATED: "simulated rater"}


@dataclass(frozen=True, slots=True)
class Labels:
    """How one way of judging does at one level."""

    level: int
    way: str
    """`alone`, `assisted` or `assistant`."""
    source: str
    """Who judged: `people`, `simulated rater`, or `report`."""
    share: Share
