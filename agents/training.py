"""One loop: sample, reward, one RLOO step; again. Strictly on-policy, resumable after a kill at any moment.

The prompts and the sampling noise of step t come from generators seeded by (seed, t), so the weights, the optimiser's
moments and the records are the whole state, and on one thread a resumed training ends with bit-equal weights. The
global random state is neither read nor changed.

Per step each prompt goes through the policy once, with its graph: the samples are drawn from that prefill, and the
gradient flows through it. The reference reads prompts and samples once.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from agents.checkpoint import load_header, load_state, save_checkpoint
from agents.divergence import exact_kl
from agents.objectives.rloo import rloo_loss
from agents.policy import Policy
from agents.regularizer import AbstractRegularizer, FixedPenalty
from agents.rollout import Rollouts, encode_prompts, rollout, token_log_probabilities
from agents.shared_prompt import completion_pass, prefill
from reward_models.errors import ArtifactError, InvalidInput, NonFinite

Reward = Callable[[Rollouts], Tensor]
"""One number per sequence, in the order of the sequences; called without autocast and without gradient."""


@dataclass(frozen=True)
class TrainSettings:
    """What a training does; `InvalidInput` if a value cannot be used."""

    steps: int
    """Optimiser steps in all, those before a resume included."""
    prompts_per_step: int = 12
    group: int = 8
    """Completions per prompt, at least 2."""
    learning_rate: float = 3e-4
    beta: float = 0.1
    """Reward units per nat of KL(policy || reference)."""
    max_new_tokens: int = 64
    checkpoint_every: int = 10
    """Steps between checkpoints; the last step always writes one."""
    warmup: int = 0
    """Steps over which the learning rate rises linearly from near 0."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; a longer one is scaled down to it."""
    bfloat16: bool = False
    """Compute the networks in bfloat16 by autocast; weights, softmax and loss stay float32."""

    def __post_init__(self) -> None:
        least = {"steps": 0, "prompts_per_step": 1, "group": 2, "max_new_tokens": 1, "checkpoint_every": 1, "warmup": 0}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise InvalidInput(f"{name} must be at least {smallest}, got {getattr(self, name)}.")
        if not (self.learning_rate > 0 and self.clip_norm > 0):
            raise InvalidInput(
                f"learning_rate and clip_norm must be positive, got {self.learning_rate} and {self.clip_norm}."
            )


@dataclass(frozen=True)
class StepRecord:
    """What one step saw, before its update."""

    step: int
    """Counted from 0."""
    reward: float
    """Mean over the sequences."""
    kl: float
    """Mean exact KL(policy || reference) of a sequence, summed over its tokens, in nats."""
    entropy: float
    """Mean entropy of the policy's next token, in nats."""
    mean_tokens: float
    """Mean length of a completion, its end-of-sequence token included."""
    distinct: float
    """Share of different texts among the completions of a prompt, averaged over prompts."""
    gradient_norm: float
    """Before clipping."""
    seconds: float
    """Wall time of the step."""


def train(
    policy: Policy,
    reference: Policy,
    *,
    prompts: Sequence[str],
    reward: Reward,
    settings: TrainSettings,
    seed: int,
    checkpoint: Path | None = None,
    on_step: Callable[[StepRecord], None] | None = None,
    regularizer: AbstractRegularizer | None = None,
) -> list[StepRecord]:
    """Train `policy` in place towards reward minus beta times its KL to `reference`; the records of all steps.

    With a `checkpoint` folder the training continues from what is there, and a finished one is only read; `reward` and
    `reference` must then be those it began with, which cannot be checked here. `on_step` sees each step that is done
    in this call before its checkpoint is written, so after a kill it may see a step again. `regularizer` stands in for
    the fixed penalty of `settings.beta`.

    Raises `NonFinite`, naming the step, before a reward, loss or gradient that is not finite can touch the weights;
    `ArtifactError` if the checkpoint is damaged or of another training; `InvalidInput` on unusable arguments.
    """
    if policy.model is reference.model:
        raise InvalidInput("policy and reference are one model, so no KL could arise; pass `reference.copy()`.")
    if not prompts:
        raise InvalidInput("Training needs at least one prompt, got none.")
    regularizer = FixedPenalty(settings.beta) if regularizer is None else regularizer
    trainable = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=settings.learning_rate, weight_decay=0.0)
    identity = _identity(settings, regularizer, prompts, seed)
    records = _resume(checkpoint, policy, optimizer, identity)
    for step in range(len(records), settings.steps):
        beta = regularizer.coefficient([record.kl for record in records])
        try:
            record = _step(step, policy, reference, optimizer, prompts, reward, settings, seed=seed, beta=beta)
        except NonFinite as error:
            raise NonFinite(f"Training stopped at step {step}, before its update: {error}") from error
        records.append(record)
        if on_step is not None:
            on_step(record)
        if checkpoint is not None and ((step + 1) % settings.checkpoint_every == 0 or step + 1 == settings.steps):
            header = {"identity": identity, "records": [asdict(record) for record in records]}
            save_checkpoint(checkpoint, policy.model, optimizer, header)
    return records


def _step(
    step: int,
    policy: Policy,
    reference: Policy,
    optimizer: torch.optim.Optimizer,
    prompts: Sequence[str],
    reward: Reward,
    settings: TrainSettings,
    *,
    seed: int,
    beta: float,
) -> StepRecord:
    start = time.perf_counter()
    batch = batch_of_step(prompts, settings.prompts_per_step, seed=seed, step=step)
    size = {"group": settings.group, "max_new_tokens": settings.max_new_tokens}
    prompt_tokens = encode_prompts(policy, batch, **size)

    # 1. Sample behind a prefill that keeps its graph; the reference reads the samples.
    with _precision(policy, settings):
        shared = prefill(policy.model, prompt_tokens, pad_id=policy.pad_id)
    # Autocast keeps the weights it has cast until its context ends, and those cast without gradient would cut the
    # gradient of the pass below: hence a context for each part.
    with _precision(policy, settings):
        generator = generator_of("sampling", seed=seed, number=step)
        rollouts = rollout(policy, reference, batch, **size, generator=generator, shared=shared)

    # 2. Reward.
    with torch.no_grad():
        rewards = _checked(reward(rollouts), rollouts)

    # 3. The same completions with gradient.
    samples = rollouts.samples
    with _precision(policy, settings):
        logits = completion_pass(policy.model, shared, samples.tokens, group=settings.group).logits
    log_probabilities = token_log_probabilities(logits, samples.tokens)
    kl = exact_kl(logits, rollouts.reference_logits)
    loss = rloo_loss(log_probabilities, kl, rewards, samples.mask, group=settings.group, beta=beta)

    # 4. One update, unless something is not finite.
    norm = _update(optimizer, loss, learning_rate=_learning_rate(settings, step), clip_norm=settings.clip_norm)
    return _record(step, rollouts, rewards, gradient_norm=norm, seconds=time.perf_counter() - start)


def _update(
    optimizer: torch.optim.Optimizer, loss: Float[Tensor, ""], *, learning_rate: float, clip_norm: float
) -> float:
    """One clipped step; the norm before clipping. Raises `NonFinite` and leaves the weights as they were."""
    if not bool(loss.isfinite()):
        raise NonFinite(f"the loss is {loss.item()}; lower the learning rate or look at the reward.")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, clip_norm))
    if not np.isfinite(norm):
        raise NonFinite(f"the norm of the gradient is {norm}; lower the learning rate or look at the reward.")
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    return norm


def generator_of(stream: str, *, seed: int, number: int) -> torch.Generator:
    """A generator of its own for each (stream, seed, number); different ones are independent."""
    key = hashlib.sha256(json.dumps([stream, seed, number]).encode()).digest()
    # The mt19937 of the CPU reads 32 bits of its seed only.
    return torch.Generator().manual_seed(int.from_bytes(key[:4], "little"))


def batch_of_step(prompts: Sequence[str], count: int, *, seed: int, step: int) -> list[str]:
    """The prompts of a step: all prompts in a random order, then all in another, and so on, `count` at a time."""
    total = len(prompts)
    places = range(step * count, (step + 1) * count)
    orders = {
        epoch: torch.randperm(total, generator=generator_of("order", seed=seed, number=epoch)).tolist()
        for epoch in {place // total for place in places}
    }
    return [prompts[orders[place // total][place % total]] for place in places]


def _learning_rate(settings: TrainSettings, step: int) -> float:
    return settings.learning_rate * min(1.0, (step + 1) / (settings.warmup + 1))


def _precision(policy: Policy, settings: TrainSettings) -> torch.autocast:
    return torch.autocast(policy.device.type, dtype=torch.bfloat16, enabled=settings.bfloat16)


def _checked(rewards: Tensor, rollouts: Rollouts) -> Float[Tensor, " sequences"]:
    sequences = len(rollouts.samples)
    if rewards.shape != (sequences,):
        raise InvalidInput(f"The reward must be one number for each of {sequences} sequences, got {rewards.shape}.")
    if not bool(rewards.isfinite().all()):
        raise NonFinite("the reward of a completion is NaN or infinite; look at the reward model.")
    return rewards.detach().to(rollouts.kl.device, torch.float32)


def _record(step: int, rollouts: Rollouts, rewards: Tensor, *, gradient_norm: float, seconds: float) -> StepRecord:
    samples = rollouts.samples
    texts = [samples.completions[at : at + samples.group] for at in range(0, len(samples), samples.group)]
    tokens = int(samples.mask.sum())
    return StepRecord(
        step=step,
        reward=float(rewards.mean()),
        kl=float(rollouts.kl.sum(dim=1).mean()),
        entropy=float(rollouts.entropy.sum()) / tokens,
        mean_tokens=tokens / len(samples),
        distinct=sum(len(set(group)) for group in texts) / len(samples),
        gradient_norm=gradient_norm,
        seconds=seconds,
    )


def _identity(
    settings: TrainSettings, regularizer: AbstractRegularizer, prompts: Sequence[str], seed: int
) -> dict[str, object]:
    """What two trainings must share for one to continue the other."""
    shared = {name: value for name, value in asdict(settings).items() if name not in {"steps", "checkpoint_every"}}
    digest = hashlib.sha256(json.dumps(list(prompts)).encode()).hexdigest()
    return {"settings": shared, "regularizer": repr(regularizer), "prompts": digest, "seed": seed}


def _resume(
    checkpoint: Path | None, policy: Policy, optimizer: torch.optim.Optimizer, identity: dict[str, object]
) -> list[StepRecord]:
    header = None if checkpoint is None else load_header(checkpoint)
    if checkpoint is None or header is None:
        return []
    different = [key for key, value in identity.items() if header.get("identity", {}).get(key) != value]
    if different:
        raise ArtifactError(
            f"The checkpoint in '{checkpoint}' is of a training with other {', '.join(different)}; continue it with "
            "what it began with, or use another folder."
        )
    load_state(checkpoint, policy.model, optimizer)
    return [StepRecord(**record) for record in header["records"]]
