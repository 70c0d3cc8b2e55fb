"""Whether a run is whole: each thing that can be wrong is looked for, and named."""

from collections.abc import Iterator
from pathlib import Path

from rrm.store.artifacts import artifacts
from rrm.store.canonical import sha256_file, sha256_text
from rrm.store.judgements import FIRST_HASH, chain_hash, chain_head, judgement_digest, shown_digest
from rrm.store.records import Artifact, Finding, Judgement
from rrm.store.rows import to_record
from rrm.store.run import Run
from rrm.store.transaction import Row, rows

_SHOWN = """SELECT judgements.position, judgements.id, judgements.shown_digest, leases.first_on_left,
        comparisons.prompt_sha256, first.text_sha256 AS first_sha256, second.text_sha256 AS second_sha256
    FROM judgements JOIN leases ON leases.id = judgements.lease_id
    JOIN comparisons ON comparisons.id = judgements.comparison_id
    JOIN completions AS first ON first.id = comparisons.first_completion_id
    JOIN completions AS second ON second.id = comparisons.second_completion_id ORDER BY judgements.position"""

_LEASES = """SELECT leases.id, leases.state, EXISTS (
        SELECT 1 FROM live_judgements WHERE lease_id = leases.id
            AND stage = CASE comparisons.aids_planned WHEN 1 THEN 'aided' ELSE 'alone' END) AS answered
    FROM leases JOIN comparisons ON comparisons.id = leases.comparison_id
    WHERE (leases.state = 'answered') != answered ORDER BY leases.id"""


def verify(folder: Path) -> list[Finding]:
    """Check a run and return what is wrong with it, the first wrong thing first; an empty list means it is whole.

    Looks at the database file, every text against its hash, the chain of judgements, what each judgement's rater was
    shown, the leases, and every artifact: the digest of the judgements it was fitted to and of each of its files. A
    folder without a run -> RunMissing; a file that is no database -> RunCorrupt.
    """
    with Run.open(folder) as run:
        damaged = list(_database(run))
        # Nothing that is read from a damaged file can be trusted, so the rest is not looked at.
        if damaged:
            return damaged
        return [*_texts(run), *_chain(run), *_shown(run), *_leases(run), *_artifacts(run)]


def _database(run: Run) -> Iterator[Finding]:
    for row in rows(run.database, "PRAGMA integrity_check"):
        if row["integrity_check"] != "ok":
            yield Finding("database", "run.db", f"SQLite reports damage: {row['integrity_check']}")
    for row in rows(run.database, "PRAGMA foreign_key_check"):
        where = f"{row['table']} row {row['rowid']}"
        yield Finding("database", where, f"{where} points to a row of {row['parent']} that does not exist")


def _texts(run: Run) -> Iterator[Finding]:
    for row in rows(run.database, "SELECT sha256, text FROM texts ORDER BY rowid"):
        if sha256_text(str(row["text"])) != row["sha256"]:
            yield Finding("text", str(row["sha256"]), f"text {row['sha256']} was changed: it does not have this sha256")


def _chain(run: Run) -> Iterator[Finding]:
    found = rows(run.database, "SELECT * FROM judgements ORDER BY position")
    previous = FIRST_HASH
    for expected, row in enumerate(found, start=1):
        fault = _fault(row, expected, previous)
        if fault:
            # One break makes everything after it unproven; further findings would only repeat it.
            yield Finding("judgement", str(row["id"]), f"judgement {row['id']} at position {row['position']}: {fault}")
            return
        previous = str(row["hash"])
    head = chain_head(run)
    if head != (len(found), previous):
        yield Finding(
            "judgement",
            f"position {head[0]}",
            f"the chain ends at position {len(found)}, but the run wrote up to {head[0]}",
        )


def _fault(row: Row, expected: int, previous: str) -> str | None:
    if row["position"] != expected:
        return f"position {expected} is missing before it"
    if row["previous_hash"] != previous:
        return "it does not follow the judgement before it (one was put in, taken out or changed)"
    if row["hash"] != chain_hash(row):
        return "it was changed: its content does not have its hash"
    return None


def _shown(run: Run) -> Iterator[Finding]:
    for row in rows(run.database, _SHOWN):
        seen = shown_digest(
            prompt_sha256=str(row["prompt_sha256"]),
            first_sha256=str(row["first_sha256"]),
            second_sha256=str(row["second_sha256"]),
            first_on_left=bool(row["first_on_left"]),
        )
        if seen != row["shown_digest"]:
            message = (
                f"judgement {row['id']} at position {row['position']}: its comparison is not the one that was shown"
            )
            yield Finding("judgement", str(row["id"]), message)


def _leases(run: Run) -> Iterator[Finding]:
    for row in rows(run.database, _LEASES):
        has = "has a final answer" if row["answered"] else "has no final answer"
        yield Finding("judgement", str(row["id"]), f"lease {row['id']} is {row['state']}, but {has}")


def _artifacts(run: Run) -> Iterator[Finding]:
    for artifact in artifacts(run):
        if _digest_of(run, artifact) != artifact.judgement_digest:
            yield Finding("artifact", artifact.id, f"artifact {artifact.id}: its judgements do not have their digest")
        yield from _files(run, artifact)


def _digest_of(run: Run, artifact: Artifact) -> str | None:
    query = """SELECT judgements.* FROM artifact_judgements JOIN judgements ON judgements.id = judgement_id
        WHERE artifact_id = ?"""
    used = [to_record(Judgement, row) for row in rows(run.database, query, (artifact.id,))]
    return judgement_digest(used) if used else None


def _files(run: Run, artifact: Artifact) -> Iterator[Finding]:
    for name, digest in artifact.files.items():
        path = run.folder / artifact.folder / name
        where = f"{artifact.folder}/{name}"
        if not path.is_file():
            yield Finding("file", where, f"artifact {artifact.id}: the file {where} is missing")
        elif sha256_file(path) != digest:
            yield Finding(
                "file", where, f"artifact {artifact.id}: the file {where} was changed since it was registered"
            )
