"""Optimise: an agent is trained to get the reward and to stay near the base."""

from collections.abc import Callable, Mapping
from dataclasses import asdict

import torch

from agents.rollout import Rollouts
from agents.training import StepRecord, TrainSettings, train
from reward_models.ensemble import Ensemble
from reward_models.estimate import RewardEstimate
from rrm.config import RewardSection
from rrm.store import ArtifactKind, record_progress, register_artifact, utc_now
from rrm.tasks.task import Split
from rrm.workbench import BASE, Workbench, artifact_id

LAST_STEPS = 10
"""Steps at the end of training whose mean stands in the step's result."""


def optimise(bench: Workbench, *, level: int, round: int, key: str) -> Mapping[str, object]:
    """Train from the agent that stands at the level, on this round's training documents; KL is to the base.

    Goes on from its last checkpoint after a kill, and ends with the same weights.
    """
    identifier = artifact_id("agent", level, round)
    reward_model = bench.reward_model(level, round)
    settings = bench.config.agent
    begin = bench.incumbent(level)
    policy = bench.base.copy() if begin == BASE else bench.policy(begin)
    found = bench.documents(
        split=Split.TRAIN,
        level=level,
        count=bench.config.sampling.train_documents,
        first=round * bench.config.sampling.train_documents,
    )
    bench.progress.start("optimise", settings.steps)

    def watch(record: StepRecord) -> None:
        record_progress(bench.run, key, record.step, asdict(record), now=utc_now())
        bench.progress.advance()
        bench.progress.note(f"reward {record.reward:+.2f}, KL {record.kl:.2f} nats")

    records = train(
        policy,
        bench.base,
        prompts=[bench.task.prompt(document) for document in found],
        reward=conservative_reward(bench.ensemble(level, round), bench.config.reward),
        settings=TrainSettings(
            steps=settings.steps,
            prompts_per_step=settings.prompts_per_step,
            group=settings.group,
            learning_rate=settings.learning_rate,
            beta=settings.beta,
            max_new_tokens=bench.config.sampling.max_new_tokens,
            checkpoint_every=settings.checkpoint_every,
            bfloat16=settings.bf16,
        ),
        seed=bench.seed_of("optimise", level, round),
        checkpoint=bench.run.folder / "checkpoints" / identifier,
        on_step=watch,
    )
    folder = bench.model_folder(identifier)
    policy.save(folder)
    register_artifact(
        bench.run,
        id=identifier,
        kind=ArtifactKind.AGENT,
        level=level,
        round=round,
        folder=str(folder.relative_to(bench.run.folder)),
        settings=settings.model_dump(mode="json"),
        parents=(reward_model.id,) if begin == BASE else (reward_model.id, begin),
        now=utc_now(),
    )
    bench.progress.finish()
    last = records[-LAST_STEPS:]
    return {
        "agent": identifier,
        "started_from": begin,
        "reward": sum(record.reward for record in last) / len(last),
        "kl": sum(record.kl for record in last) / len(last),
    }


def conservative_reward(ensemble: Ensemble, settings: RewardSection) -> Callable[[Rollouts], torch.Tensor]:
    """The one reward that training sees, of shape (sequences,): the members' scores, made conservative."""

    def reward(rollouts: Rollouts) -> torch.Tensor:
        return conservative(RewardEstimate(ensemble.score_trace(rollouts.reference)), settings)

    return reward


def conservative(estimate: RewardEstimate, settings: RewardSection) -> torch.Tensor:
    """The setting's number from an estimate, of shape (sequences,)."""
    match settings.conservative:
        case "mean":
            return estimate.mean
        case "min":
            return estimate.min
        case "lower":
            return estimate.lower(settings.coefficient)
        case "entropic":
            return estimate.entropic(settings.coefficient)
        case "uwo":
            return estimate.uwo(settings.coefficient)
