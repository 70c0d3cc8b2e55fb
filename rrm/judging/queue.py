"""The queue of comparisons: who is given which, and what becomes of the answers.

A rater draws a lease, answers once (or alone first and then aided, where aids are planned), and never gets the
comparison again unless the answer is taken back or a repeat is asked for. Leases run out by time and the comparison
goes to the next; an answer that comes late is kept all the same. Answers are rows appended to the chain: a change or
an undo is another row.

People and simulated raters go through the same functions. All are safe to repeat after a kill, and `run.transaction()`
around several makes them one.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from reward_models.errors import InvalidInput
from rrm.store.judgements import live_judgements
from rrm.store.leases import LEASE_SECONDS, give_back, lease, leased, open_leases, release, renew, reopen
from rrm.store.records import Answer, Choice, Judgement, Leased, Purpose, Stage
from rrm.store.rows import to_record
from rrm.store.run import Run
from rrm.store.sittings import (
    append_answer,
    final_stage,
    judgement,
    judgement_with,
    last_answer,
    live_answer,
    sitting_of,
)
from rrm.store.times import timestamp
from rrm.store.transaction import rows
from rrm.store.waiting import last_place

__all__ = [
    "LEASE_SECONDS",
    "Undone",
    "answer",
    "answer_many",
    "change",
    "draw",
    "draw_any",
    "draw_many",
    "give_back",
    "live_judgements",
    "open_leases",
    "renew",
    "undo",
]

# Open to a rater: not answered by them, not in their hands (unless they resume), and with fewer raters than planned.
_OPEN = """
    SELECT comparison_id AS id FROM waiting WHERE raters_missing > 0 {place} AND NOT EXISTS (
        SELECT 1 FROM leases WHERE leases.comparison_id = waiting.comparison_id AND rater_id = ? AND repeat = 0
            AND (state = 'answered' OR (state = 'open' AND expires_at > ? AND NOT ?)))
    AND (SELECT count(*) FROM leases WHERE leases.comparison_id = waiting.comparison_id AND rater_id != ?
            AND repeat = 0 AND state = 'open' AND expires_at > ?) < raters_missing
    ORDER BY level, round, place, comparison_id LIMIT ?"""

_BEHIND = "AND (level, round, place, comparison_id) > (?, ?, ?, ?)"


class Undone(NamedTuple):
    """What an undo did."""

    judgement: Judgement
    """The row that takes back."""
    undone: Judgement
    """The judgement that was taken back."""
    leased: Leased
    """The comparison, in the rater's hands again unless an earlier answer counts again."""


def draw_many(
    run: Run,
    *,
    rater_id: str,
    level: int,
    round: int,
    purpose: Purpose,
    count: int,
    now: str,
    lease_seconds: float = LEASE_SECONDS,
    resume: bool = False,
) -> list[Leased]:
    """Lease up to `count` open comparisons of one purpose to a rater, in the order in which they are to be asked.

    Args:
        run: the run.
        rater_id: a rater that is stored.
        level: level of the comparisons.
        round: round of the comparisons.
        purpose: what the judgements are for.
        count: how many at most.
        now: the time, ISO-8601 with an offset.
        lease_seconds: when the leases run out.
        resume: whether what the rater already holds comes (first or again) as well: for a program that was killed, and
            for a page that was loaded anew; not for a second page beside the first.
    """
    time = timestamp(now)
    query = _OPEN.format(place="AND level = ? AND round = ? AND purpose = ?")
    with run.transaction():
        parameters = (level, round, purpose.value, rater_id, time, int(resume), rater_id, time, count)
        found = [str(row["id"]) for row in rows(run.database, query, parameters)]
        return lease(run, found, rater_id=rater_id, repeat=0, time=time, lease_seconds=lease_seconds)


def draw_any(
    run: Run, *, rater_id: str, count: int, now: str, lease_seconds: float = LEASE_SECONDS, resume: bool = False
) -> list[Leased]:
    """Lease up to `count` open comparisons of any level, round and purpose: the lowest level and round first."""
    time = timestamp(now)
    parameters = (rater_id, time, int(resume), rater_id, time, count)
    with run.transaction():
        last = None if resume else last_place(run, rater_id)
        found = rows(run.database, _OPEN.format(place=_BEHIND), (*last, *parameters)) if last else []
        if len(found) < count:
            found = rows(run.database, _OPEN.format(place=""), parameters)
        ids = [str(row["id"]) for row in found]
        return lease(run, ids, rater_id=rater_id, repeat=0, time=time, lease_seconds=lease_seconds)


def draw(
    run: Run,
    *,
    rater_id: str,
    level: int,
    round: int,
    purpose: Purpose,
    now: str,
    lease_seconds: float = LEASE_SECONDS,
    resume: bool = False,
) -> Leased | None:
    """Lease the next open comparison to a rater, as `draw_many` does; None where there is none."""
    drawn = draw_many(
        run,
        rater_id=rater_id,
        level=level,
        round=round,
        purpose=purpose,
        count=1,
        now=now,
        lease_seconds=lease_seconds,
        resume=resume,
    )
    return drawn[0] if drawn else None


def answer_many(run: Run, answers: Sequence[Answer], *, now: str) -> list[Judgement]:
    """Append answers to the chain in the order given, all or none; when it returns they are on disk.

    Where aids are planned, the answer given alone comes first and the aided one is final; elsewhere the one given
    alone is final. The final answer ends the lease. The same answer sent again returns what is stored. InvalidInput:
    an unknown lease; an aided answer before the one alone, or where no aids are planned; another choice for what is
    answered already (`change` does that); a judgement id that is taken; `Choice.UNDO`.
    """
    time = timestamp(now)
    with run.transaction():
        return [_answer(run, each, time) for each in answers]


def answer(
    run: Run,
    lease_id: str,
    *,
    stage: Stage,
    choice: Choice,
    now: str,
    comment: str = "",
    shown_at: str | None = None,
    details: Mapping[str, object] | None = None,
    judgement_id: str | None = None,
) -> Judgement:
    """Append one answer, as `answer_many` does."""
    given = Answer(lease_id, stage, choice, comment, shown_at, dict(details or {}), judgement_id)
    return answer_many(run, [given], now=now)[0]


def _answer(run: Run, given: Answer, time: str) -> Judgement:
    _refuse_undo_choice(given.choice)
    sitting = sitting_of(run, given.lease_id)
    earlier = judgement_with(run, given.judgement_id) if given.judgement_id else None
    earlier = earlier or live_answer(run, given.lease_id, given.stage)
    if earlier:
        return _repeated(earlier, given)
    if given.stage is Stage.AIDED and not sitting["aids_planned"]:
        raise InvalidInput(f"comparison {sitting['comparison_id']!r} has no aids planned; answer it in the stage alone")
    if given.stage is Stage.AIDED and not live_answer(run, given.lease_id, Stage.ALONE):
        raise InvalidInput(
            f"lease {given.lease_id} has no answer given alone yet; that comes first, then the aided one"
        )
    stored = append_answer(run, sitting, given, time, supersedes=None)
    if given.stage is final_stage(sitting):
        release(run, given.lease_id, state="answered", now=time)
    return stored


def _refuse_undo_choice(choice: Choice) -> None:
    if choice is Choice.UNDO:
        raise InvalidInput("undo is not an answer; take an answer back with undo()")


def _repeated(stored: Judgement, given: Answer) -> Judgement:
    same = (stored.lease_id, stored.stage, stored.choice, stored.comment)
    if same == (given.lease_id, given.stage, given.choice, given.comment):
        return stored
    raise InvalidInput(
        f"lease {given.lease_id} stage {given.stage.value}: judgement {stored.id} says {stored.choice.value!r} "
        f"already, {given.choice.value!r} came; change or undo it instead of answering again"
    )


def change(
    run: Run,
    judgement_id: str,
    *,
    choice: Choice,
    now: str,
    comment: str = "",
    details: Mapping[str, object] | None = None,
    new_id: str | None = None,
) -> Judgement:
    """Replace an answer by another, at any later time; the old row stays and no longer counts.

    The same change again returns what is stored. A judgement that does not count (any more), or an undo ->
    InvalidInput.
    """
    _refuse_undo_choice(choice)
    time = timestamp(now)
    with run.transaction():
        old = judgement(run, judgement_id)
        given = Answer(old.lease_id, old.stage, choice, comment, old.shown_at, dict(details or {}), new_id)
        current = live_answer(run, old.lease_id, old.stage)
        earlier = judgement_with(run, new_id) if new_id else None
        if earlier is None and current and current.supersedes == old.id:
            earlier = current
        if earlier:
            return _repeated(earlier, given)
        if current is None or current.id != old.id:
            raise InvalidInput(
                f"judgement {judgement_id} does not count any more; change the one that does, or answer anew"
            )
        return append_answer(run, sitting_of(run, old.lease_id), given, time, supersedes=old.id)


def undo(
    run: Run,
    *,
    rater_id: str,
    now: str,
    judgement_id: str | None = None,
    undo_id: str | None = None,
    lease_seconds: float = LEASE_SECONDS,
) -> Undone | None:
    """Take back a rater's last answer that counts, or the one named; again and again, back to the first.

    Taking back a change lets the answer before it count again; otherwise the comparison is in the rater's hands
    again. With the same `undo_id` (or of the same judgement) a second call returns what the first did. None where
    nothing is left. An answer given alone, while an aided one stands on it, or another rater's -> InvalidInput.
    """
    time = timestamp(now)
    with run.transaction():
        done = _undo_done(run, undo_id, judgement_id)
        if done:
            return _undone(run, done)
        target = judgement(run, judgement_id) if judgement_id else last_answer(run, rater_id)
        if target is None:
            return None
        _refuse_undo(run, target, rater_id)
        given = Answer(target.lease_id, target.stage, Choice.UNDO, judgement_id=undo_id)
        sitting = sitting_of(run, target.lease_id)
        taking_back = append_answer(run, sitting, given, time, supersedes=target.id)
        if not live_answer(run, target.lease_id, final_stage(sitting)):
            reopen(run, target.lease_id, now=time, lease_seconds=lease_seconds)
        return _undone(run, taking_back)


def _undo_done(run: Run, undo_id: str | None, judgement_id: str | None) -> Judgement | None:
    found = judgement_with(run, undo_id) if undo_id else None
    if found and found.choice is not Choice.UNDO:
        raise InvalidInput(f"{undo_id} is the id of an answer, not of an undo; give each press an id of its own")
    if found or judgement_id is None:
        return found
    undoing = rows(run.database, "SELECT * FROM judgements WHERE supersedes = ? AND choice = 'undo'", (judgement_id,))
    return to_record(Judgement, undoing[0]) if undoing else None


def _refuse_undo(run: Run, target: Judgement, rater_id: str) -> None:
    if target.rater_id != rater_id:
        raise InvalidInput(
            f"judgement {target.id} is by rater {target.rater_id!r}, not {rater_id!r}; each takes back their own"
        )
    current = live_answer(run, target.lease_id, target.stage)
    if current is None or current.id != target.id:
        raise InvalidInput(f"judgement {target.id} does not count any more, so there is nothing to take back")
    if target.stage is Stage.ALONE and target.supersedes is None and live_answer(run, target.lease_id, Stage.AIDED):
        raise InvalidInput(f"an aided answer stands on judgement {target.id}; take that one back first")


def _undone(run: Run, row: Judgement) -> Undone:
    return Undone(row, judgement(run, str(row.supersedes)), leased(run, [row.lease_id])[0])
