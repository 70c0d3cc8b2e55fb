"""Compare objectives: each is trained on one reward model of a run, from its base, to one KL, over several seeds.

The run itself is only read. Trainings are kept in the folder `compare` of the run, in a folder of their own for each
setting that is common to all, so that the same call goes on where it stopped and another one begins anew.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from agents.regularizer import AbstractRegularizer, AdaptivePenalty, FixedPenalty
from agents.sources import digest
from agents.training import StepRecord, TrainSettings
from reward_models.errors import InvalidInput
from rrm.config import AgentSection, Objective
from rrm.contest.examined_training import examined_training
from rrm.contest.examining import Examiner, Gold
from rrm.contest.figure import contest_figure
from rrm.contest.result import Contest
from rrm.contest.searching import (
    Pools,
    SearchPoint,
    best_of,
    nearest_size,
    pool_size,
    pools,
    quantilized,
    read_pools,
    write_pools,
)
from rrm.contest.trajectory import Examination, Trajectory
from rrm.errors import ConfigurationError, RunError
from rrm.figures import save_figure
from rrm.steps.agent_choices import as_it_acts, objective_of, with_adapters
from rrm.steps.optimising import ConservativeReward
from rrm.steps.sources import source_of, training_prompts
from rrm.store import Artifact, ArtifactKind, artifacts
from rrm.tasks.task import Split, known
from rrm.workbench import Workbench
from rrm.writing import write_whole

NAMES: tuple[str, ...] = get_args(Objective)
"""Of all objectives."""
FOLDER = "compare"
DOCUMENTS = 64
"""Most test documents that are examined."""
EXAMINATIONS = 12
"""How often a training is examined, apart from before it."""


@dataclass(frozen=True)
class Terms:
    """What is asked for. `InvalidInput` for what cannot be done."""

    objectives: tuple[str, ...]
    seeds: int = 3
    steps: int = 60
    kl: float = 1.0
    """Nats that every training is steered to, and at which they are compared."""
    beta: float | None = None
    """A fixed price of a nat for all, instead of steering."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.objectives if name not in NAMES]
        if unknown or not self.objectives:
            raise InvalidInput(
                f"No objective is called {', '.join(map(repr, unknown)) or 'so: none was given'}; choose of "
                f"{', '.join(NAMES)}."
            )
        if len(set(self.objectives)) != len(self.objectives):
            raise InvalidInput(f"Name each objective once, got {', '.join(self.objectives)}.")
        if self.seeds < 1 or self.steps < 1 or not self.kl > 0:
            raise InvalidInput(
                f"Needed: at least 1 seed and 1 step, and a KL above 0; got {self.seeds}, {self.steps} and {self.kl}."
            )
        nearest_size(self.kl)

    def regularizer(self, beginning: float) -> AbstractRegularizer:
        """The same for every objective; steering begins at this price."""
        return AdaptivePenalty(beta=beginning, target=self.kl) if self.beta is None else FixedPenalty(self.beta)

    @property
    def every(self) -> int:
        """Steps between examinations."""
        return max(1, self.steps // EXAMINATIONS)


def compare(
    bench: Workbench, terms: Terms, *, level: int = 0, round: int | None = None, out: Path | None = None
) -> Contest:
    """Train and examine, or read what is finished; write compare.json and compare.png to `out`.

    Without `round` the last one with a reward model at the level is taken, without `out` the folder `compare` of the
    run. Raises RunError where there is no reward model, ConfigurationError where an objective does not go with the
    run's agent settings.
    """
    for name in terms.objectives:
        settings_for(bench, terms, name)
    model = _reward_model(bench, level=level, round=round)
    setting = setting_of(bench, terms, model)
    kept = bench.run.folder / FOLDER / digest([setting])[:12]
    reward = ConservativeReward(
        bench.rewards(model), bench.config.reward, each_token=bench.config.agent.horizon == "myopic"
    )
    examiner = _examiner(bench, reward, model)
    trajectories: dict[str, list[Trajectory]] = {name: [] for name in terms.objectives}
    for seed in range(terms.seeds):
        for name in terms.objectives:
            place = sum(len(found) for found in trajectories.values()) + 1
            title = f"{name}, seed {seed} ({place} of {terms.seeds * len(terms.objectives)})"
            found = _train(bench, terms, name, seed, model, reward=reward, examiner=examiner, kept=kept, title=title)
            trajectories[name].append(found)
    drawn = _pools(bench, terms, examiner, kept)
    size = nearest_size(terms.kl)
    contest = Contest(
        folder=out if out is not None else bench.run.folder / FOLDER,
        setting=setting,
        kl=terms.kl,
        trajectories=trajectories,
        search={
            f"best of {size}": [best_of(one, size) for one in drawn],
            "quantilizer": [quantilized(one, terms.kl) for one in drawn],
        },
        search_seconds=sum(one.seconds for one in drawn) / len(drawn),
        best_of=_best_of_curve(drawn),
    )
    _write(contest)
    return contest


def _reward_model(bench: Workbench, *, level: int, round: int | None) -> Artifact:
    found = artifacts(bench.run, kind=ArtifactKind.REWARD_MODEL, level=level, round=round)
    if not found:
        place = f"level {level}" if round is None else f"level {level}, round {round}"
        raise RunError(
            f"No reward model is fitted at {place} of {bench.run.folder} yet; `rrm fit {bench.run.folder}` fits one."
        )
    return max(found, key=lambda one: one.round)


def settings_for(bench: Workbench, terms: Terms, name: str) -> AgentSection:
    """The agent's settings with this objective. Raises ConfigurationError where they do not go together."""
    agent = bench.config.agent
    # A price that is steered is multiplied, so it begins above 0.
    beta = terms.beta if terms.beta is not None else agent.beta or AdaptivePenalty().beta
    try:
        return AgentSection.model_validate(agent.model_dump(mode="json") | {"objective": name, "beta": beta})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{name} cannot be trained with the agent settings of this run: {reason}.") from error


def setting_of(bench: Workbench, terms: Terms, model: Artifact) -> dict[str, object]:
    """All that the trainings have in common; what they depend on, and nothing else, names their folder."""
    agent = bench.config.agent.model_dump(mode="json", exclude={"objective", "regularizer", "kl_target", "steps"})
    return {
        "seed": bench.seed,
        "level": model.level,
        "round": model.round,
        "reward_model": dict(model.files),
        "conservative": [bench.config.reward.conservative, bench.config.reward.coefficient],
        "kl": terms.kl,
        "beta": terms.beta,
        "steps": terms.steps,
        "agent": agent,
        "training_documents": bench.config.sampling.train_documents,
        "max_new_tokens": bench.config.sampling.max_new_tokens,
        "documents": min(DOCUMENTS, bench.config.sampling.test_documents),
    }


def _examiner(bench: Workbench, reward: ConservativeReward, model: Artifact) -> Examiner:
    count = min(DOCUMENTS, bench.config.sampling.test_documents)
    found = bench.documents(split=Split.TEST, level=model.level, count=count)
    return Examiner(
        bench.base,
        [bench.task.prompt(document) for document in found],
        proxy=reward.of_completions,
        gold=Gold(known(bench.task, needed_for="A comparison of objectives"), found),
        max_new_tokens=bench.config.sampling.max_new_tokens,
        seed=bench.seed_of("compare", "examine"),
    )


def _train(
    bench: Workbench,
    terms: Terms,
    name: str,
    seed: int,
    model: Artifact,
    *,
    reward: ConservativeReward,
    examiner: Examiner,
    kept: Path,
    title: str,
) -> Trajectory:
    settings = settings_for(bench, terms, name)
    bench.progress.start(title, terms.steps)
    lora = bench.generator("compare", "adapter", seed)
    weights = with_adapters(bench.base, settings, generator=lora) if settings.weights == "lora" else bench.base.copy()

    def watch(record: StepRecord, last: Examination) -> None:
        bench.progress.advance()
        bench.progress.note(f"gold {last.gold:+.2f}, reward {last.proxy:+.2f}, KL {last.kl:.2f} nats")

    prompts = training_prompts(bench, level=model.level, round=model.round)
    found = examined_training(
        as_it_acts(weights, base=bench.base, settings=settings),
        source=source_of(bench, reward, prompts, objective=name, level=model.level, round=model.round),
        objective=objective_of(settings),
        regularizer=terms.regularizer(settings.beta),
        settings=TrainSettings(
            steps=terms.steps,
            learning_rate=settings.learning_rate,
            discount=0.0 if settings.horizon == "myopic" else 1.0,
            checkpoint_every=settings.checkpoint_every,
            bfloat16=settings.bf16,
        ),
        seed=bench.seed_of("compare", "train", seed),
        examiner=examiner,
        every=terms.every,
        folder=kept / f"{name}-{seed}",
        on_step=watch,
    )
    bench.progress.finish(f"gold {found.end.gold:+.2f}, reward {found.end.proxy:+.2f}, KL {found.end.kl:.2f} nats")
    return found


def _pools(bench: Workbench, terms: Terms, examiner: Examiner, kept: Path) -> list[Pools]:
    """Drawn once for each seed, like the trainings."""
    bench.progress.start("search", terms.seeds)
    found: list[Pools] = []
    for seed in range(terms.seeds):
        path = kept / f"pools-{seed}.safetensors"
        drawn = read_pools(path)
        if drawn is None:
            drawn = pools(
                bench.base,
                examiner.prompts,
                proxy=examiner.proxy,
                gold=examiner.gold,
                size=pool_size(terms.kl),
                max_new_tokens=bench.config.sampling.max_new_tokens,
                seed=bench.seed_of("compare", "search", seed),
            )
            write_pools(drawn, path)
        found.append(drawn)
        bench.progress.advance()
    bench.progress.finish()
    return found


def _best_of_curve(drawn: Sequence[Pools]) -> list[SearchPoint]:
    """Best-of-n over powers of two, meant over seeds."""
    samples = drawn[0].proxy.shape[1]
    curve: list[SearchPoint] = []
    for size in (2**power for power in range(samples.bit_length()) if 2**power <= samples // 2):
        points = [best_of(one, size) for one in drawn]
        gold, proxy = (sum(getattr(one, name) for one in points) / len(points) for name in ("gold", "proxy"))
        curve.append(SearchPoint(kl=points[0].kl, gold=gold, proxy=proxy))
    return curve


def _write(contest: Contest) -> None:
    text = json.dumps(contest.to_json(), indent=1, allow_nan=False)
    write_whole(contest.json_path, f"{text}\n".encode())
    figure = contest_figure(contest)
    save_figure(figure, contest.figure_path)
