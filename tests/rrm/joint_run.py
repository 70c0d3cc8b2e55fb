"""Commands that two processes give together.

accelerate launch --config_file configs/accelerate/cpu-2.yaml -m tests.rrm.joint_run RUN NARROW_RUN FOLDER
"""

import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from reward_models.processes import present_processes
from ui.cli import main as rrm


def said(*arguments: str) -> tuple[int, str]:
    """What a command of `rrm` exits with, and all that it prints."""
    printed = StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            rrm(arguments)
    except SystemExit as left:
        return int(left.code or 0), printed.getvalue()
    return 0, printed.getvalue()


def main(run: str, narrow: str, folder: str) -> None:
    """Train in one run, fail in the other, and ask one process alone for what it may not do."""
    rank = present_processes().rank
    found = {"train": said("train", run), "again": said("train", run), "narrow": said("train", narrow)}
    if rank == 1:
        found["report"] = said("report", run)
    (Path(folder) / f"found.{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
