"""Open a run to work on it: configuration, store, task, base policy and rater, held by one process."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from agents.policy import Policy
from rrm.config import FILE_NAME, Configuration
from rrm.config_file import read_config
from rrm.errors import ConfigurationError, RunMissing
from rrm.judging.raters import AbstractRater, AssistantAlone, SimulatedReader
from rrm.progress import AbstractProgress, SilentProgress
from rrm.store import Run, utc_now
from rrm.store.run import DATABASE_FILE
from rrm.tasks.shiftlog.task import Shiftlog
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
    if not (folder / FILE_NAME).exists():
        raise RunMissing(f"There is no run in {folder} ({FILE_NAME} is missing); `rrm init {folder}` starts one.")
    config = read_config(folder / FILE_NAME, overrides)
    task = make_task(config)
    with _open_run(folder, config) as run:
        _check_unchanged(run, config)
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


def make_task(config: Configuration) -> AbstractTask:
    """The configured task. Raises ConfigurationError if it has fewer levels than the run wants."""
    task = Shiftlog(seed=config.run.seed)
    if config.run.levels > task.levels:
        raise ConfigurationError(
            f"run.levels is {config.run.levels}, but the task {task.name} has {task.levels} levels; set at most that."
        )
    return task


def configured_rater(task: AbstractTask, config: Configuration) -> AbstractRater | None:
    """The rater that the configuration names; None for people."""
    match config.judging.rater:
        case "simulated":
            return SimulatedReader(task, budget=config.judging.reading_budget)
        case "assistant":
            return AssistantAlone(task)
        case "people":
            return None


def _open_run(folder: Path, config: Configuration) -> Run:
    if not (folder / DATABASE_FILE).exists():
        return Run.create(folder, seed=config.run.seed, configuration=config.model_dump(mode="json"), now=utc_now())
    return Run.open(folder)


def _check_unchanged(run: Run, config: Configuration) -> None:
    """A seed that changes half-way would mix two worlds in one file."""
    if run.seed != config.run.seed:
        raise ConfigurationError(
            f"run.seed is {config.run.seed}, but this run was begun with {run.seed}; set it back, or start another run."
        )
