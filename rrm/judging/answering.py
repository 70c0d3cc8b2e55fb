"""Answers from the page: sides become choices, each event is stored once, and one that is refused stops no other."""

from collections.abc import Sequence
from dataclasses import dataclass

from reward_models.errors import InvalidInput
from rrm.judging.cards import Aid, Card, aids_of_card, cards_of
from rrm.judging.details import GivenAnswer, GivenChange, details_of, details_of_change
from rrm.judging.hands import take
from rrm.judging.queue import Undone, answer, change, undo
from rrm.judging.sides import Side, choice_of, side_of
from rrm.store.leases import leased
from rrm.store.records import Choice, Leased, Stage
from rrm.store.run import Run
from rrm.store.sittings import judgement, judgement_with, live_answer
from rrm.tasks.task import AbstractTask

LONGEST_COMMENT = 5000
"""Characters of a comment."""

_AIDED = "-aided"
"""Ends the id of the answer that stands for the aided one of a skip."""


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What an undone answer said, so that the rater need not type it again."""

    side: Side
    comment: str
    flagged: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one event."""

    id: str
    """The sender's id of the event."""
    saved: bool
    refused: str | None = None
    """Why not, in a sentence."""
    judgement_id: str | None = None
    """The row that was stored; another id than the event's where the same answer was there already."""
    aids: tuple[Aid, ...] | None = None
    """After the answer given alone, where aids are planned."""
    card: Card | None = None
    """After an undo: the comparison, in the rater's hands again."""
    taken_back: TakenBack | None = None


def give_answer(run: Run, task: AbstractTask, given: GivenAnswer, *, rater_id: str, now: str) -> Outcome:
    """Store one answer of a rater; what cannot be stored is refused in a sentence."""
    try:
        with run.transaction():
            lease = _own(run, given.lease_id, rater_id)
            choice = choice_of(given.side, first_on_left=lease.first_on_left)
            _refuse_second(run, given, lease, choice)
            stored = answer(
                run,
                given.lease_id,
                stage=given.stage,
                choice=choice,
                now=now,
                comment=_comment(given.comment),
                shown_at=given.shown_at,
                details=details_of(run, task, lease, given),
                judgement_id=given.id,
            )
            aided = lease.comparison.aids_planned and given.stage is Stage.ALONE
            if aided and given.side is Side.SKIP:
                _skip_aided(run, given, now)
            elif aided:
                aids = aids_of_card(run, task, lease.comparison)
                return Outcome(given.id, saved=True, judgement_id=stored.id, aids=aids)
    except InvalidInput as error:
        return Outcome(given.id, saved=False, refused=_sentence(error))
    return Outcome(given.id, saved=True, judgement_id=stored.id)


def give_change(run: Run, given: GivenChange, *, rater_id: str, now: str) -> Outcome:
    """Replace an answer of a rater; after they were told who wrote what, the new one is kept as unblinded."""
    try:
        with run.transaction():
            old = judgement(run, given.judgement_id)
            lease = _own(run, old.lease_id, rater_id)
            stored = change(
                run,
                given.judgement_id,
                choice=choice_of(given.side, first_on_left=lease.first_on_left),
                now=now,
                comment=_comment(given.comment),
                details=details_of_change(run, old, given),
                new_id=given.id,
            )
    except InvalidInput as error:
        return Outcome(given.id, saved=False, refused=_sentence(error))
    return Outcome(given.id, saved=True, judgement_id=stored.id)


def take_back(
    run: Run,
    task: AbstractTask,
    *,
    undo_id: str,
    rater_id: str,
    tab: str,
    now: str,
    judgement_id: str | None = None,
) -> Outcome:
    """Take back the last answer of a rater that counts, or the one named; as often as they like."""
    try:
        with run.transaction():
            named = _end_of_skip(run, judgement_id)
            done = undo(run, rater_id=rater_id, now=now, judgement_id=named, undo_id=undo_id)
            if done is None:
                return Outcome(undo_id, saved=False, refused="There is no answer of yours left to take back.")
            if done.undone.rater_id != rater_id:
                raise InvalidInput(f"{undo_id} is the id of another rater's event; give each press an id of its own")
            done = _with_skipped_alone(run, done, undo_id=undo_id, rater_id=rater_id, now=now)
            return _taken_back(run, task, done, undo_id=undo_id, tab=tab)
    except InvalidInput as error:
        return Outcome(undo_id, saved=False, refused=_sentence(error))


def _taken_back(run: Run, task: AbstractTask, done: Undone, *, undo_id: str, tab: str) -> Outcome:
    said = TakenBack(
        side=side_of(done.undone.choice, first_on_left=done.leased.first_on_left),
        comment=done.undone.comment,
        flagged=bool(done.undone.details.get("flagged")),
    )
    if live_answer(run, done.leased.lease_id, done.undone.stage):
        # A change was taken back, and the answer before it counts again.
        return Outcome(undo_id, saved=True, judgement_id=done.judgement.id, taken_back=said)
    take(run, [done.leased.lease_id], tab=tab)
    card = cards_of(run, task, [done.leased])[0]
    return Outcome(undo_id, saved=True, judgement_id=done.judgement.id, card=card, taken_back=said)


def _skip_aided(run: Run, given: GivenAnswer, now: str) -> None:
    """Who skips without having looked is not asked a second time with the aids."""
    details: dict[str, object] = {"skipped_alone": True}
    answer(
        run,
        given.lease_id,
        stage=Stage.AIDED,
        choice=Choice.SKIP,
        now=now,
        details=details,
        judgement_id=f"{given.id}{_AIDED}",
    )


def _end_of_skip(run: Run, judgement_id: str | None) -> str | None:
    """A skip before the aids is two answers; whoever gave it knows the first, and the second is taken back first."""
    second = judgement_with(run, f"{judgement_id}{_AIDED}") if judgement_id else None
    return second.id if second and second.details.get("skipped_alone") else judgement_id


def _with_skipped_alone(run: Run, done: Undone, *, undo_id: str, rater_id: str, now: str) -> Undone:
    if not done.undone.details.get("skipped_alone"):
        return done
    alone = done.undone.id.removesuffix(_AIDED)
    further = undo(run, rater_id=rater_id, now=now, judgement_id=alone, undo_id=f"{undo_id}-alone")
    return further or done


def _own(run: Run, lease_id: str, rater_id: str) -> Leased:
    lease = leased(run, [lease_id])[0]
    if lease.rater_id != rater_id:
        raise InvalidInput("this comparison was given to another rater; each answers what was given to them")
    return lease


def _refuse_second(run: Run, given: GivenAnswer, lease: Leased, choice: Choice) -> None:
    """Say in the rater's words what `answer` would refuse as well: another answer where there is one already."""
    earlier = live_answer(run, given.lease_id, given.stage)
    if earlier is None or judgement_with(run, given.id) or (earlier.choice, earlier.comment) == (choice, given.comment):
        return
    side = side_of(earlier.choice, first_on_left=lease.first_on_left)
    raise InvalidInput(
        f"you answered this comparison already ({side.value.replace('_', ' ')}), perhaps in another window; "
        "change that answer in the history"
    )


def _comment(text: str) -> str:
    if len(text) > LONGEST_COMMENT:
        raise InvalidInput(f"the comment has {len(text)} characters and at most {LONGEST_COMMENT} fit; shorten it")
    return text


def _sentence(error: InvalidInput) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."


def outcomes(run: Run, task: AbstractTask, answers: Sequence[GivenAnswer], *, rater_id: str, now: str) -> list[Outcome]:
    """Store answers in their order, in one transaction; what is refused is left out and the others are stored."""
    with run.transaction():
        return [give_answer(run, task, each, rater_id=rater_id, now=now) for each in answers]
