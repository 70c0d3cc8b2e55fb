"""Adjudication: where raters disagree, a lead's answer stands for all of theirs.

It is a sitting of its own, so the raters' answers stay what they are, for agreement and for the record.
"""

from dataclasses import dataclass, replace

from reward_models.errors import InvalidInput
from rrm.judging.final import ADJUDICATION
from rrm.judging.queue import change
from rrm.judging.reveals import is_unblinded
from rrm.people.accounts import Person, ensure_rater, require_lead
from rrm.people.exclusions import left_out
from rrm.store.canonical import canonical_json
from rrm.store.comparisons import comparison
from rrm.store.leases import LEASE_SECONDS, lease, release
from rrm.store.records import Answer, Choice, Judgement, label_of
from rrm.store.run import Run
from rrm.store.samples import completion, document
from rrm.store.sittings import append_answer, final_stage, live_answer, sitting_of
from rrm.store.times import timestamp
from rrm.store.transaction import Row, rows

LONGEST_COMMENT = 5000

_LABEL = "CASE choice WHEN 'first' THEN 1.0 WHEN 'second' THEN 0.0 WHEN 'tie' THEN 0.5 WHEN 'both_bad' THEN 0.5 END"

# Final answers of people to what they judged blind; a planted comparison has its answer already.
_FINAL = f"""
    FROM live_judgements AS answer JOIN comparisons ON comparisons.id = answer.comparison_id
    JOIN raters ON raters.id = answer.rater_id
    WHERE answer.repeat = 0 AND purpose != 'test' AND (answer.stage = 'aided' OR aids_planned = 0)
        AND {_LABEL} IS NOT NULL AND NOT coalesce(json_extract(answer.details, '$.unblinded'), 0)
        AND answer.rater_id NOT IN (SELECT value FROM json_each(?))"""

# Not while somebody is still to be asked, who could be the lead: nobody sees what others said before answering.
_DISPUTED = f"""
    SELECT answer.comparison_id {_FINAL}
    AND NOT EXISTS (SELECT 1 FROM waiting
        WHERE waiting.comparison_id = answer.comparison_id AND raters_missing > 0)
    AND NOT EXISTS (SELECT 1 FROM live_judgements AS settled
        WHERE settled.comparison_id = answer.comparison_id AND settled.repeat = {ADJUDICATION}
            AND settled.rater_id NOT IN (SELECT rater_id FROM left_out_raters))
    GROUP BY answer.comparison_id HAVING count(DISTINCT {_LABEL}) > 1
    ORDER BY comparisons.level, comparisons.round, comparisons.position, answer.comparison_id"""

_ANSWERS = f"""
    SELECT raters.name, answer.choice, answer.comment {_FINAL} AND answer.comparison_id = ? ORDER BY answer.position"""


@dataclass(frozen=True, slots=True)
class RaterAnswer:
    """What one rater said of a disputed comparison."""

    rater: str
    """Name."""
    choice: Choice
    comment: str


@dataclass(frozen=True, slots=True)
class Disputed:
    """A comparison that raters answered differently, as the lead who settles it sees it."""

    comparison_id: str
    title: str
    source: str
    first: str
    second: str
    answers: tuple[RaterAnswer, ...]


def disputed_ids(run: Run) -> list[str]:
    """The comparisons that wait for adjudication, in the order in which they were asked."""
    return [str(row["comparison_id"]) for row in rows(run.database, _DISPUTED, (_out(run),))]


def disputed(run: Run, comparison_id: str, *, by: Person) -> Disputed:
    """One of them, with everybody's answer; leads only (NotAllowed)."""
    require_lead(by, "see the answers of others")
    asked = comparison(run, comparison_id)
    stored = document(run, asked.document_id)
    first, second = (completion(run, one).text for one in (asked.first_completion_id, asked.second_completion_id))
    return Disputed(
        comparison_id=comparison_id,
        title=stored.title,
        source=stored.text,
        first=first,
        second=second,
        answers=tuple(_rater_answer(row) for row in rows(run.database, _ANSWERS, (_out(run), comparison_id))),
    )


def adjudicate(
    run: Run,
    comparison_id: str,
    *,
    choice: Choice,
    by: Person,
    now: str,
    comment: str = "",
    guidelines: str | None = None,
) -> Judgement:
    """Settle a comparison: this answer is what fits and decisions use; leads only (NotAllowed).

    `guidelines` is the sha256 of those that the lead had. The same again returns what is stored; another choice by the
    same lead replaces it.
    """
    require_lead(by, "settle what raters disagree on")
    if label_of(choice) is None and choice is not Choice.CANNOT_TELL:
        raise InvalidInput(f"{choice.value!r} settles nothing; say which is better, that neither is, or cannot_tell")
    if len(comment) > LONGEST_COMMENT:
        raise InvalidInput(f"a comment of {len(comment)} characters came; write at most {LONGEST_COMMENT}")
    with run.transaction():
        ensure_rater(run, by)
        held = lease(
            run,
            [comparison(run, comparison_id).id],
            rater_id=by.rater_id,
            repeat=ADJUDICATION,
            time=timestamp(now),
            lease_seconds=LEASE_SECONDS,
        )[0]
        given = Answer(held.lease_id, final_stage(sitting_of(run, held.lease_id)), choice, comment)
        settled = _answer(run, given, now, guidelines)
        release(run, held.lease_id, state="answered", now=now)
        return settled


def _answer(run: Run, given: Answer, now: str, guidelines: str | None) -> Judgement:
    sitting = sitting_of(run, given.lease_id)
    earlier = live_answer(run, given.lease_id, given.stage)
    # A lead who was told who wrote what, after an answer of their own, settles it knowing that.
    told = is_unblinded(run, comparison_id=str(sitting["comparison_id"]), rater_id=str(sitting["rater_id"]))
    details: dict[str, object] = {"unblinded": True} if told else {}
    if guidelines is not None:
        details["guidelines"] = guidelines
    if earlier is None:
        return append_answer(run, sitting, replace(given, details=details), timestamp(now), supersedes=None)
    if (earlier.choice, earlier.comment) == (given.choice, given.comment):
        return earlier
    return change(run, earlier.id, choice=given.choice, now=now, comment=given.comment, details=details)


def _rater_answer(row: Row) -> RaterAnswer:
    return RaterAnswer(str(row["name"]), Choice(str(row["choice"])), str(row["comment"]))


def _out(run: Run) -> str:
    return canonical_json(sorted(left_out(run)))
