"""Open a run without any model: its configuration, its task and its store. Quick, for whoever only looks or judges."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rrm.config import FILE_NAME, Configuration
from rrm.config_file import read_config
from rrm.errors import ConfigurationError, RunMissing
from rrm.store.run import DATABASE_FILE, Run
from rrm.store.times import utc_now
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.task import AbstractTask


@dataclass(frozen=True, slots=True)
class RunFolder:
    """An open run with what its folder says about it."""

    run: Run
    task: AbstractTask
    config: Configuration


@contextmanager
def open_run_folder(folder: Path, *, overrides: Sequence[str] = ()) -> Iterator[RunFolder]:
    """Open the run in `folder`; its store is made if only `run.toml` is there.

    Raises RunMissing, RunCorrupt, SchemaTooNew, ConfigurationError.
    """
    if not (folder / FILE_NAME).exists():
        raise RunMissing(f"There is no run in {folder} ({FILE_NAME} is missing); `rrm init {folder}` starts one.")
    config = read_config(folder / FILE_NAME, overrides)
    task = make_task(config)
    with _open_store(folder, config) as run:
        _check_unchanged(run, config)
        yield RunFolder(run=run, task=task, config=config)


def make_task(config: Configuration) -> AbstractTask:
    """The configured task. Raises ConfigurationError if it has fewer levels than the run wants."""
    task = Shiftlog(seed=config.run.seed)
    if config.run.levels > task.levels:
        raise ConfigurationError(
            f"run.levels is {config.run.levels}, but the task {task.name} has {task.levels} levels; set at most that."
        )
    return task


def _open_store(folder: Path, config: Configuration) -> Run:
    if not (folder / DATABASE_FILE).exists():
        return Run.create(folder, seed=config.run.seed, configuration=config.model_dump(mode="json"), now=utc_now())
    return Run.open(folder)


def _check_unchanged(run: Run, config: Configuration) -> None:
    """A seed that changes half-way would mix two worlds in one file."""
    if run.seed != config.run.seed:
        raise ConfigurationError(
            f"run.seed is {config.run.seed}, but this run was begun with {run.seed}; set it back, or start another run."
        )
