"""Trained models: registered with the digests of their files, promoted by decisions that are appended."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from reward_models.errors import ArtifactError, InvalidInput
from rrm.errors import RunCorrupt
from rrm.store.canonical import sha256_file
from rrm.store.judgements import judgement_digest
from rrm.store.records import Artifact, ArtifactKind, Decision, Judgement
from rrm.store.rows import to_record, to_row
from rrm.store.run import Run
from rrm.store.texts import conditions, one
from rrm.store.times import timestamp
from rrm.store.transaction import execute, insert_once, rows


def file_digests(folder: Path) -> dict[str, str]:
    """sha256 of every file in a folder, by its path within it; no folder or no file -> ArtifactError."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    if not files:
        raise ArtifactError(f"there are no files in {folder}; save the model there before it is registered")
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}


def register_artifact(
    run: Run,
    *,
    id: str,
    kind: ArtifactKind,
    level: int,
    round: int,
    folder: str,
    settings: Mapping[str, object],
    now: str,
    parents: Sequence[str] = (),
    judgements: Sequence[Judgement] = (),
) -> Artifact:
    """Record a model that lies in a folder of the run, with its files' digests and the judgements it was fitted to.

    Args:
        run: the run.
        id: the artifact's id, given by the caller.
        kind: what was trained.
        level: level of the recursion.
        round: round at that level.
        folder: relative to the run's folder, such as `models/agent-1-2`.
        settings: all that the training depended on.
        now: time of registration; not part of what makes two registrations equal.
        parents: the ids of the artifacts it was made from.
        judgements: the judgements it was fitted to.

    The same again returns what is stored; other files, settings or judgements under the id -> RunCorrupt.
    """
    if Path(folder).is_absolute() or ".." in Path(folder).parts:
        raise InvalidInput(
            f"the folder {folder!r} of artifact {id!r} must lie in the run's folder; give it relative to that"
        )
    new = Artifact(
        id=id,
        kind=kind,
        level=level,
        round=round,
        folder=folder,
        files=file_digests(run.folder / folder),
        settings=settings,
        parents=tuple(parents),
        judgement_digest=judgement_digest(judgements) if judgements else None,
        created_at=timestamp(now),
    )
    with run.transaction():
        stored = artifacts(run, id=id)
        if stored:
            return _same_or_corrupt(stored[0], new)
        insert_once(run.database, "artifacts", "id", [to_row(new)])
        run.database.conn.executemany(
            "INSERT INTO artifact_judgements (artifact_id, judgement_id) VALUES (?, ?)",
            [(id, judgement.id) for judgement in judgements],
        )
    return new


def _same_or_corrupt(stored: Artifact, new: Artifact) -> Artifact:
    old_row, new_row = to_row(stored), to_row(new)
    names = [name for name in new_row if name != "created_at" and new_row[name] != old_row[name]]
    if names:
        raise RunCorrupt(
            f"artifact {new.id!r} is registered already with another {', '.join(names)}; what is stored never changes. "
            "Register the new model under its own id"
        )
    return stored


def artifacts(
    run: Run,
    *,
    kind: ArtifactKind | None = None,
    level: int | None = None,
    round: int | None = None,
    id: str | None = None,
) -> list[Artifact]:
    """The artifacts of a kind, level and round (None: of all), in the order of their registration."""
    where, parameters = conditions({"kind": kind.value if kind else None, "level": level, "round": round, "id": id})
    found = rows(run.database, f"SELECT * FROM artifacts{where} ORDER BY position", parameters)
    return [to_record(Artifact, row) for row in found]


def artifact(run: Run, artifact_id: str) -> Artifact:
    """One artifact; an unknown id -> InvalidInput."""
    found = rows(run.database, "SELECT * FROM artifacts WHERE id = ?", (artifact_id,))
    return to_record(Artifact, one(found, "artifact", artifact_id))


def comparisons_fitted_to(run: Run, artifact_id: str) -> frozenset[str]:
    """The ids of the comparisons whose answers, or answers that were changed since, an artifact was fitted to."""
    query = """SELECT DISTINCT comparison_id FROM artifact_judgements JOIN judgements ON judgements.id = judgement_id
        WHERE artifact_id = ?"""
    return frozenset(str(row["comparison_id"]) for row in rows(run.database, query, (artifact_id,)))


def stale_judgements(run: Run, artifact_id: str) -> int:
    """How many of the judgements that an artifact was fitted to have been changed or taken back since."""
    query = """SELECT count(*) AS number FROM artifact_judgements
        WHERE artifact_id = ? AND judgement_id NOT IN (SELECT id FROM live_judgements)"""
    return int(rows(run.database, query, (artifact_id,))[0]["number"] or 0)


def set_promoted(
    run: Run, *, decision_id: str, artifact_id: str, promoted: bool, record: Mapping[str, object], now: str
) -> Decision:
    """Append the decision that an artifact is promoted, or is not (any more).

    `decision_id` is the caller's (such as the key of the step), so that a call repeated after a kill is one decision;
    the same id with another decision -> RunCorrupt.
    """
    with run.transaction():
        stored = rows(run.database, "SELECT * FROM decisions WHERE id = ?", (decision_id,))
        if stored:
            return _same_decision(to_record(Decision, stored[0]), artifact_id, promoted)
        position = int(rows(run.database, "SELECT count(*) AS number FROM decisions")[0]["number"] or 0) + 1
        decision = Decision(position, decision_id, artifact_id, promoted, record, timestamp(now))
        row = to_row(decision)
        marks = ", ".join("?" * len(row))
        execute(run.database, f"INSERT INTO decisions ({', '.join(row)}) VALUES ({marks})", list(row.values()))
    return decision


def _same_decision(stored: Decision, artifact_id: str, promoted: bool) -> Decision:
    if (stored.artifact_id, stored.promoted) != (artifact_id, promoted):
        raise RunCorrupt(
            f"decision {stored.id!r} is stored as {stored.artifact_id!r} promoted={stored.promoted}, not as "
            f"{artifact_id!r} promoted={promoted}; a decision never changes. Append another one under its own id"
        )
    return stored


def decisions(run: Run, *, level: int | None = None) -> list[Decision]:
    """All decisions about artifacts of a level (None: of all), in order."""
    where, parameters = conditions({"artifacts.level": level})
    query = f"""SELECT decisions.* FROM decisions JOIN artifacts ON artifacts.id = decisions.artifact_id{where}
        ORDER BY decisions.position"""
    return [to_record(Decision, row) for row in rows(run.database, query, parameters)]


def promoted_artifact(run: Run, *, kind: ArtifactKind, level: int) -> Artifact | None:
    """The artifact that was promoted last at a level, among those whose own last decision is that they are promoted."""
    query = """SELECT artifacts.* FROM artifacts JOIN decisions ON decisions.artifact_id = artifacts.id
        WHERE artifacts.kind = ? AND artifacts.level = ? AND decisions.promoted = 1 AND NOT EXISTS (
            SELECT 1 FROM decisions AS later
            WHERE later.artifact_id = artifacts.id AND later.position > decisions.position AND later.promoted = 0)
        ORDER BY decisions.position DESC LIMIT 1"""
    found = rows(run.database, query, (kind.value, level))
    return to_record(Artifact, found[0]) if found else None


def promoted_agent(run: Run, level: int) -> Artifact | None:
    """The agent promoted last at a level, or None before any was."""
    return promoted_artifact(run, kind=ArtifactKind.AGENT, level=level)
