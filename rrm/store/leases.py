"""Leases: a comparison in the hands of one rater, with a coin for the sides and a time when it runs out.

There is one lease for each comparison, rater and repeat. It is renewed when it is drawn again, so that the coin, and an
unassisted answer that was given already, stay with it.
"""

from collections.abc import Sequence

from rrm.store.canonical import canonical_json, derived_id, sha256_text
from rrm.store.records import Leased, StoredComparison
from rrm.store.rows import to_record
from rrm.store.run import Run
from rrm.store.texts import one
from rrm.store.times import later, timestamp
from rrm.store.transaction import Row, execute, rows, rows_in
from rrm.store.waiting import count_answered

LEASE_SECONDS = 300.0
"""How long a comparison stays with a rater who gives no sign of life."""

_LEASED = """
    SELECT leases.id AS lease_id, leases.rater_id, leases.first_on_left, leases.repeat, leases.expires_at,
        EXISTS (SELECT 1 FROM live_judgements WHERE lease_id = leases.id AND stage = 'alone') AS answered_alone,
        comparisons.*, prompt.text AS prompt, first_text.text AS first_text, second_text.text AS second_text,
        first.text_sha256 AS first_sha256, second.text_sha256 AS second_sha256
    FROM leases JOIN comparisons ON comparisons.id = leases.comparison_id
    JOIN completions AS first ON first.id = first_completion_id
    JOIN completions AS second ON second.id = second_completion_id
    JOIN texts AS prompt ON prompt.sha256 = prompt_sha256
    JOIN texts AS first_text ON first_text.sha256 = first.text_sha256
    JOIN texts AS second_text ON second_text.sha256 = second.text_sha256
    WHERE leases.id IN ({})"""


def lease(
    run: Run, comparison_ids: Sequence[str], *, rater_id: str, repeat: int, time: str, lease_seconds: float
) -> list[Leased]:
    """Give comparisons to a rater, or renew what they held. Call it inside a transaction; `draw_many` says which."""
    ids = [derived_id("lease", each, rater_id, repeat) for each in comparison_ids]
    expires = later(time, lease_seconds)
    for lease_id, comparison_id in zip(ids, comparison_ids, strict=True):
        coin = int(_first_on_left(run.seed, comparison_id, rater_id) != bool(repeat % 2))
        execute(
            run.database,
            """INSERT INTO leases (id, comparison_id, rater_id, repeat, first_on_left, state, created_at, expires_at)
            VALUES (?, ?, ?, ?, ?, 'open', ?, ?)
            ON CONFLICT (id) DO UPDATE SET state = 'open', expires_at = excluded.expires_at, released_at = NULL""",
            (lease_id, comparison_id, rater_id, repeat, coin, time, expires),
        )
    return leased(run, ids)


def _first_on_left(seed: int, comparison_id: str, rater_id: str) -> bool:
    # A fair coin that depends on nothing but the run's seed, the comparison and the rater: the same after a kill.
    return int(sha256_text(canonical_json(["side", seed, comparison_id, rater_id]))[:8], 16) % 2 == 1


def leased(run: Run, lease_ids: Sequence[str]) -> list[Leased]:
    """The leases with these ids, in this order, with what is to be shown; an unknown id -> InvalidInput."""
    found = {str(row["lease_id"]): row for row in rows_in(run.database, _LEASED, dict.fromkeys(lease_ids))}
    return [_record(one([found[each]] if each in found else [], "lease", each)) for each in lease_ids]


def _record(row: Row) -> Leased:
    return Leased(
        lease_id=str(row["lease_id"]),
        comparison=to_record(StoredComparison, row),
        rater_id=str(row["rater_id"]),
        first_text=str(row["first_text"]),
        second_text=str(row["second_text"]),
        first_on_left=bool(row["first_on_left"]),
        repeat=int(row["repeat"] or 0),
        expires_at=str(row["expires_at"]),
        answered_alone=bool(row["answered_alone"]),
    )


def open_leases(run: Run, *, rater_id: str, now: str) -> list[Leased]:
    """What a rater holds and has not answered, oldest first: what a page that was loaded anew shows."""
    query = "SELECT id FROM leases WHERE rater_id = ? AND state = 'open' AND expires_at > ? ORDER BY created_at, id"
    return leased(run, [str(row["id"]) for row in rows(run.database, query, (rater_id, timestamp(now)))])


def renew(run: Run, lease_id: str, *, now: str, lease_seconds: float = LEASE_SECONDS) -> None:
    """Give a rater who is still at it more time; a lease that is no longer open stays as it is."""
    with run.transaction():
        execute(
            run.database,
            "UPDATE leases SET expires_at = ? WHERE id = ? AND state = 'open'",
            (later(now, lease_seconds), lease_id),
        )


def give_back(run: Run, lease_id: str, *, now: str) -> None:
    """Return a comparison to the queue unanswered; a lease that is no longer open stays as it is."""
    release(run, lease_id, state="returned", now=now)


def release(run: Run, lease_id: str, *, state: str, now: str) -> None:
    """End an open lease, `answered` or `returned`. An answer also ends one that was returned before."""
    with run.transaction():
        execute(
            run.database,
            "UPDATE leases SET state = ?, released_at = ? WHERE id = ? AND (state = 'open' OR ? = 'answered')",
            (state, timestamp(now), lease_id, state),
        )
        count_answered(run, lease_id)


def reopen(run: Run, lease_id: str, *, now: str, lease_seconds: float) -> None:
    """Put a comparison back into its rater's hands, after its final answer was taken back."""
    with run.transaction():
        execute(
            run.database,
            "UPDATE leases SET state = 'open', released_at = NULL, expires_at = ? WHERE id = ?",
            (later(now, lease_seconds), lease_id),
        )
        count_answered(run, lease_id)
