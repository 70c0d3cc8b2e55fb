"""One sitting: what a rater was shown on a lease, and the answers they gave on it."""

from rrm.store.canonical import canonical_json, derived_id
from rrm.store.judgements import append, shown_digest
from rrm.store.records import Answer, Judgement, Stage
from rrm.store.rows import to_record
from rrm.store.run import Run
from rrm.store.texts import one
from rrm.store.times import timestamp
from rrm.store.transaction import Row, rows


def append_answer(run: Run, sitting: Row, given: Answer, time: str, *, supersedes: str | None) -> Judgement:
    """Append an answer of a sitting to the chain; call it inside a transaction."""
    query = "SELECT count(*) AS number, coalesce(sum(stage = 'alone'), 0) AS alone FROM judgements WHERE lease_id = ?"
    earlier = rows(run.database, query, (given.lease_id,))[0]
    # The aids come after the first unassisted answer, so any later answer of the sitting was given with them seen.
    aids_seen = bool(sitting["aids_planned"]) and (bool(earlier["alone"]) or given.stage is Stage.AIDED)
    new: Row = {
        "id": given.judgement_id
        or derived_id("judgement", given.lease_id, given.stage.value, int(earlier["number"] or 0)),
        "lease_id": given.lease_id,
        "comparison_id": sitting["comparison_id"],
        "rater_id": sitting["rater_id"],
        "stage": given.stage.value,
        "choice": given.choice.value,
        "comment": given.comment,
        "aids_seen": int(aids_seen),
        "repeat": sitting["repeat"],
        "details": canonical_json(dict(given.details)),
        "shown_digest": shown_digest(
            prompt_sha256=str(sitting["prompt_sha256"]),
            first_sha256=str(sitting["first_sha256"]),
            second_sha256=str(sitting["second_sha256"]),
            first_on_left=bool(sitting["first_on_left"]),
        ),
        "shown_at": timestamp(given.shown_at) if given.shown_at else None,
        "decided_at": time,
        "supersedes": supersedes,
    }
    return append(run, new)


def sitting_of(run: Run, lease_id: str) -> Row:
    """The row of a lease, with the hashes of what is shown and whether aids are planned; unknown -> InvalidInput."""
    query = """SELECT leases.*, comparisons.aids_planned, comparisons.prompt_sha256,
            first.text_sha256 AS first_sha256, second.text_sha256 AS second_sha256
        FROM leases JOIN comparisons ON comparisons.id = leases.comparison_id
        JOIN completions AS first ON first.id = first_completion_id
        JOIN completions AS second ON second.id = second_completion_id WHERE leases.id = ?"""
    return one(rows(run.database, query, (lease_id,)), "lease", lease_id)


def final_stage(sitting: Row) -> Stage:
    """The stage whose answer ends a sitting."""
    return Stage.AIDED if sitting["aids_planned"] else Stage.ALONE


def live_answer(run: Run, lease_id: str, stage: Stage) -> Judgement | None:
    """The answer of a sitting's stage that counts, if there is one."""
    query = "SELECT * FROM live_judgements WHERE lease_id = ? AND stage = ?"
    found = rows(run.database, query, (lease_id, stage.value))
    return to_record(Judgement, found[0]) if found else None


def last_answer(run: Run, rater_id: str) -> Judgement | None:
    """The last answer of a rater that counts, if there is one; not what they settled as a lead."""
    query = "SELECT * FROM live_judgements WHERE rater_id = ? AND repeat < 2 ORDER BY position DESC LIMIT 1"
    found = rows(run.database, query, (rater_id,))
    return to_record(Judgement, found[0]) if found else None


def judgement_with(run: Run, judgement_id: str) -> Judgement | None:
    """The judgement with this id, if there is one."""
    found = rows(run.database, "SELECT * FROM judgements WHERE id = ?", (judgement_id,))
    return to_record(Judgement, found[0]) if found else None


def judgement(run: Run, judgement_id: str) -> Judgement:
    """The judgement with this id; an unknown one -> InvalidInput."""
    query = "SELECT * FROM judgements WHERE id = ?"
    return to_record(Judgement, one(rows(run.database, query, (judgement_id,)), "judgement", judgement_id))
