"""Reward models and agents of a run, each in a folder that other tools load, with a model card."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import ModelCardData

from reward_models.errors import ArtifactError, InvalidInput
from reward_models.full_model import FullModel
from reward_models.lora_model import LoraModel
from reward_models.member_export import export_full_member, export_lora_member
from reward_models.model_card import base_name, save_card
from rrm.rewards.models import AbstractRewards, TextRewards
from rrm.store import Artifact, ArtifactKind, Run, artifacts, step_key, step_result
from rrm.workbench import ADAPTER, Workbench


@dataclass(frozen=True)
class TakenModel:
    """One model as it was written."""

    id: str
    folder: str
    """Seen from the folder of the export."""
    what: str
    """What lies there, in a sentence."""


def write_models(bench: Workbench, folder: Path, *, moment: Run) -> list[TakenModel]:
    """Write every reward model and every agent that the run had at a moment (`database.one_moment`).

    Raises ArtifactError where one of them is damaged.
    """
    rewards, agents = (artifacts(moment, kind=kind) for kind in (ArtifactKind.REWARD_MODEL, ArtifactKind.AGENT))
    return [
        *(_write_reward_model(bench, found, folder, _figures(moment, found, name="fit")) for found in rewards),
        *(_write_agent(bench, found, folder, _figures(moment, found, name="optimise")) for found in agents),
    ]


def _write_reward_model(bench: Workbench, found: Artifact, folder: Path, figures: Mapping[str, object]) -> TakenModel:
    """The ensemble as this project loads it, and beside it each member as a classifier, where one can express it."""
    target = folder / "reward-models" / found.id
    bench.progress.note(f"reward model {found.id}")
    _copy(bench.run.folder / found.folder, target)
    rewards = bench.rewards(found)
    written = _members(rewards, target / "members", figures)
    how = (
        f"{written} members are in members/, each a one-output sequence classifier of transformers or peft"
        if written
        else "its members read features that no classifier of transformers has, so that only this project loads it"
    )
    _card(
        target,
        title=f"Reward model {found.id}",
        summary=f"An ensemble of {rewards.members} reward models, fitted to pairwise judgements of one run; {how}. "
        "The folder itself is loaded by `rrm.rewards.models.load_rewards`, or served by `rrm serve-reward`.",
        base=bench.base_source,
        pipeline="text-classification",
        figures=figures,
    )
    return TakenModel(found.id, str(target.relative_to(folder)), f"Reward model: {how}.")


def _members(rewards: AbstractRewards, target: Path, figures: Mapping[str, object]) -> int:
    """How many members were written; none where a classifier cannot express them."""
    if not isinstance(rewards, TextRewards):
        return 0
    model, chat = rewards.model, rewards.chat
    export: Callable[[int], object]
    if isinstance(model, LoraModel):
        lora = model
        export = lambda member: export_lora_member(lora, member, target / str(member), figures=figures, chat=chat)  # noqa: E731
    elif isinstance(model, FullModel):
        full = model
        export = lambda member: export_full_member(full, member, target / str(member), figures=figures, chat=chat)  # noqa: E731
    else:
        return 0
    try:
        for member in range(rewards.members):
            export(member)
    except InvalidInput:
        shutil.rmtree(target, ignore_errors=True)
        return 0
    return rewards.members


def _write_agent(bench: Workbench, found: Artifact, folder: Path, figures: Mapping[str, object]) -> TakenModel:
    target = folder / "agents" / found.id
    bench.progress.note(f"agent {found.id}")
    source = bench.run.folder / found.folder
    _copy(source, target)
    adapter = (source / ADAPTER).exists()
    what = "a PEFT adapter on the base model" if adapter else "a whole causal language model"
    limit = "a hard limit on its KL, which only this project applies" if found.settings.get("budget") else ""
    _card(
        target,
        title=f"Agent {found.id}",
        summary=f"{what[0].upper()}{what[1:]}, trained by {found.settings.get('objective')} on a reward model that was "
        f"learned from people's judgements{f'; it was trained within {limit}' if limit else ''}.",
        base=bench.base_source,
        pipeline="text-generation",
        figures=figures,
        library="peft" if adapter else "transformers",
    )
    return TakenModel(found.id, str(target.relative_to(folder)), f"Agent: {what}.")


def _figures(run: Run, found: Artifact, *, name: str) -> dict[str, object]:
    """The plain numbers of the step that made a model."""
    result = step_result(run, step_key(level=found.level, round=found.round, name=name)) or {}
    inner = result.get("held_out") if name == "fit" else result
    numbers = inner if isinstance(inner, Mapping) else {}
    return {
        key: value for key, value in numbers.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _copy(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise ArtifactError(f"the run's folder {source} is gone; restore it, `rrm verify` names what else is missing")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def _card(
    folder: Path,
    *,
    title: str,
    summary: str,
    base: str,
    pipeline: str,
    figures: Mapping[str, object],
    library: str = "rrm",
) -> None:
    data = ModelCardData(
        library_name=library,
        pipeline_tag=pipeline,
        tags=["recursive-reward-modeling", "human-feedback"],
        base_model=base_name(base) or None,
    )
    save_card(folder, data, title=title, parts=[summary], figures=figures)
