"""Two real processes on this machine, as `accelerate launch` starts them."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

CONFIG = "configs/accelerate/cpu-2.yaml"
LONGEST = 240
"""Seconds after which processes that wait for each other are ended."""


@contextmanager
def launched(module: str, arguments: Sequence[str], *, root: Path) -> Iterator[subprocess.Popen[str]]:
    """The launcher of the module; it runs beside the block, whose end waits for its output and asserts its success."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", CONFIG, "-m", module, *arguments]
    process = subprocess.Popen(
        command,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "ACCELERATE_USE_CPU": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
        output, _ = process.communicate(timeout=LONGEST)
        assert process.returncode == 0, output
    finally:
        # The launcher takes the processes that it started along.
        process.terminate()
        process.wait()
