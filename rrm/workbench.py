"""What the steps of a round work with, and how one step is done exactly once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch

from agents.policy import Policy
from reward_models.backbone import Backbone
from rrm.config import AgentSection, Configuration
from rrm.errors import RunCorrupt, Stopped
from rrm.judging.raters import AbstractRater
from rrm.progress import AbstractProgress
from rrm.rewards.models import AbstractRewards, load_rewards
from rrm.standing import BASE as BASE
from rrm.standing import artifact_id as artifact_id
from rrm.standing import assistant, incumbent
from rrm.steps.agent_choices import as_it_acts
from rrm.store import (
    Artifact,
    Run,
    Stage,
    artifact,
    begin_step,
    fail_step,
    finish_step,
    step_key,
    utc_now,
)
from rrm.tasks.document import Document
from rrm.tasks.task import AbstractTask, Split, documents, places

ADAPTER = "adapter_config.json"
"""The file by which PEFT knows a folder that holds an adapter and no whole model."""


@dataclass(frozen=True)
class Workbench:
    """A run with everything that its steps need; made by `rrm.opening.open_workbench`."""

    run: Run
    task: AbstractTask
    config: Configuration
    base: Policy
    """The base policy: where agents start, and the reference of their KL."""
    base_source: str
    """The folder or name that the base was read from."""
    rater: AbstractRater | None
    """Who answers at once; None where people answer in their own time."""
    progress: AbstractProgress

    @property
    def seed(self) -> int:
        """The number every random choice of the run follows from."""
        return self.config.run.seed

    def generator(self, *names: object) -> torch.Generator:
        """Randomness for one purpose, independent of what ran before."""
        return torch.Generator().manual_seed(self.seed_of(*names))

    def seed_of(self, *names: object) -> int:
        """A number in [0, 2**63) for one purpose."""
        text = "/".join(str(name) for name in (self.seed, *names))
        return int.from_bytes(sha256(text.encode()).digest()[:8], "big") >> 1

    def documents(self, *, split: Split, level: int, count: int, first: int = 0) -> tuple[Document, ...]:
        """Documents of the task at this level."""
        return documents(self.task, split=split, level=level, count=count, first=first)

    def places(self, *, split: Split, level: int, count: int, first: int = 0) -> tuple[int, ...]:
        """Places of documents of the task at this level, as `rrm.tasks.task.places` has them."""
        return places(self.task, split=split, level=level, count=count, first=first)

    def document(self, split: Split, level: int, place: int) -> Document:
        """The document of the task at this place."""
        return self.task.document(split=split, level=level, index=place)

    def policy(self, agent_id: str) -> Policy:
        """The base policy, or a trained agent read from the run's folder, as it was trained to act."""
        if agent_id == BASE:
            return self.base
        settings = AgentSection.model_validate(artifact(self.run, agent_id).settings)
        return as_it_acts(self.weights(agent_id), base=self.base, settings=settings)

    def weights(self, agent_id: str) -> Policy:
        """What training starts from: a copy of the base, or a trained agent, without limit or condition."""
        if agent_id == BASE:
            return self.base.copy()
        folder = self.run.folder / artifact(self.run, agent_id).folder
        if (folder / ADAPTER).exists():
            return Policy.load_adapter(folder, self.base)
        return Policy.load(folder, dtype=self.base.model.dtype, device=self.base.device, chat=self.base.chat)

    def incumbent(self, level: int) -> str:
        """Id of the agent that stands at this level now: the promoted one, or the base."""
        return incumbent(self.run, level)

    def assistant(self, level: int) -> str | None:
        """Id of the agent that helps to judge this level: the one that stands a level below. None without help."""
        return assistant(self.run, self.config, level)

    def final_stage(self, level: int) -> Stage:
        """The stage whose answer counts at this level: after the aid where there is one."""
        return Stage.ALONE if self.assistant(level) is None else Stage.AIDED

    def reward_model(self, level: int, round: int) -> Artifact:
        """The reward model fitted in this round."""
        return artifact(self.run, artifact_id("reward-model", level, round))

    def rewards(self, found: Artifact) -> AbstractRewards:
        """A reward model, read from the run's folder."""
        return load_rewards(self.run.folder / found.folder, backbone=self.backbone, chat=self.base.chat)

    def backbone(self) -> Backbone:
        """The base's trunk, for reward models whose members read texts."""
        found = Backbone.load(self.base_source, dtype=self.base.model.dtype, device=self.base.device)
        if not self.config.model.base:
            # What is fitted on it names it so, and not by where it lies on this machine; a digest knows its weights.
            found.model.name_or_path = f"{self.task.name} base"
        return found

    def model_folder(self, identifier: str) -> Path:
        """Where an artifact of the run lies."""
        return self.run.models / identifier


def once(
    bench: Workbench, *, level: int, round: int, name: str, work: Callable[[str], Mapping[str, object]]
) -> Mapping[str, object]:
    """Do a step unless it is done, and return its result.

    `work` gets the step's key. It must be idempotent: a process killed inside it does it again from the start (or from
    its own checkpoint), and ends with the same result.
    """
    step = begin_step(bench.run, level=level, round=round, name=name, now=utc_now())
    if step.finished:
        if step.result is None:
            raise RunCorrupt(f"Step {step.key} is marked finished but has no result; run `rrm verify` on this folder.")
        return step.result
    key = step_key(level=level, round=round, name=name)
    try:
        result = work(key)
    except Stopped:
        # Not a failure: the step stays begun, as after a kill, and is done when the work is started again.
        raise
    except Exception as error:
        fail_step(bench.run, key, f"{type(error).__name__}: {error}", now=utc_now())
        raise
    finish_step(bench.run, key, result, now=utc_now())
    return result
