"""Processes that begin with everything imported.

To import Gradio or torch takes a process several seconds, so one that has done so stands by in each test worker, and
every page or round is a fork of it: a process of its own from there on, to be killed like any other.
"""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from rrm.sessions.locking import log_file
from rrm.store import Run

NURSERY = multiprocessing.get_context("forkserver")
NURSERY.set_forkserver_preload(["ui.cli", "ui.page.app", "rrm.sessions.worker", "tests.rrm.small_runs"])


def serve(arguments: Sequence[str], output: Connection) -> None:
    """`rrm` with these arguments in this process, whatever it prints into `output`."""
    from ui.cli import main

    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    output.close()
    main(arguments)


@dataclass(frozen=True)
class Descriptor:
    """An open file that a process inherits."""

    number: int

    def __reduce__(self) -> tuple[Callable[[Any], int], tuple[Any]]:
        return _inherited, (reduction.DupFd(self.number),)


@dataclass(frozen=True)
class Forked:
    """A worker of a session that began as a fork."""

    process: BaseProcess
    pid: int

    def wait(self) -> None:
        self.process.join()


def forked(run: Run, session_id: str, work: int, own: int) -> Forked:
    """What `rrm.sessions.launching.spawn_worker` does, without the seconds of importing."""
    names = (run.folder.absolute(), session_id, log_file(run.folder, session_id))
    process = NURSERY.Process(target=_work, args=(*names, Descriptor(work), Descriptor(own)))
    process.start()
    assert process.pid is not None
    return Forked(process, process.pid)


def _inherited(sent: Any) -> int:
    return int(sent.detach())


def _work(folder: Path, session_id: str, log: Path, work: int, own: int) -> None:
    from rrm.sessions.worker import main

    os.setsid()
    with log.open("ab") as written:
        for stream in (1, 2):
            os.dup2(written.fileno(), stream)
    raise SystemExit(main([str(folder), session_id, str(work), str(own)]))
