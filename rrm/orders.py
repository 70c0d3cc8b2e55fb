"""What the main of several processes tells the others: which weights are trained next, and when all is done.

The main process alone holds the lock, writes run.db and does the steps of a round. Where weights are trained it first
calls the others, which then build the same inputs from the run and take part; see `rrm.joint`.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from reward_models.processes import present_processes

Work = Literal["fit", "optimise"]
"""The steps in which all processes have a share."""


class Order(NamedTuple):
    """A piece of common work."""

    work: Work
    level: int
    round: int


def call(work: Work, *, level: int, round: int) -> None:
    """The main process: have the others take part. Without others, and in them, nothing."""
    processes = present_processes()
    if processes.several and processes.is_main:
        processes.say(json.dumps(Order(work, level, round)))


def next_order() -> Order | None:
    """Every other process: what comes next; None when all is done. Waits for the main one."""
    found = json.loads(present_processes().say(""))
    return None if found is None else Order(*found)


@contextmanager
def leading() -> Iterator[None]:
    """The main process: let the others go at the end of the block. If it fails, the launcher ends them."""
    yield
    processes = present_processes()
    if processes.several and processes.is_main:
        processes.say(json.dumps(None))
