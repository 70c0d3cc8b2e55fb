"""Who is at work: locks that the kernel drops with the process, however that ends.

A worker holds two: the run's work lock, which it shares with `rrm round` and its like, so that one process works on a
run at a time; and one of its session. Whoever holds a session's lock holds the work lock too, so only a look at it
(`is_alive`) can stand in the way of taking it, and that for an instant.
"""

import fcntl
import os
from pathlib import Path

from rrm.errors import RunBusy
from rrm.store.run import LOCK_FILE

SESSIONS_FOLDER = "sessions"
"""Folder in the run's folder for locks, logs and unfinished work of sessions."""

_BUSY = (
    "Something else works on this run already: a session, or a command in a terminal. "
    "Wait for it to end, or stop it first."
)


def take_locks(folder: Path, session_id: str) -> tuple[int, int]:
    """Descriptors that hold the work lock and the session's lock, until they are closed.

    A child process that gets them holds the locks on. Raises RunBusy when another process works on the run.
    """
    (folder / SESSIONS_FOLDER).mkdir(exist_ok=True)
    work = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(work, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(work)
        raise RunBusy(_BUSY) from error
    try:
        own = os.open(lock_file(folder, session_id), os.O_RDWR | os.O_CREAT, 0o644)
    except BaseException:
        os.close(work)
        raise
    fcntl.flock(own, fcntl.LOCK_EX)
    # Until the new holder is named, nobody is: a number that is left over could be anybody's.
    os.ftruncate(work, 0)
    return work, own


def refuse_while_worked_on(folder: Path) -> None:
    """Raise RunBusy where `take_locks` would, before anything is recorded."""
    if is_worked_on(folder):
        raise RunBusy(_BUSY)


def name_holder(work: int, process: int) -> None:
    """Write which process holds the work lock, for the message to others."""
    os.ftruncate(work, 0)
    os.pwrite(work, str(process).encode("ascii"), 0)


def is_alive(folder: Path, session_id: str) -> bool:
    """Whether a process holds the session's lock."""
    return _is_held(lock_file(folder, session_id))


def is_worked_on(folder: Path) -> bool:
    """Whether a process works on the run: a session, or a command in a terminal. Do not ask more than is needed."""
    return _is_held(folder / LOCK_FILE)


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def lock_file(folder: Path, session_id: str) -> Path:
    """Where the lock of a session lies."""
    return folder / SESSIONS_FOLDER / f"{session_id}.lock"


def log_file(folder: Path, session_id: str) -> Path:
    """Where the worker of a session writes what is not for everybody: tracebacks, warnings."""
    return folder / SESSIONS_FOLDER / f"{session_id}.log"
