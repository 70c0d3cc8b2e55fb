"""Optimise: an agent is trained to get the reward and to stay near the base."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import torch

from agents.adapters import has_adapter
from agents.policy import Policy
from agents.rollout import Rollouts
from agents.search.gap import RewardResultGap, reward_result_gap
from agents.training import StepRecord, TrainSettings, train
from reward_models.estimate import RewardEstimate
from rrm.config import AgentSection, RewardSection
from rrm.inspecting import store_transcripts
from rrm.orders import call
from rrm.rewards.conservative import conservative
from rrm.rewards.models import AbstractRewards
from rrm.rewards.prefixes import token_rewards
from rrm.steps.agent_choices import as_it_acts, objective_of, regularizer_of, with_adapters
from rrm.steps.sources import source_of, training_prompts
from rrm.store import ArtifactKind, record_progress, register_artifact, utc_now
from rrm.workbench import BASE, Workbench, artifact_id

LAST_STEPS = 10
"""Steps at the end of training whose mean stands in the step's result."""

TRANSCRIPTS = 3
"""How many completions are kept with what each token cost."""

GAP_PROMPTS, GAP_CANDIDATES = 4, 64
"""How many prompts, and completions of each, the reward that an agent leaves on the table is measured with."""


def optimise(bench: Workbench, *, level: int, round: int, key: str) -> Mapping[str, object]:
    """Train from the agent that stands at the level, on this round's training documents; KL is to the base.

    Goes on from its last checkpoint after a kill, and ends with the same weights.
    """
    identifier = artifact_id("agent", level, round)
    settings = bench.config.agent
    begin = bench.incumbent(level)
    trainee = _trainee(bench, level=level, round=round)
    bench.progress.start("optimise", settings.steps)

    def watch(record: StepRecord) -> None:
        figures = {**asdict(record), **asdict(trainee.reward.last)}
        record_progress(bench.run, key, record.step, figures, now=utc_now())
        bench.progress.advance()
        bench.progress.note(f"reward {record.reward:+.2f}, KL {record.kl:.2f} nats")

    call("optimise", level=level, round=round)
    records = _train(bench, trainee, level=level, round=round, on_step=watch)
    gap = _gap(bench, trainee, level=level, round=round)
    folder = bench.model_folder(identifier)
    trainee.weights.save(folder)
    store_transcripts(bench, identifier, trainee.policy, trainee.prompts[:TRANSCRIPTS])
    reward_model = bench.reward_model(level, round)
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
        "steps": len(records),
        "gap": asdict(gap),
    }


def optimise_beside(bench: Workbench, *, level: int, round: int) -> None:
    """What a process beside the main one does for `optimise`; nothing is kept of it."""
    _train(bench, _trainee(bench, level=level, round=round), level=level, round=round, on_step=None)


@dataclass(frozen=True, eq=False)
class _Trainee:
    """An agent before its training, and what it is trained on."""

    weights: Policy
    """What is trained and saved."""
    policy: Policy
    """The same as it acts."""
    reward: "ConservativeReward"
    prompts: list[str]


def _trainee(bench: Workbench, *, level: int, round: int) -> _Trainee:
    settings = bench.config.agent
    weights = _weights(bench, bench.incumbent(level), settings, names=("adapter", level, round))
    rewards = bench.rewards(bench.reward_model(level, round))
    return _Trainee(
        weights=weights,
        policy=as_it_acts(weights, base=bench.base, settings=settings),
        reward=ConservativeReward(rewards, bench.config.reward, each_token=settings.horizon == "myopic"),
        prompts=training_prompts(bench, level=level, round=round),
    )


def _train(
    bench: Workbench,
    trainee: _Trainee,
    *,
    level: int,
    round: int,
    on_step: Callable[[StepRecord], None] | None,
) -> list[StepRecord]:
    settings = bench.config.agent
    return train(
        trainee.policy,
        bench.base,
        source=source_of(
            bench, trainee.reward, trainee.prompts, objective=settings.objective, level=level, round=round
        ),
        objective=objective_of(settings),
        regularizer=regularizer_of(settings),
        settings=TrainSettings(
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            discount=0.0 if settings.horizon == "myopic" else 1.0,
            checkpoint_every=settings.checkpoint_every,
            bfloat16=settings.bf16,
        ),
        seed=bench.seed_of("optimise", level, round),
        checkpoint=bench.run.folder / "checkpoints" / artifact_id("agent", level, round),
        on_step=on_step,
    )


def _weights(bench: Workbench, begin: str, settings: AgentSection, *, names: tuple[object, ...]) -> Policy:
    """What is trained: the agent that stands at the level, with adapters where the settings want them."""
    if begin == BASE and settings.weights == "lora":
        return with_adapters(bench.base, settings, generator=bench.generator(*names))
    weights = bench.weights(begin)
    if settings.weights == "full":
        return weights.merged() if has_adapter(weights.model) else weights
    if has_adapter(weights.model):
        return weights
    return with_adapters(weights, settings, generator=bench.generator(*names))


def _gap(bench: Workbench, trainee: _Trainee, *, level: int, round: int) -> RewardResultGap:
    return reward_result_gap(
        trainee.policy,
        trainee.prompts[:GAP_PROMPTS],
        trainee.reward.of_completions,
        reference=bench.base,
        n=GAP_CANDIDATES,
        max_new_tokens=bench.config.sampling.max_new_tokens,
        generator=bench.generator("gap", level, round),
    )


@dataclass(frozen=True)
class RewardFigures:
    """How a reward model tells apart what an agent writes in one step (the main process's share of it)."""

    reward_spread: float
    """Standard deviation of the reward within the completions of a prompt, averaged over prompts: without it there is
    nothing to learn from (Razin et al. 2025)."""
    member_spread: float
    """Mean over the completions of the standard deviation between members."""


class ConservativeReward:
    """The one reward that training sees: the members' scores, made conservative."""

    def __init__(self, rewards: AbstractRewards, settings: RewardSection, *, each_token: bool = False) -> None:
        """Reward by a reward model; with `each_token`, what each token adds to it."""
        self._rewards = rewards
        self._settings = settings
        self._each_token = each_token
        self.last = RewardFigures(0.0, 0.0)
        """Of the last batch."""

    def __call__(self, rollouts: Rollouts) -> torch.Tensor:
        """One number per sequence, or per token."""
        reward = self.of_completions(rollouts)
        return token_rewards(self._rewards, rollouts, self._settings) if self._each_token else reward

    def of_completions(self, rollouts: Rollouts) -> torch.Tensor:
        """One number per sequence."""
        found = RewardEstimate(self._rewards.scores_of_rollouts(rollouts))
        reward = conservative(found, self._settings)
        groups = reward.reshape(-1, rollouts.samples.group)
        self.last = RewardFigures(float(groups.std(dim=1, correction=0).mean()), float(found.spread.mean()))
        return reward
