"""Work that a page starts: sessions, each in a worker process of its own, recorded in the run's store."""

from rrm.sessions.launching import launch
from rrm.sessions.records import Session, SessionKind, SessionState, SessionStatus
from rrm.sessions.store import (
    create_session,
    request_stop,
    running_session,
    session,
    session_points,
    sessions,
    state_of,
)

__all__ = [
    "Session",
    "SessionKind",
    "SessionState",
    "SessionStatus",
    "create_session",
    "launch",
    "request_stop",
    "running_session",
    "session",
    "session_points",
    "sessions",
    "state_of",
]
