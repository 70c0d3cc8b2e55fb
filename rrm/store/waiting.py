"""What still waits to be judged, and in which order it is asked: kept beside the comparisons, in the same transactions.

Nothing here is evidence: the table follows from comparisons and leases, apart from the order, which the current reward
model may change.
"""

from collections.abc import Sequence

from rrm.store.records import Purpose, StoredComparison
from rrm.store.run import Run, set_value
from rrm.store.times import timestamp
from rrm.store.transaction import execute, rows, rows_in, translated

_ORDERED_AT = "ordered_at"


def put_waiting(run: Run, new: Sequence[StoredComparison]) -> None:
    """Let new comparisons wait; those that are known already keep their place. Call it inside a transaction."""
    last: dict[tuple[int, int, str], int] = {}
    for each in new:
        key = (each.level, each.round, each.purpose.value)
        last[key] = max(last.get(key, 0), each.position)
    with translated(run.database.conn):
        run.database.conn.executemany(
            """INSERT INTO waiting (comparison_id, level, round, purpose, place, raters_planned, raters_missing)
            VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (comparison_id) DO NOTHING""",
            [
                (
                    each.id,
                    each.level,
                    each.round,
                    each.purpose.value,
                    # A share of its purpose's comparisons, so that the purposes of a round are asked evenly mixed.
                    (each.position + 0.5) / (1.0 + last[each.level, each.round, each.purpose.value]),
                    each.raters_planned,
                    each.raters_planned,
                )
                for each in new
            ],
        )


# The answers of somebody who is left out do not count, so others are asked instead.
_COUNT = """UPDATE waiting SET raters_missing = raters_planned - (
        SELECT count(*) FROM leases WHERE leases.comparison_id = waiting.comparison_id
            AND repeat = 0 AND state = 'answered' AND rater_id NOT IN (SELECT rater_id FROM left_out_raters))
    WHERE comparison_id IN """


def count_answered(run: Run, lease_id: str) -> None:
    """Bring what is missing of a lease's comparison up to date, after the lease changed its state."""
    execute(run.database, f"{_COUNT} (SELECT comparison_id FROM leases WHERE id = ?)", (lease_id,))


def count_answered_by(run: Run, rater_id: str) -> None:
    """Bring up to date what is missing of all that a rater answered, after they were left out or taken in again."""
    execute(run.database, f"{_COUNT} (SELECT comparison_id FROM leases WHERE rater_id = ?)", (rater_id,))


def set_order(run: Run, order: Sequence[tuple[str, float, str]], *, now: str) -> None:
    """Change the order of asking: comparison id, place in [0, 1) (lower is earlier), and the reason for it."""
    with run.transaction(), translated(run.database.conn):
        set_value(run, _ORDERED_AT, timestamp(now))
        run.database.conn.executemany(
            "UPDATE waiting SET place = ?, reason = ? WHERE comparison_id = ?",
            [(place, reason, comparison_id) for comparison_id, place, reason in order],
        )


def last_place(run: Run, rater_id: str) -> tuple[int, int, float, str] | None:
    """Level, round, place and id of what a rater was given last, if the order is still the one it was given in.

    All before it was answered by them or skipped for a reason that mostly lasts, so that a search for what is open to
    them may begin behind it, and needs to begin anew only where nothing is found.
    """
    query = """SELECT level, round, place, comparison_id FROM leases JOIN waiting USING (comparison_id)
        WHERE rater_id = ? AND leases.repeat = 0
            AND leases.created_at > coalesce((SELECT json_extract(value, '$') FROM run WHERE key = ?), '')
        ORDER BY leases.created_at DESC, level DESC, round DESC, place DESC LIMIT 1"""
    found = rows(run.database, query, (rater_id, _ORDERED_AT))
    if not found:
        return None
    row = found[0]
    return int(row["level"] or 0), int(row["round"] or 0), float(row["place"] or 0.0), str(row["comparison_id"])


def asked_because(run: Run, comparison_id: str) -> str:
    """Why a comparison is asked where it is: the reason of its last reordering, or of its selection."""
    return reasons(run, [comparison_id]).get(comparison_id, "")


def reasons(run: Run, comparison_ids: Sequence[str]) -> dict[str, str]:
    """Why comparisons are asked where they are, by id."""
    query = """SELECT comparisons.id, coalesce(waiting.reason, comparisons.reason) AS reason
        FROM comparisons LEFT JOIN waiting ON comparison_id = comparisons.id WHERE comparisons.id IN ({})"""
    return {str(row["id"]): str(row["reason"]) for row in rows_in(run.database, query, comparison_ids)}


def missing_answers(run: Run, *, level: int, round: int, purposes: Sequence[Purpose]) -> int:
    """How many final answers the comparisons of these purposes still wait for."""
    query = """SELECT coalesce(sum(max(raters_missing, 0)), 0) AS missing FROM waiting
        WHERE level = ? AND round = ? AND purpose = ?"""
    found = (rows(run.database, query, (level, round, purpose.value))[0]["missing"] for purpose in purposes)
    return sum(int(missing or 0) for missing in found)
