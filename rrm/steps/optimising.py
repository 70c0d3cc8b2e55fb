"""Optimise: an agent is trained to get the reward and to stay near the base."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch

from agents.objectives.rloo import RLOO
from agents.regularizer import FixedPenalty
from agents.rollout import Rollouts
from agents.sources import OnPolicy
from agents.training import StepRecord, TrainSettings, train
from reward_models.estimate import RewardEstimate
from rrm.config import RewardSection
from rrm.rewards.conservative import conservative
from rrm.rewards.models import AbstractRewards
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
    reward = ConservativeReward(bench.rewards(reward_model), bench.config.reward)

    def watch(record: StepRecord) -> None:
        record_progress(bench.run, key, record.step, {**asdict(record), **asdict(reward.last)}, now=utc_now())
        bench.progress.advance()
        bench.progress.note(f"reward {record.reward:+.2f}, KL {record.kl:.2f} nats")

    records = train(
        policy,
        bench.base,
        source=OnPolicy(
            prompts=[bench.task.prompt(document) for document in found],
            reward=reward,
            prompts_per_step=settings.prompts_per_step,
            group=settings.group,
            max_new_tokens=bench.config.sampling.max_new_tokens,
        ),
        objective=RLOO(),
        regularizer=FixedPenalty(settings.beta),
        settings=TrainSettings(
            steps=settings.steps,
            learning_rate=settings.learning_rate,
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


@dataclass(frozen=True)
class RewardFigures:
    """How a reward model tells apart what an agent writes in one step."""

    reward_spread: float
    """Standard deviation of the reward within the completions of a prompt, averaged over prompts: without it there is
    nothing to learn from (Razin et al. 2025)."""
    member_spread: float
    """Mean over the completions of the standard deviation between members."""


class ConservativeReward:
    """The one reward that training sees: the members' scores, made conservative."""

    def __init__(self, rewards: AbstractRewards, settings: RewardSection) -> None:
        """Reward by a reward model."""
        self._rewards = rewards
        self._settings = settings
        self.last = RewardFigures(0.0, 0.0)
        """Of the last batch."""

    def __call__(self, rollouts: Rollouts) -> torch.Tensor:
        """One number per sequence."""
        found = RewardEstimate(self._rewards.scores_of_rollouts(rollouts))
        reward = conservative(found, self._settings)
        groups = reward.reshape(-1, rollouts.samples.group)
        self.last = RewardFigures(float(groups.std(dim=1, correction=0).mean()), float(found.spread.mean()))
        return reward
