"""Runs with judgements that sessions learn from, and ways to watch real workers."""

import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event

from rrm.opening import open_workbench
from rrm.rounds import play_round
from rrm.sessions import Session, SessionKind, create_session, launch, session, state_of
from rrm.sessions.records import AT_WORK, SessionState
from rrm.starting import start_run
from rrm.store import Run, artifact, utc_now
from rrm.store.run import LOCK_FILE
from tests.nursery import forked
from tests.rrm.small_runs import SMALL

SETTINGS: Mapping[str, object] = {
    "members": 3,
    "features": ["likelihood_statistics", "summed_hidden"],
    "rater_error": 0.1,
}
TRIES = 20_000
"""Looks at a condition, a hundredth of a second apart, before it counts as never coming true."""


def judged_run(folder: Path, *overrides: str) -> Path:
    """A small run whose level 0 has been judged by the simulated rater, and nothing fitted."""
    start_run(folder, [*SMALL, "run.levels=1", "judging.judgements_per_round=48", *overrides])
    with open_workbench(folder) as bench:
        play_round(bench, level=0, round=0, until="judge")
    return folder


def copy_of(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target))


def queued(run: Run, kind: SessionKind = SessionKind.REWARD_MODEL, **settings: object) -> str:
    """A session that waits to be launched."""
    chosen = {**SETTINGS, **settings} if kind is SessionKind.REWARD_MODEL else settings
    return create_session(run, kind=kind, level=0, round=0, settings=chosen, started_by="local", now=utc_now()).id


def until(condition: Callable[[], bool]) -> None:
    """Look until it is so."""
    for _ in range(TRIES):
        if condition():
            return
        Event().wait(0.01)
    raise AssertionError("that never came true")


def ended(run: Run, session_id: str) -> tuple[SessionState, Session]:
    """Wait until no worker is at the session any more."""
    until(lambda: state_of(run, session(run, session_id)) not in AT_WORK)
    found = session(run, session_id)
    return state_of(run, found), found


def worked_off(run: Run, session_id: str) -> Session:
    """Launch a session and wait until it has finished."""
    launch(run, session_id, spawn=forked)
    state, found = ended(run, session_id)
    assert state is SessionState.FINISHED, found.error
    return found


def worker_of(run: Run) -> int:
    """The process that holds the work lock; its number is written an instant after the lock is taken."""
    while not (written := (run.folder / LOCK_FILE).read_text()):
        pass
    return int(written)


def killed(run: Run, session_id: str) -> None:
    """Kill -9 the worker; its session must have been in the middle of its work."""
    os.kill(worker_of(run), signal.SIGKILL)
    state, _ = ended(run, session_id)
    assert state is SessionState.INTERRUPTED


def digests(run: Run, artifact_id: str) -> tuple[dict[str, str], str | None]:
    """What two equal models share: the files, and the judgements they were fitted to."""
    found = artifact(run, artifact_id)
    return dict(found.files), found.judgement_digest
