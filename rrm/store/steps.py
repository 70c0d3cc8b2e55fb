"""Steps of a round, each done once however often its process is killed, and the curves they draw."""

from collections.abc import Mapping, Sequence

from reward_models.errors import InvalidInput
from rrm.errors import RunCorrupt
from rrm.store.canonical import canonical_json
from rrm.store.records import Progress, Step
from rrm.store.rows import to_record
from rrm.store.run import Run
from rrm.store.texts import one
from rrm.store.times import timestamp
from rrm.store.transaction import execute, rows, translated


def step_key(*, level: int, round: int, name: str) -> str:
    """The key of a step, such as `1/0/fit`."""
    return f"{level}/{round}/{name}"


def begin_step(run: Run, *, level: int, round: int, name: str, now: str) -> Step:
    """Begin a step and return it.

    One that is finished comes back as it is, with its result (`step.finished`), and must not be done again. One that
    was begun before, and whose process was killed or failed, comes back with one more attempt.
    """
    time = timestamp(now)
    key = step_key(level=level, round=round, name=name)
    with run.transaction():
        execute(
            run.database,
            """INSERT INTO steps (key, level, round, name, status, attempts, started_at, heartbeat_at)
            VALUES (?, ?, ?, ?, 'running', 1, ?, ?) ON CONFLICT (key) DO UPDATE
            SET status = 'running', attempts = attempts + 1, heartbeat_at = excluded.heartbeat_at,
                finished_at = NULL, error = NULL
            WHERE status != 'finished'""",
            (key, level, round, name, time, time),
        )
        return step(run, key)


def finish_step(run: Run, key: str, result: Mapping[str, object], *, now: str) -> Step:
    """Store a step's result; the same result again changes nothing, another one -> RunCorrupt.

    In one `run.transaction()` with the rows that the step wrote, it makes the step all or nothing.
    """
    written = canonical_json(dict(result))
    with run.transaction():
        stored = step(run, key)
        if stored.finished:
            if canonical_json(stored.result) != written:
                raise RunCorrupt(f"step {key} is finished with another result; a finished step is never done again")
            return stored
        _end(run, key, status="finished", result=written, error=None, now=now)
        return step(run, key)


def fail_step(run: Run, key: str, error: str, *, now: str) -> Step:
    """Store that a step ended with an error, as a sentence for people; a finished step -> RunCorrupt."""
    with run.transaction():
        if step(run, key).finished:
            raise RunCorrupt(f"step {key} is finished and cannot fail any more")
        _end(run, key, status="failed", result=None, error=error, now=now)
        return step(run, key)


def _end(run: Run, key: str, *, status: str, result: str | None, error: str | None, now: str) -> None:
    time = timestamp(now)
    execute(
        run.database,
        "UPDATE steps SET status = ?, result = ?, error = ?, finished_at = ?, heartbeat_at = ? WHERE key = ?",
        (status, result, error, time, time, key),
    )


def heartbeat(run: Run, key: str, *, now: str) -> None:
    """Say that the process of a step is alive."""
    with run.transaction():
        execute(run.database, "UPDATE steps SET heartbeat_at = ? WHERE key = ?", (timestamp(now), key))


def step(run: Run, key: str) -> Step:
    """One step; one that was never begun -> InvalidInput."""
    return to_record(Step, one(rows(run.database, "SELECT * FROM steps WHERE key = ?", (key,)), "step", key))


def steps(run: Run) -> list[Step]:
    """All steps in the order in which they were first begun."""
    return [to_record(Step, row) for row in rows(run.database, "SELECT * FROM steps ORDER BY rowid")]


def step_result(run: Run, key: str) -> Mapping[str, object] | None:
    """The result of a finished step; None where it was not finished or never begun."""
    found = rows(run.database, "SELECT * FROM steps WHERE key = ?", (key,))
    return to_record(Step, found[0]).result if found else None


def record_progress_many(run: Run, key: str, points: Sequence[tuple[int, Mapping[str, object]]], *, now: str) -> None:
    """Store points of a step's curve, and a heartbeat; a position given again replaces its point.

    A step that was killed goes on from its last checkpoint and so repeats some positions.
    """
    with run.transaction():
        if not rows(run.database, "SELECT 1 FROM steps WHERE key = ?", (key,)):
            raise InvalidInput(f"the run has no step {key!r}; begin it before its progress is recorded")
        with translated(run.database.conn):
            run.database.conn.executemany(
                """INSERT INTO progress (step_key, position, record) VALUES (?, ?, ?)
                ON CONFLICT (step_key, position) DO UPDATE SET record = excluded.record""",
                [(key, position, canonical_json(dict(record))) for position, record in points],
            )
        heartbeat(run, key, now=now)


def record_progress(run: Run, key: str, position: int, record: Mapping[str, object], *, now: str) -> None:
    """Store one point of a step's curve, as `record_progress_many` does."""
    record_progress_many(run, key, [(position, record)], now=now)


def progress(run: Run, key: str, *, after: int = -1) -> list[Progress]:
    """The points of a step's curve whose position is above `after`, in order."""
    query = "SELECT position, record FROM progress WHERE step_key = ? AND position > ? ORDER BY position"
    return [to_record(Progress, row) for row in rows(run.database, query, (key, after))]
