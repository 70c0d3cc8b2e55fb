"""One loop: draw a batch, let the objective learn from it; again. Resumable after a kill at any moment.

Everything random in step t comes from generators seeded by (seed, t), so the weights, the optimiser's moments and the
records are the whole state, and on one thread a resumed training ends with bit-equal weights. The global random state
is neither read nor changed.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from agents.batch import Batch
from agents.checkpoint import load_header, load_state, save_checkpoint
from agents.learner import Learner
from agents.objectives.objective import AbstractObjective, UpdateRecord
from agents.policy import Policy
from agents.regularizer import AbstractRegularizer
from agents.sources import AbstractSource, Material, Reward, generator_of
from reward_models.errors import ArtifactError, InvalidInput, NonFinite
from reward_models.processes import Processes, present_processes


@dataclass(frozen=True)
class TrainSettings:
    """What a training does, whatever its objective; `InvalidInput` if a value cannot be used."""

    steps: int
    """Steps in all, those before a resume included."""
    learning_rate: float = 3e-4
    warmup: int = 0
    """Steps over which the learning rate rises linearly from near 0."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; a longer one is scaled down to it."""
    discount: float = 1.0
    """Horizon: 1 is the whole completion; 0 makes the agent myopic, each token for its own reward."""
    checkpoint_every: int = 10
    """Steps between checkpoints; the last step always writes one."""
    bfloat16: bool = False
    """Compute the networks in bfloat16 by autocast; weights, softmax and loss stay float32."""

    def __post_init__(self) -> None:
        for name, smallest in {"steps": 0, "checkpoint_every": 1, "warmup": 0}.items():
            if getattr(self, name) < smallest:
                raise InvalidInput(f"{name} must be at least {smallest}, got {getattr(self, name)}.")
        if not (self.learning_rate > 0 and self.clip_norm > 0):
            raise InvalidInput(
                f"learning_rate and clip_norm must be positive, got {self.learning_rate} and {self.clip_norm}."
            )
        if not 0 <= self.discount <= 1:
            raise InvalidInput(f"discount must be from 0 (myopic) to 1 (the whole completion), got {self.discount}.")


@dataclass(frozen=True)
class StepRecord:
    """What one step saw, before its update."""

    step: int
    """Counted from 0."""
    reward: float
    """Mean over the sequences."""
    kl: float
    """Mean exact KL(policy || reference) of a sequence, summed over its tokens, in nats."""
    beta: float
    """Price of a nat in this step."""
    entropy: float
    """Mean entropy of the next token, in nats."""
    mean_tokens: float
    """Mean length of a completion, its end-of-sequence token included."""
    distinct: float
    """Share of different texts among the completions of a prompt, averaged over prompts."""
    gradient_norm: float
    """Before clipping."""
    seconds: float
    """Wall time of the step."""
    gold: float | None = None
    """Mean true worth, where a function for it was given; only reports use it."""
    measures: dict[str, float] = field(default_factory=dict)
    """Figures of the objective by name."""


def train(
    policy: Policy,
    reference: Policy,
    *,
    source: AbstractSource,
    objective: AbstractObjective,
    regularizer: AbstractRegularizer,
    settings: TrainSettings,
    seed: int,
    checkpoint: Path | None = None,
    on_step: Callable[[StepRecord], None] | None = None,
    gold: Reward | None = None,
) -> list[StepRecord]:
    """Train `policy` in place towards the objective, held to `reference` by the regularizer; the records of all steps.

    With a `checkpoint` folder the training continues from what is there, and a finished one is only read; the reward of
    the source and `reference` must then be those it began with, which cannot be checked here. `on_step` sees each step
    that is done in this call before its checkpoint is written, so after a kill it may see a step again. `gold` is
    recorded, and nothing else.

    Started by `accelerate launch`, every process calls this with the same arguments and takes its share of the prompts
    of each step; records, losses and weights are those of the whole step, the same in all. The main process writes the
    checkpoint, which any number of processes may go on from, and it alone calls `on_step`.

    Raises `NonFinite`, naming the step, before a reward, loss or gradient that is not finite can touch the weights;
    `ArtifactError` if the checkpoint is damaged or of another training; `InvalidInput` on unusable arguments.
    """
    _check(policy, reference, source, objective, regularizer)
    processes = present_processes()
    learner = Learner(
        policy,
        reference,
        learning_rate=settings.learning_rate,
        clip_norm=settings.clip_norm,
        bfloat16=settings.bfloat16,
        with_critic=objective.needs_critic,
        processes=processes,
    )
    identity = _identity(settings, objective, regularizer, source, policy, seed)
    records = _resume(checkpoint, learner, identity)
    processes.start_alike(learner.parameters)
    while len(records) < settings.steps and not regularizer.finished([record.kl for record in records]):
        step = len(records)
        began = time.perf_counter()
        beta = regularizer.coefficient([record.kl for record in records])
        try:
            # 1. Completions, and what they are worth.
            material = source.draw(learner, samples_from=objective.samples_from, seed=seed, step=step)
            worth = None if gold is None else _true_worth(gold, material)
            batch = _batch(material, beta, settings.discount, processes)
            # 2. One update, unless something is not finite.
            learner.warm_up(min(1.0, (step + 1) / (settings.warmup + 1)))
            update = objective.update(learner, batch, generator_of("update", seed=seed, number=step))
        except NonFinite as error:
            raise NonFinite(f"Training stopped at step {step}, before its update: {error}") from error
        # 3. The record, and a checkpoint.
        seconds = float(processes.of_main(torch.tensor(time.perf_counter() - began, dtype=torch.float64)))
        records.append(_checked(_record(step, material, beta, update, seconds=seconds, gold=worth)))
        last = len(records) == settings.steps or regularizer.finished([record.kl for record in records])
        with processes.together(f"What follows step {step}"):
            if on_step is not None and processes.is_main:
                on_step(records[-1])
            due = last or len(records) % settings.checkpoint_every == 0
            if checkpoint is not None and due and processes.is_main:
                header = {"identity": identity, "records": [asdict(record) for record in records]}
                save_checkpoint(checkpoint, learner.trained, learner.optimizer, header)
    return records


def _check(
    policy: Policy,
    reference: Policy,
    source: AbstractSource,
    objective: AbstractObjective,
    regularizer: AbstractRegularizer,
) -> None:
    if policy.is_same_as(reference):
        raise InvalidInput("policy and reference are one model, so no KL could arise; pass `reference.copy()`.")
    if source.gives not in objective.takes:
        raise InvalidInput(
            f"{type(objective).__name__} learns from {' or '.join(objective.takes)}, and {type(source).__name__} gives "
            f"{source.gives}; choose another objective or another source."
        )
    if objective.needs_penalty and not regularizer.coefficient([]) > 0:
        raise InvalidInput(
            f"{type(objective).__name__} aims at pi0 exp(reward / beta), which needs beta above 0; choose another "
            "objective or a regularizer with a price."
        )


def _batch(material: Material, beta: float, discount: float, processes: Processes) -> Batch:
    rollouts, rewards, preferences, held = material
    if processes.several and held is None:
        raise InvalidInput(
            f"The source gives each of {processes.count} processes the whole batch, so its gradient would count more "
            "than once; divide it, as agents.sources does, or start one process."
        )
    return Batch(rollouts, rewards, beta=beta, discount=discount, preferences=preferences, held=held)


def _record(
    step: int, material: Material, beta: float, update: UpdateRecord, *, seconds: float, gold: float | None
) -> StepRecord:
    rollouts = material.rollouts
    samples = rollouts.samples
    texts = [samples.completions[at : at + samples.group] for at in range(0, len(samples), samples.group)]
    tokens = int(samples.mask.sum())
    return StepRecord(
        step=step,
        reward=float((material.rewards * samples.mask).sum(dim=1).mean()),
        kl=float(rollouts.kl.sum(dim=1).mean()),
        beta=beta,
        entropy=float(rollouts.entropy.sum()) / tokens,
        mean_tokens=tokens / len(samples),
        distinct=sum(len(set(group)) for group in texts) / len(samples),
        gradient_norm=update.gradient_norm,
        seconds=seconds,
        gold=gold,
        measures=dict(update.measures),
    )


def _checked(record: StepRecord) -> StepRecord:
    """The same; `NonFinite` for a number that no checkpoint could hold and no curve show."""
    numbers = {name: value for name, value in asdict(record).items() if isinstance(value, float)} | record.measures
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise NonFinite(
                f"Training stopped after step {record.step}: its {name} is {value}; go back to a checkpoint."
            )
    return record


def _true_worth(gold: Reward, material: Material) -> float:
    """Mean over the sequences."""
    held = material.held
    with torch.no_grad():
        own = gold(material.rollouts if held is None else held.rollouts)
        worth = float((own if held is None else held.processes.filled(own, held.places, of=held.sequences)).mean())
    if not math.isfinite(worth):
        raise NonFinite(f"the gold of the completions is {worth} on average; look at the function for it.")
    return worth


def _identity(
    settings: TrainSettings,
    objective: AbstractObjective,
    regularizer: AbstractRegularizer,
    source: AbstractSource,
    policy: Policy,
    seed: int,
) -> dict[str, object]:
    """What two trainings must share for one to continue the other."""
    shared = {name: value for name, value in asdict(settings).items() if name not in {"steps", "checkpoint_every"}}
    return {
        "settings": shared,
        "objective": repr(objective),
        "regularizer": repr(regularizer),
        "limit": None if policy.limited is None else repr(policy.limited.limit),
        "chat": policy.chat,
        "condition": policy.condition,
        **source.identity(),
        "seed": seed,
    }


def _resume(checkpoint: Path | None, learner: Learner, identity: dict[str, object]) -> list[StepRecord]:
    header = None if checkpoint is None else load_header(checkpoint)
    learner.processes.check_seen_by_all(header is not None, what=f"the checkpoint in '{checkpoint}'")
    if checkpoint is None or header is None:
        return []
    stored = header.get("identity", {})
    different = sorted(key for key in identity.keys() | stored.keys() if stored.get(key) != identity.get(key))
    if different:
        raise ArtifactError(
            f"The checkpoint in '{checkpoint}' is of a training with other {', '.join(different)}; continue it with "
            "what it began with, or use another folder."
        )
    load_state(checkpoint, learner.trained, learner.optimizer)
    return [StepRecord(**record) for record in header["records"]]
