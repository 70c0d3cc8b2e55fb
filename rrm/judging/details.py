"""What the page sends as an answer, and the details that are kept with a judgement beside the choice."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reward_models.errors import InvalidInput
from rrm.judging.cards import aid_key
from rrm.judging.guidelines import guidelines_now
from rrm.judging.reveals import is_unblinded
from rrm.judging.sides import Side
from rrm.store.comparisons import aids_for
from rrm.store.records import Judgement, Leased, Stage
from rrm.store.run import Run
from rrm.store.texts import put_text
from rrm.tasks.task import AbstractTask

MARKS = ("valid", "invalid")
"""What a rater may say of an aid; one that is not marked was not checked."""


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """An answer on its way from a page or a program."""

    id: str
    """Chosen by the sender: the same id again is the same answer."""
    lease_id: str
    stage: Stage
    side: Side
    strength: int | None = None
    """2 for clearly better; only where a side is better."""
    comment: str = ""
    flagged: bool = False
    """Whether somebody should look at this comparison."""
    aid_marks: Mapping[str, str] = field(default_factory=dict)
    """`valid` or `invalid` by the key of an aid."""
    shown_at: str | None = None
    milliseconds: int | None = None
    """How long the comparison was in view."""
    guidelines: str | None = None
    """sha256 of the guidelines that the rater had; None: those that hold now."""


@dataclass(frozen=True, slots=True)
class GivenChange:
    """Another answer instead of one that was given."""

    id: str
    judgement_id: str
    side: Side
    strength: int | None = None
    comment: str = ""
    flagged: bool = False


def details_of(run: Run, task: AbstractTask, lease: Leased, given: GivenAnswer) -> dict[str, object]:
    """What goes with an answer; marks that belong to no aid of the comparison -> InvalidInput."""
    details = _common(given)
    if given.milliseconds is not None:
        details["milliseconds"] = given.milliseconds
    # The text is kept with the answer, so that its digest can be read even when the task has other words one day.
    now_holding = put_text(run, guidelines_now(run, task).text)
    details["guidelines"] = given.guidelines or now_holding
    if given.aid_marks:
        details["aid_marks"] = _marks(run, lease, given)
    if is_unblinded(run, comparison_id=lease.comparison.id, rater_id=lease.rater_id):
        details["unblinded"] = True
    return details


def details_of_change(run: Run, old: Judgement, given: GivenChange) -> dict[str, object]:
    """What goes with a change: what was said of the aids stays."""
    kept = {name: old.details[name] for name in ("aid_marks", "guidelines") if name in old.details}
    details = kept | _common(given)
    if is_unblinded(run, comparison_id=old.comparison_id, rater_id=old.rater_id):
        details["unblinded"] = True
    return details


def _common(given: GivenAnswer | GivenChange) -> dict[str, object]:
    details: dict[str, object] = {}
    if given.strength is not None and given.side.names_a_side:
        details["strength"] = given.strength
    if given.flagged:
        details["flagged"] = True
    return details


def _marks(run: Run, lease: Leased, given: GivenAnswer) -> dict[str, object]:
    if given.stage is not Stage.AIDED:
        raise InvalidInput("aids can be marked with the aided answer only; before it none was shown")
    ids = {aid_key(aid): aid.id for aid in aids_for(run, lease.comparison.id)}
    wrong = [f"{key}={mark}" for key, mark in given.aid_marks.items() if key not in ids or mark not in MARKS]
    if wrong:
        raise InvalidInput(f"{', '.join(wrong)} marks no aid of this comparison; expected valid or invalid by its key")
    return {ids[key]: mark for key, mark in given.aid_marks.items()}
