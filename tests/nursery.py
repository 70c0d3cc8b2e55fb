"""Processes that begin with everything imported.

To import Gradio or torch takes a process several seconds, so one that has done so stands by in each test worker, and
every page or round is a fork of it: a process of its own from there on, to be killed like any other.
"""

import multiprocessing
import os
from collections.abc import Sequence
from multiprocessing.connection import Connection

NURSERY = multiprocessing.get_context("forkserver")
NURSERY.set_forkserver_preload(["ui.cli", "ui.page.app", "tests.rrm.small_runs"])


def serve(arguments: Sequence[str], output: Connection) -> None:
    """`rrm` with these arguments in this process, whatever it prints into `output`."""
    from ui.cli import main

    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    output.close()
    main(arguments)
