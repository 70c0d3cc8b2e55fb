"""The worker process of a session: `python -m rrm.sessions.worker FOLDER SESSION`.

It outlives whoever started it, leaves the processor to the page, and writes all it does into the run's store. Whatever
ends it, the session can be resumed and ends with the same result.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from reward_models.errors import RrmError
from rrm.config import FILE_NAME
from rrm.config_file import read_config
from rrm.errors import Stopped
from rrm.opening import open_workbench
from rrm.sessions.locking import log_file, name_holder, take_locks
from rrm.sessions.progress import SessionProgress
from rrm.sessions.records import Session, SessionKind, SessionStatus
from rrm.sessions.reward_model import work_on_reward_model
from rrm.sessions.round import work_on_round
from rrm.sessions.store import begin_attempt, end_session, session
from rrm.store.run import Run
from rrm.store.times import utc_now
from rrm.workbench import Workbench

NICENESS = 5
"""How far the worker steps behind the page, which has to answer within a key press."""

WORK: Mapping[SessionKind, Callable[[Workbench, Session], Mapping[str, object]]] = {
    SessionKind.REWARD_MODEL: work_on_reward_model,
    SessionKind.ROUND: work_on_round,
}


def main(arguments: Sequence[str]) -> int:
    """Do the session that the arguments name: run folder, session id, and the locks if they are inherited."""
    folder, session_id = Path(arguments[0]), arguments[1]
    os.nice(NICENESS)
    with Run.open(folder) as run:
        locks = tuple(int(descriptor) for descriptor in arguments[2:])
        if not locks:
            locks = take_locks(folder, session_id)
            name_holder(locks[0], os.getpid())
            begin_attempt(run, session_id, now=utc_now())
        code = work(run, session(run, session_id))
        # Not left to the end of the process, which takes a while: whoever reads that it has ended may start the next.
        for descriptor in locks:
            os.close(descriptor)
        return code


def work(run: Run, found: Session) -> int:
    """Do a session that has begun, and record how it ends; 0 where nothing went wrong."""
    progress = SessionProgress(run, found)
    signal.signal(signal.SIGTERM, lambda *_: progress.stop())
    status, error, result = SessionStatus.FINISHED, None, None
    try:
        with open_workbench(
            run.folder, overrides=[f"run.threads={threads(run.folder)}"], progress=progress, exclusive=False
        ) as bench:
            result = WORK[found.kind](bench, found)
    except Stopped:
        status = SessionStatus.STOPPED
    except Exception as problem:
        traceback.print_exc()
        status, error = SessionStatus.FAILED, sentence(problem, log=log_file(run.folder, found.id))
    end_session(run, found.id, status=status, error=error, result=result, seconds=progress.seconds, now=utc_now())
    return int(status is SessionStatus.FAILED)


def threads(folder: Path) -> int:
    """The threads that the run is configured for; where it is not, all but one, which is left to the page."""
    return read_config(folder / FILE_NAME).run.threads or max(1, (os.cpu_count() or 1) - 1)


def sentence(problem: Exception, *, log: Path) -> str:
    """Why a session failed, for people; the traceback is in its log."""
    text = " ".join(str(problem).split())
    if isinstance(problem, RrmError) and text:
        return text if text.endswith((".", "!", "?")) else f"{text}."
    return f"Something went wrong that should not have ({type(problem).__name__}). The details are in {log.name}."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
