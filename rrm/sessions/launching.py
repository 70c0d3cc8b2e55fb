"""Launch a session: a worker process of its own, which outlives the page that started it."""

import os
import subprocess
import sys
from collections.abc import Callable
from threading import Thread
from typing import Protocol, runtime_checkable

from rrm.errors import RunError
from rrm.sessions.locking import log_file, name_holder, take_locks
from rrm.sessions.records import RESUMABLE, SessionStatus
from rrm.sessions.store import begin_attempt, end_session, running_session, session, state_of
from rrm.store.run import Run
from rrm.store.times import utc_now

WORKER = "rrm.sessions.worker"
"""The module that a worker process runs."""


@runtime_checkable
class Worker(Protocol):
    """A process that was begun."""

    @property
    def pid(self) -> int:
        """Its number."""

    def wait(self) -> object:
        """Until it has ended."""


Spawn = Callable[[Run, str, int, int], Worker]
"""Begins the worker of a session, which inherits the two locks by their file descriptors."""


def spawn_worker(run: Run, session_id: str, work: int, own: int) -> Worker:
    """A fresh Python process in a session of its own; what it prints goes to the session's log."""
    with log_file(run.folder, session_id).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", WORKER, str(run.folder.absolute()), session_id, str(work), str(own)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(work, own),
            start_new_session=True,
        )


def launch(run: Run, session_id: str, *, spawn: Spawn | None = None) -> None:
    """Start the worker of a session (by `spawn_worker` if not told how), or resume one that did not finish.

    When it returns the session is running: the worker holds the locks from its first instant, because it is given them.
    Raises RunBusy when another session or a command works on the run, RunError when the session is finished.
    """
    _refuse(run, session_id)
    work, own = take_locks(run.folder, session_id)
    try:
        found = begin_attempt(run, session_id, now=utc_now())
        try:
            process = (spawn or spawn_worker)(run, session_id, work, own)
        except OSError as error:
            message = f"The worker process could not be started: {error}."
            end_session(
                run, session_id, status=SessionStatus.FAILED, error=message, seconds=found.seconds, now=utc_now()
            )
            raise RunError(message) from error
        name_holder(work, process.pid)
    finally:
        os.close(work)
        os.close(own)
    # Somebody has to wait for a child that ended, or it stays in the table of processes while the page runs.
    Thread(target=process.wait, name=f"reaper of {session_id}", daemon=True).start()


def _refuse(run: Run, session_id: str) -> None:
    """Say in words why a session cannot be launched, where that is known before the locks are tried."""
    found = session(run, session_id)
    state = state_of(run, found)
    if state not in RESUMABLE:
        raise RunError(f"Session {found.number} is {state.value}, so there is nothing to start.")
    other = running_session(run)
    if other is not None:
        raise RunError(
            f"Session {other.number} is at work on this run, and one works at a time. "
            "Wait for it to end, or stop it first."
        )
