"""Sessions in the run's store: made, begun, watched, asked to stop, ended."""

from collections.abc import Mapping, Sequence

from reward_models.errors import InvalidInput
from rrm.errors import RunError
from rrm.sessions.locking import is_alive
from rrm.sessions.records import AT_WORK, Session, SessionKind, SessionState, SessionStatus
from rrm.store.canonical import canonical_json
from rrm.store.records import Progress
from rrm.store.rows import to_record
from rrm.store.run import Run
from rrm.store.times import timestamp
from rrm.store.transaction import SqlValue, execute, rows, translated


def create_session(
    run: Run,
    *,
    kind: SessionKind,
    level: int,
    round: int,
    settings: Mapping[str, object],
    started_by: str,
    now: str,
) -> Session:
    """Record a session that is to be launched. Its settings are checked by whoever knows the kind."""
    with run.transaction():
        position = int(rows(run.database, "SELECT coalesce(max(position), 0) + 1 AS n FROM sessions")[0]["n"] or 1)
        identifier = f"session-{position}"
        execute(
            run.database,
            """INSERT INTO sessions (position, id, kind, level, round, settings, status, started_by, created_at)
            VALUES (?, ?, ?, ?, ?, ?, 'queued', ?, ?)""",
            (
                position,
                identifier,
                kind.value,
                level,
                round,
                canonical_json(dict(settings)),
                started_by,
                timestamp(now),
            ),
        )
        return session(run, identifier)


def session(run: Run, session_id: str) -> Session:
    """One session; an unknown id -> InvalidInput."""
    found = rows(run.database, "SELECT * FROM sessions WHERE id = ?", (session_id,))
    if not found:
        raise InvalidInput(f"There is no session {session_id!r} in this run; choose one of the list.")
    return to_record(Session, found[0])


def sessions(run: Run, *, kind: SessionKind | None = None) -> list[Session]:
    """All sessions of a kind (None: of all), in the order in which they were made."""
    query = "SELECT * FROM sessions WHERE kind = coalesce(?, kind) ORDER BY position"
    return [to_record(Session, row) for row in rows(run.database, query, (kind.value if kind else None,))]


def state_of(run: Run, session: Session) -> SessionState:
    """How a session stands: what the store says, and whether its process lives."""
    if session.status is not SessionStatus.RUNNING:
        return SessionState(session.status.value)
    if is_alive(run.folder, session.id):
        return SessionState.STOPPING if session.stop_requested else SessionState.RUNNING
    # A worker writes its end before it lets the lock go: what is read now, after the look at the lock, is the truth.
    status = _status(run, session.id)
    return SessionState.INTERRUPTED if status is SessionStatus.RUNNING else SessionState(status.value)


def running_session(run: Run) -> Session | None:
    """The session that is at work now, whatever its kind; there is one at most."""
    query = "SELECT * FROM sessions WHERE status = 'running' ORDER BY position"
    for row in rows(run.database, query):
        found = to_record(Session, row)
        if state_of(run, found) in AT_WORK:
            return found
    return None


def request_stop(run: Run, session_id: str, *, now: str) -> Session:
    """Ask a session to stop at the next place where it can; one that is not at work is stopped at once.

    A session that has ended -> RunError.
    """
    with run.transaction():
        found = session(run, session_id)
        state = state_of(run, found)
        if state in AT_WORK:
            execute(run.database, "UPDATE sessions SET stop_requested = 1 WHERE id = ?", (session_id,))
        elif state in (SessionState.QUEUED, SessionState.INTERRUPTED):
            end_session(run, session_id, status=SessionStatus.STOPPED, seconds=found.seconds, now=now)
        else:
            raise RunError(f"Session {found.number} is {state.value} already; there is nothing to stop.")
        return session(run, session_id)


def begin_attempt(run: Run, session_id: str, *, now: str) -> Session:
    """Mark a session as running, one attempt more; call it holding its lock. A finished one -> RunError."""
    time = timestamp(now)
    with run.transaction():
        if session(run, session_id).status is SessionStatus.FINISHED:
            raise RunError(f"Session {session_id.rsplit('-', 1)[1]} is finished; start a new one instead.")
        execute(
            run.database,
            """UPDATE sessions SET status = 'running', stop_requested = 0, attempts = attempts + 1,
                message = 'Getting ready', done = 0, total = NULL, error = NULL, finished_at = NULL,
                started_at = coalesce(started_at, ?), heartbeat_at = ? WHERE id = ?""",
            (time, time, session_id),
        )
        return session(run, session_id)


def record_heartbeat(
    run: Run, session_id: str, *, message: str, done: int, total: int | None, seconds: float, now: str
) -> None:
    """Store what a session does now, and the time it has worked."""
    parameters: Sequence[SqlValue] = (message, done, total, seconds, timestamp(now), session_id)
    with run.transaction():
        execute(
            run.database,
            "UPDATE sessions SET message = ?, done = ?, total = ?, seconds = ?, heartbeat_at = ? WHERE id = ?",
            parameters,
        )


def end_session(
    run: Run,
    session_id: str,
    *,
    status: SessionStatus,
    seconds: float,
    now: str,
    error: str | None = None,
    result: Mapping[str, object] | None = None,
) -> None:
    """Store how a session ended."""
    time = timestamp(now)
    written = canonical_json(dict(result)) if result is not None else None
    with run.transaction():
        execute(
            run.database,
            """UPDATE sessions SET status = ?, error = ?, result = ?, seconds = ?, finished_at = ?,
                heartbeat_at = coalesce(heartbeat_at, ?), stop_requested = 0 WHERE id = ?""",
            (status.value, error, written, seconds, time, time, session_id),
        )


def stop_requested(run: Run, session_id: str) -> bool:
    """Whether somebody asked the session to stop."""
    found = rows(run.database, "SELECT 1 FROM sessions WHERE id = ? AND stop_requested = 1", (session_id,))
    return bool(found)


def record_points(run: Run, session_id: str, points: Sequence[tuple[int, Mapping[str, object]]]) -> None:
    """Store points of a session's curve; a position given again replaces its point."""
    with run.transaction(), translated(run.database.conn):
        run.database.conn.executemany(
            """INSERT INTO session_points (session_id, position, record) VALUES (?, ?, ?)
            ON CONFLICT (session_id, position) DO UPDATE SET record = excluded.record""",
            [(session_id, position, canonical_json(dict(record))) for position, record in points],
        )


def session_points(run: Run, session_id: str, *, after: int = -1) -> list[Progress]:
    """The points of a session's curve whose position is above `after`, in order."""
    query = "SELECT position, record FROM session_points WHERE session_id = ? AND position > ? ORDER BY position"
    return [to_record(Progress, row) for row in rows(run.database, query, (session_id, after))]


def _status(run: Run, session_id: str) -> SessionStatus:
    return SessionStatus(
        str(rows(run.database, "SELECT status FROM sessions WHERE id = ?", (session_id,))[0]["status"])
    )
