"""The chain of judgements: appending to it, reading what counts, and its digests.

Each row carries the hash of the row before it, so that a row that was changed, taken out or put in by hand breaks the
chain at that place, and `verify` names it. The chain is no signature: somebody who recomputes every hash after the
place leaves a chain that is whole.
"""

import json
from collections.abc import Iterable

from rrm.store.canonical import canonical_json, sha256_text
from rrm.store.records import Judgement, Purpose, Stage
from rrm.store.rows import to_record
from rrm.store.run import Run
from rrm.store.texts import conditions
from rrm.store.transaction import Row, SqlValue, execute, rows

FIRST_HASH = "0" * 64
"""What the first judgement names as the hash before it."""


def chain_hash(row: Row) -> str:
    """sha256 of the previous hash followed by the canonical JSON of all other columns."""
    content = {name: value for name, value in row.items() if name not in ("hash", "previous_hash")}
    return sha256_text(f"{row['previous_hash']}{canonical_json(content)}")


def shown_digest(*, prompt_sha256: str, first_sha256: str, second_sha256: str, first_on_left: bool) -> str:
    """Digest of what a rater was shown."""
    return sha256_text(canonical_json([prompt_sha256, first_sha256, second_sha256, first_on_left]))


def append(run: Run, new: Row) -> Judgement:
    """Append a judgement, given as a row without position and hashes; call it inside `run.transaction()`."""
    position, previous = chain_head(run)
    row: Row = {**new, "position": position + 1, "previous_hash": previous}
    row["hash"] = chain_hash(row)
    names = ", ".join(row)
    marks = ", ".join("?" * len(row))
    execute(run.database, f"INSERT INTO judgements ({names}) VALUES ({marks})", list(row.values()))
    execute(
        run.database,
        "INSERT INTO run (key, value) VALUES ('chain_head', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (canonical_json([row["position"], row["hash"]]),),
    )
    return to_record(Judgement, row)


def chain_head(run: Run) -> tuple[int, str]:
    """Position and hash of the last judgement, as the run keeps them beside the chain; (0, FIRST_HASH) before any."""
    found = rows(run.database, "SELECT value FROM run WHERE key = 'chain_head'")
    if not found:
        return 0, FIRST_HASH
    position, last = json.loads(str(found[0]["value"]))
    return int(position), str(last)


def live_judgements(
    run: Run,
    *,
    level: int | None = None,
    round: int | None = None,
    purpose: Purpose | None = None,
    stage: Stage | None = None,
    rater_id: str | None = None,
    repeats: bool = False,
) -> list[Judgement]:
    """The judgements that count (not taken back, not replaced), in the order of the chain.

    None means all. Repeat checks are left out unless `repeats`; they measure a rater and are no further evidence.
    """
    wanted: dict[str, SqlValue] = {
        "comparisons.level": level,
        "comparisons.round": round,
        "comparisons.purpose": purpose.value if purpose else None,
        "live_judgements.stage": stage.value if stage else None,
        "live_judgements.rater_id": rater_id,
        "live_judgements.repeat": None if repeats else 0,
    }
    where, parameters = conditions(wanted)
    query = f"""SELECT live_judgements.* FROM live_judgements
        JOIN comparisons ON comparisons.id = live_judgements.comparison_id{where} ORDER BY live_judgements.position"""
    return [to_record(Judgement, row) for row in rows(run.database, query, parameters)]


def judgement_digest(judgements: Iterable[Judgement]) -> str:
    """Digest of what was judged and how: two runs with the same answers have the same one, whenever they were given."""
    answers = sorted([each.comparison_id, each.rater_id, each.stage.value, each.choice.value] for each in judgements)
    return sha256_text(canonical_json(answers))
