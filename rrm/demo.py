"""The main job from nothing to a report: start a run (or go on with it), climb, measure."""

from collections.abc import Sequence
from pathlib import Path

from rrm.config import FILE_NAME
from rrm.opening import open_workbench
from rrm.progress import AbstractProgress
from rrm.report import Report, write_report
from rrm.rounds import climb
from rrm.starting import start_run


def demo(folder: Path, *, seed: int, overrides: Sequence[str], progress: AbstractProgress) -> Report:
    """Climb all levels with the simulated rater and write the report. The same call again resumes where it stopped."""
    settings = [f"run.seed={seed}", *overrides]
    if not (folder / FILE_NAME).exists():
        start_run(folder, settings)
    with open_workbench(folder, overrides=settings, progress=progress) as bench:
        climb(bench)
        return write_report(bench)
