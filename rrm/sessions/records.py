"""What a session is: a piece of work that somebody started, and that a worker process does."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class SessionKind(StrEnum):
    """What a session does."""

    REWARD_MODEL = "reward_model"
    """Fits a reward model to all judgements of a level so far."""
    ROUND = "round"
    """Plays a round, or several, as far as they go without people."""


class SessionStatus(StrEnum):
    """What the store says about a session; `SessionState` is what is shown."""

    QUEUED = "queued"
    """Made, and not begun."""
    RUNNING = "running"
    """Begun and not ended: at work now, or its process was killed."""
    STOPPED = "stopped"
    """Ended because somebody asked for it; it can be resumed."""
    FINISHED = "finished"
    """Ended, its result is stored."""
    FAILED = "failed"
    """Ended with an error; it can be resumed, as another attempt."""


class SessionState(StrEnum):
    """How a session stands, as people are shown it: the status, and whether its process lives."""

    QUEUED = "queued"
    """Made, and not begun."""
    RUNNING = "running"
    """At work now."""
    STOPPING = "stopping"
    """At work, and asked to stop: it does so at the next place where it can."""
    STOPPED = "stopped"
    """Stopped by somebody; goes on where it was when it is resumed."""
    INTERRUPTED = "interrupted"
    """Its process ended without a word (killed, power cut); goes on where it was when it is resumed."""
    FINISHED = "finished"
    """Done."""
    FAILED = "failed"
    """Ended with an error, which the session tells."""


RESUMABLE = frozenset({SessionState.QUEUED, SessionState.STOPPED, SessionState.INTERRUPTED, SessionState.FAILED})
"""The states from which a session can be launched."""
AT_WORK = frozenset({SessionState.RUNNING, SessionState.STOPPING})
"""The states in which a worker process lives."""


@dataclass(frozen=True, slots=True)
class Session:
    """One session, as the store has it."""

    id: str
    """Such as `session-3`; also the id of the reward model that it makes."""
    kind: SessionKind
    level: int
    round: int
    settings: Mapping[str, object]
    """What its kind lets people choose."""
    status: SessionStatus
    stop_requested: bool
    attempts: int
    """How often it was launched."""
    message: str
    """What it does now, or did last, in words."""
    done: int
    """Units done of the present piece of work."""
    total: int | None
    """Units of the present piece of work; None where unknown."""
    started_by: str
    """Id of the rater who started it."""
    created_at: str
    started_at: str | None
    """When it was launched first."""
    heartbeat_at: str | None
    """When its worker last wrote."""
    finished_at: str | None
    """When it ended, in whatever way."""
    seconds: float
    """Time at work over all attempts, without the pauses between them."""
    error: str | None
    """Why it failed, as a sentence for people."""
    result: Mapping[str, object] | None

    @property
    def number(self) -> int:
        """Its place among the sessions of the run, counted from 1."""
        return int(self.id.rsplit("-", 1)[1])
