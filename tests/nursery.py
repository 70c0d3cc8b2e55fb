"""Processes that begin with everything imported.

To import Gradio or torch takes a process several seconds, so one that has done so stands by in each test worker, and
every page or round is a fork of it: a process of its own from there on, to be killed like any other.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import reduction
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any

import pytest
from torch.distributed import TCPStore

from rrm.sessions import launching
from rrm.sessions.locking import log_file
from rrm.store import Run
from tests.launching import LONGEST

NURSERY = multiprocessing.get_context("forkserver")
FORK = multiprocessing.get_context("fork")
NURSERY.set_forkserver_preload(
    ["tests.nursery", "ui.cli", "ui.page.app", "rrm.sessions.worker", "tests.rrm.small_runs"]
)


def serve(arguments: Sequence[str], output: Connection, fresh_workers: bool = True) -> None:
    """`rrm` with these arguments in this process, whatever it prints into `output`.

    The workers of its sessions are fresh Python processes as everywhere, or forks that had to import nothing.
    """
    from ui.cli import main

    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    output.close()
    if not fresh_workers:
        pytest.MonkeyPatch().setattr(launching, "spawn_worker", Standby.begin())
    main(arguments)


@contextmanager
def together(work: Callable[..., None], arguments: Sequence[str], *, log: Path) -> Iterator[None]:
    """Two processes that train together, as `tests.launching.launched` starts them, without its seconds of importing.

    They run beside the block, whose end waits for them and asserts their success; what they print is in `log`.
    """
    # The launcher has such a store too: no other test can take the port before the processes meet there.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    processes = [NURSERY.Process(target=_join, args=(rank, store.port, log, work, arguments)) for rank in (0, 1)]
    try:
        for process in processes:
            process.start()
        yield
        until = monotonic() + LONGEST
        while any(process.is_alive() for process in processes) and monotonic() < until:
            # Who waits for one that has failed would wait for ever.
            if any(process.exitcode for process in processes):
                break
            wait([process.sentinel for process in processes if process.is_alive()], timeout=1)
        assert [process.exitcode for process in processes] == [0, 0], log.read_text()
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()


def _join(rank: int, port: int, log: Path, work: Callable[..., None], arguments: Sequence[str]) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    os.environ.update(
        MASTER_ADDR="127.0.0.1",
        TORCHELASTIC_USE_AGENT_STORE="True",
        TORCHELASTIC_RESTART_COUNT="0",
        ACCELERATE_USE_CPU="true",
    )
    with log.open("ab") as written:
        for stream in (1, 2):
            os.dup2(written.fileno(), stream)
    work(*arguments)


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


@dataclass(frozen=True)
class Standby:
    """A process that forks the workers of a page, as `forked` does; a page has threads, so it cannot by itself."""

    orders: Connection
    pid: int
    busy: Lock = field(default_factory=Lock)

    @classmethod
    def begin(cls) -> "Standby":
        """It ends with this process; workers do not."""
        orders, heard = FORK.Pipe()
        pid = os.fork()
        if pid == 0:
            orders.close()
            _stand_by(heard)
        heard.close()
        return cls(orders, pid)

    def __call__(self, run: Run, session_id: str, work: int, own: int) -> "Standing":
        with self.busy:
            self.orders.send((run.folder.absolute(), session_id, log_file(run.folder, session_id)))
            for descriptor in (work, own):
                reduction.send_handle(self.orders, descriptor, self.pid)
            return Standing(self.orders.recv())


@dataclass(frozen=True)
class Standing:
    """A worker that another process waits for."""

    pid: int

    def wait(self) -> None:
        """Nothing is left to do."""


def _stand_by(heard: Connection) -> None:
    try:
        while True:
            names = heard.recv()
            locks = [reduction.recv_handle(heard) for _ in range(2)]
            worker = FORK.Process(target=_work, args=(*names, *locks))
            worker.start()
            for descriptor in locks:
                os.close(descriptor)
            heard.send(worker.pid)
    finally:
        # Not the way of Python, on which it would wait for workers.
        os._exit(0)


def _inherited(sent: Any) -> int:
    return int(sent.detach())


def _work(folder: Path, session_id: str, log: Path, work: int, own: int) -> None:
    from rrm.sessions.worker import main

    os.setsid()
    with log.open("ab") as written:
        for stream in (1, 2):
            os.dup2(written.fileno(), stream)
    raise SystemExit(main([str(folder), session_id, str(work), str(own)]))
