"""Open a run to work on it: configuration, store, task, base policy and rater, held by one process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from agents.choosing import choose_device, choose_dtype
from agents.policy import Policy
from reward_models.processes import own_cores, present_processes
from rrm.config import Configuration
from rrm.errors import ConfigurationError, RunError
from rrm.judging.raters import AbstractRater, AssistantAlone, SimulatedReader
from rrm.judging.taste import TasteRater
from rrm.progress import AbstractProgress, SilentProgress
from rrm.run_folder import open_run_folder
from rrm.tasks.task import AbstractTask, known
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
    if exclusive and not present_processes().is_main:
        raise RunError("Several processes share train, fit and round only; do the rest without `accelerate launch`.")
    with open_run_folder(folder, overrides=overrides) as opened:
        run, task, config = opened.run, opened.task, opened.config
        torch.set_num_threads(config.run.threads or own_cores())
        source = base_source(task, config)
        bench = Workbench(
            run=run,
            task=task,
            config=config,
            base=base_policy(source, config),
            base_source=source,
            rater=rater if rater is not None else configured_rater(task, config),
            progress=progress if progress is not None else SilentProgress(),
        )
        if not exclusive:
            yield bench
            return
        with run.exclusive():
            yield bench


def base_source(task: AbstractTask, config: Configuration) -> str:
    """The folder or hub name of the base model: the configured one, else the one that comes with the task."""
    own = config.model.base or task.base_model()
    if own is None:
        raise ConfigurationError(f"the task {task.name} comes with no model; name one in model.base")
    return str(own)


def base_policy(source: str, config: Configuration) -> Policy:
    """The base policy on its device, in its precision, with its chat template where prompts go through one."""
    device = choose_device(config.model.device)
    dtype = choose_dtype(config.model.dtype, device, trained=config.agent.weights)
    found = Policy.load(source, dtype=dtype, device=device, chat=config.model.chat == "on")
    if config.model.chat == "auto" and found.tokenizer.chat_template:
        return Policy(found.model, found.tokenizer, chat=True)
    return found


def configured_rater(task: AbstractTask, config: Configuration) -> AbstractRater | None:
    """The rater that the configuration names; None for people."""
    match config.judging.rater:
        case "simulated":
            read = known(task, needed_for="The simulated reader")
            return SimulatedReader(read, budget=config.judging.reading_budget)
        case "assistant":
            return AssistantAlone(known(task, needed_for="The assistant alone"))
        case "taste":
            return TasteRater(config.judging.taste)
        case "people":
            return None
