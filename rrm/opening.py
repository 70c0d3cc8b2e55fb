"""Open a run to work on it: configuration, store, task, base policy and rater, held by one process."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from agents.policy import Policy
from rrm.config import Configuration
from rrm.judging.raters import AbstractRater, AssistantAlone, SimulatedReader
from rrm.progress import AbstractProgress, SilentProgress
from rrm.run_folder import open_run_folder
from rrm.tasks.task import AbstractTask
from rrm.workbench import Workbench


@contextmanager
def open_workbench(
    folder: Path,
    *,
    overrides: Sequence[str] = (),
    progress: AbstractProgress | None = None,
    rater: AbstractRater | None = None,
    exclusive: bool = True,
) -> Iterator[Workbench]:
    """The workbench of the run in `folder`; its store is made if only `run.toml` is there.

    `rater` stands in for the configured one. With `exclusive` no other process can work on the run meanwhile. Raises
    RunMissing, RunBusy, RunCorrupt, SchemaTooNew, ConfigurationError, and ArtifactError without a base model.
    """
    with open_run_folder(folder, overrides=overrides) as opened:
        run, task, config = opened.run, opened.task, opened.config
        torch.set_num_threads(config.run.threads or os.cpu_count() or 1)
        base = Policy.load(task.base_model())
        base.model.to("cuda" if torch.cuda.is_available() else "cpu")
        bench = Workbench(
            run=run,
            task=task,
            config=config,
            base=base,
            rater=rater if rater is not None else configured_rater(task, config),
            progress=progress if progress is not None else SilentProgress(),
        )
        if not exclusive:
            yield bench
            return
        with run.exclusive():
            yield bench


def configured_rater(task: AbstractTask, config: Configuration) -> AbstractRater | None:
    """The rater that the configuration names; None for people."""
    match config.judging.rater:
        case "simulated":
            return SimulatedReader(task, budget=config.judging.reading_budget)
        case "assistant":
            return AssistantAlone(task)
        case "people":
            return None
