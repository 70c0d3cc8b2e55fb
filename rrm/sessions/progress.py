"""The progress of a session: written into the store, where the page reads it, and where a request to stop is heard."""

from time import monotonic
from typing import final

from rrm.errors import Stopped
from rrm.progress import AbstractProgress
from rrm.sessions.records import Session
from rrm.sessions.store import record_heartbeat, stop_requested
from rrm.store.run import Run
from rrm.store.times import utc_now

WRITE_EVERY = 0.25
"""Seconds between two writes of what is only shown; what begins is written at once."""


@final
class SessionProgress(AbstractProgress):
    """Writes what a session does and how far it is, with a heartbeat; every call raises Stopped when it is to stop."""

    def __init__(self, run: Run, session: Session) -> None:
        """Watch one attempt of a session."""
        self._run = run
        self._session = session
        self._began = monotonic()
        self._written = 0.0
        self._told = False
        self._task, self._note = session.message, ""
        self._done, self._total = 0, session.total

    @property
    def seconds(self) -> float:
        """Time at work over all attempts."""
        return self._session.seconds + monotonic() - self._began

    def stop(self) -> None:
        """Ask the work to stop at its next call; safe in a signal handler."""
        self._told = True

    def start(self, task: str, total: int | None = None) -> None:
        """Show a new piece of work."""
        self._task, self._note, self._done, self._total = task, "", 0, total
        self._show(at_once=True)

    def advance(self, count: int = 1) -> None:
        """Show that more is done."""
        self._done += count
        self._show(at_once=False)

    def note(self, text: str) -> None:
        """Show a figure beside the work."""
        self._note = text
        self._show(at_once=False)

    def finish(self, summary: str = "") -> None:
        """Show the work as done."""
        self._note = summary or self._note
        self._done = self._total or self._done
        self._show(at_once=True)

    def _show(self, *, at_once: bool) -> None:
        if self._told or stop_requested(self._run, self._session.id):
            raise Stopped("The session was asked to stop.")
        if not at_once and monotonic() - self._written < WRITE_EVERY:
            return
        self._written = monotonic()
        record_heartbeat(
            self._run,
            self._session.id,
            message=": ".join(part for part in (self._task, self._note) if part),
            done=self._done,
            total=self._total,
            seconds=self.seconds,
            now=utc_now(),
        )
