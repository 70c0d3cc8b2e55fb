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
from rrm.tasks.own_text import own_text
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.task import AbstractTask
from rrm.texts.store import TEXTS_FILE, read_trees


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
    task = make_task(config, folder)
    with _open_store(folder, config) as run:
        _check_unchanged(run, config)
        yield RunFolder(run=run, task=task, config=config)


def make_task(config: Configuration, folder: Path) -> AbstractTask:
    """The configured task of the run in `folder`; your own text is read and cut when it is wanted first.

    Raises ConfigurationError if it has fewer levels than the run wants, and as `rrm.preparing.prepare_texts`.
    """
    if config.run.task != "shiftlog":
        return _own_text(config, folder)
    task = Shiftlog(seed=config.run.seed)
    if config.run.levels > task.levels:
        raise ConfigurationError(
            f"run.levels is {config.run.levels}, but the task {task.name} has {task.levels} levels; set at most that."
        )
    return task


def _own_text(config: Configuration, folder: Path) -> AbstractTask:
    if not (folder / TEXTS_FILE).exists():
        # Only who reads texts needs the libraries that cut them to the size of a model.
        from rrm.preparing import prepare_texts

        prepare_texts(folder, config)
    stored = read_trees(folder / TEXTS_FILE)
    if config.run.levels > stored.header.levels:
        raise ConfigurationError(
            f"run.levels is {config.run.levels}, but the text of this run was cut for {stored.header.levels} levels; "
            "set at most that, or start another run."
        )
    return own_text(stored.trees, config, guidelines=_guidelines(config, folder))


def _guidelines(config: Configuration, folder: Path) -> str:
    """What raters are told, from the file beside the configuration; empty where none is named."""
    if not config.text.guidelines:
        return ""
    path = folder / config.text.guidelines
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the guidelines {path} cannot be read as UTF-8 text ({error}); restore the file, or empty text.guidelines"
        ) from error


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
