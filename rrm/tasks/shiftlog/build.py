"""Build the base model: a small causal LM trained from a seed to predict what the mixture of demonstrators writes.

Three things decide whether it is learned in minutes or not at all. The weights start wider than the library's default
(0.08). A claim cites a numbered entry, and what it copies follows that number directly. Training begins with copying a
sparse random share of the entries, before the demonstrators' choices, and keeps some of it until the last third.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from agents.policy import Policy
from agents.rollout import sample
from agents.shared_prompt import completion_pass, prefill
from reward_models.errors import NonFinite
from rrm.progress import AbstractProgress
from rrm.tasks.document import Document
from rrm.tasks.shiftlog.demonstrators import demonstrate
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.shiftlog.tokens import train_tokenizer
from rrm.tasks.shiftlog.world import HEIGHTS, Entry, document_generator, write_document
from rrm.tasks.task import Split

STEPS = 2000
COPYING_STEPS = 600
"""Steps of nothing but copying; shorter, and the model predicts the mixture without looking entries up."""
COPIED = 0.3
"""Share of the entries that a copied list has. Of a dense list the next entry is a good guess, and guessing is learned
first; of a sparse one only looking up the number helps."""
COPYING_SHARE = 0.2
COPYING_ENDS = 0.7
"""How much copying stays among the demonstrations, and for how much of the steps."""
LEARNING_RATE = 3e-3
BATCHES = {0: (48, 4), 1: (24, 4), 2: (12, 4)}
"""Documents and briefs of each in a step, by level: the prompt that a group shares is computed once."""
MEASURED_DOCUMENTS = 200
MAX_NEW_TOKENS = 64
CARD = "README.md"


@dataclass(frozen=True)
class BaseCard:
    """What was built and how it behaves."""

    folder: Path
    seed: int
    steps: int
    seconds: float
    parameters: int
    levels: tuple[Mapping[str, int | float], ...]
    """For each level: share of invented claims, gold utility and claims a brief, of the base and its demonstrators."""

    def to_json(self) -> dict[str, object]:
        """The card for a program."""
        return {**vars(self), "folder": str(self.folder), "levels": list(self.levels)}


def build_base(folder: Path, *, seed: int, progress: AbstractProgress, steps: int = STEPS) -> BaseCard:
    """Train the base model, write it as a Hugging Face folder with its model card, and measure it at every level.

    Deterministic under the seed on one thread. Raises NonFinite if the loss becomes NaN or infinite.
    """
    started = time.monotonic()
    tokenizer = train_tokenizer(seed=seed)
    model = _new_model(tokenizer, seed=seed)
    progress.start("build the base model", steps)
    for step in range(steps):
        if step in (0, COPYING_STEPS):  # what follows copying is another problem, and starts without its momentum
            optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01, betas=(0.9, 0.98))
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, steps)
        level, copying = _curriculum(step, steps)
        prompts, tokens, mask = _batch(tokenizer, seed=seed, step=step, level=level, copying=copying)
        with torch.autocast(model.device.type, dtype=torch.bfloat16):
            shared = prefill(model, prompts, pad_id=int(tokenizer.pad_token_id))
            logits = completion_pass(model, shared, tokens, group=BATCHES[level][1]).logits
        loss = _imitation_loss(logits, tokens, mask)
        if not bool(loss.isfinite()):
            raise NonFinite(f"The loss became {loss.item()} at step {step}; nothing was written. Try another seed.")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        progress.advance()
        progress.note(f"level {level}, loss {loss.item():.2f}")
    progress.finish()
    policy = Policy(model, tokenizer)
    policy.save(folder)
    card = BaseCard(
        folder=folder,
        seed=seed,
        steps=steps,
        seconds=time.monotonic() - started,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        levels=tuple(measure_base(policy, seed=seed, level=level, progress=progress) for level in range(HEIGHTS)),
    )
    (folder / CARD).write_text(card_text(card), encoding="utf-8")
    (folder / "measured.json").write_text(json.dumps({"levels": list(card.levels), "seed": seed}, indent=2) + "\n")
    return card


def measure_base(policy: Policy, *, seed: int, level: int, progress: AbstractProgress) -> dict[str, int | float]:
    """How often the base invents and what its briefs are worth, beside its demonstrators on the same documents."""
    task = Shiftlog(seed=seed)
    logs = [
        write_document(
            generator=document_generator(seed=seed, split=Split.TEST.value, level=level, index=index),
            height=level,
            id=f"measured-{index}",
        )
        for index in range(MEASURED_DOCUMENTS)
    ]
    found = [document for document, _ in logs]
    progress.start(f"measure level {level}", len(found))
    generator = torch.Generator().manual_seed(seed)
    briefs: list[str] = []
    for begin in range(0, len(found), 20):
        prompts = [task.prompt(document) for document in found[begin : begin + 20]]
        briefs += sample(policy, prompts, group=1, max_new_tokens=MAX_NEW_TOKENS, generator=generator).completions
        progress.advance(len(prompts))
    progress.finish()
    draws = np.random.default_rng([seed, level])
    shown = [demonstrate(entries, level=level, generator=draws) for _, entries in logs]
    ours, theirs = _measure(task, found, briefs), _measure(task, found, shown)
    return {"level": level, **ours, **{f"demonstrators_{name}": value for name, value in theirs.items()}}


def card_text(card: BaseCard) -> str:
    """The model card, in Markdown."""
    rows = "\n".join(
        f"| {one['level']:.0f} | {one['invented']:.3f} | {one['demonstrators_invented']:.3f} | {one['gold']:+.2f} | "
        f"{one['demonstrators_gold']:+.2f} | {one['claims']:.1f} | {one['demonstrators_claims']:.1f} |"
        for one in card.levels
    )
    return f"""---
license: mit
library_name: transformers
pipeline_tag: text-generation
---
# Base model of the shift log task

A causal language model of {card.parameters:,} parameters (Llama architecture, byte-level BPE) that briefs generated
shift logs. It was trained from scratch to predict a *mixture* of demonstrators: careful, careless, inventing, rambling
and terse ones. It is where agents start and what their KL is measured against; it is meant to be imperfect.

Built by `rrm build-base --seed {card.seed}` in {card.steps} steps ({card.seconds / 60:.0f} minutes, one CPU thread).

Measured on {MEASURED_DOCUMENTS} test documents a level, one sampled brief each:

| level | invented claims | demonstrators | gold utility | demonstrators | claims a brief | demonstrators |
|---|---|---|---|---|---|---|
{rows}

It knows nothing but this generated language. Use it to try the recursion, not to brief anything real.
"""


def _new_model(tokenizer: PreTrainedTokenizerFast, *, seed: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.08,
    )
    # transformers draws first weights from the global generator; it is put back afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def _learning_rate(step: int, steps: int) -> float:
    """A short warm-up, level while copying is learned, then half a cosine down to 2%."""
    if step < COPYING_STEPS:
        return LEARNING_RATE * min(1.0, (step + 1) / 30)
    done = (step - COPYING_STEPS) / (steps - COPYING_STEPS)
    return LEARNING_RATE * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def _curriculum(step: int, steps: int) -> tuple[int, float]:
    """Level and share of copying of a step: all levels in turn, then the longest twice as often."""
    if step < COPYING_STEPS:
        return step % HEIGHTS, 1.0
    return (0, 1, 2, 2)[step % 4], COPYING_SHARE if step < COPYING_ENDS * steps else 0.0


def _batch(
    tokenizer: PreTrainedTokenizerFast, *, seed: int, step: int, level: int, copying: float
) -> tuple[list[list[int]], Int[Tensor, "sequences time"], Bool[Tensor, "sequences time"]]:
    """Prompts of fresh logs, and the tokens of demonstrations of each; the mask is True on what is learned."""
    generator = np.random.default_rng([seed + 1, step])
    count, group = BATCHES[level]
    task = Shiftlog(seed=seed)
    prompts: list[list[int]] = []
    briefs: list[list[int]] = []
    for _ in range(count):
        document, entries = write_document(generator=generator, height=level, id="demonstration")
        prompts.append(_encode(tokenizer, task.prompt(document)))
        for _ in range(group):
            text = _demonstration(entries, level=level, copying=copying, generator=generator)
            briefs.append([*_encode(tokenizer, text), int(tokenizer.eos_token_id)])
    longest = max(len(brief) for brief in briefs)
    tokens = torch.zeros(len(briefs), longest, dtype=torch.long)
    mask = torch.zeros(len(briefs), longest, dtype=torch.bool)
    for row, brief in enumerate(briefs):
        tokens[row, : len(brief)] = torch.tensor(brief)
        mask[row, : len(brief)] = True
    return prompts, tokens, mask


def _encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return [int(token) for token in tokenizer(text)["input_ids"]]


def _demonstration(entries: tuple[Entry, ...], *, level: int, copying: float, generator: np.random.Generator) -> str:
    if generator.random() < copying:
        return "\n".join(entry.claim for entry in entries if generator.random() < COPIED)
    return demonstrate(entries, level=level, generator=generator)


def _imitation_loss(
    logits: Float[Tensor, "sequences time vocabulary"],
    tokens: Int[Tensor, "sequences time"],
    mask: Bool[Tensor, "sequences time"],
) -> Float[Tensor, ""]:
    """Mean negative log-likelihood in nats of the tokens that count: briefs only, never the log."""
    chosen = logits.log_softmax(dim=-1).gather(-1, tokens[..., None])[..., 0]
    return -(chosen * mask).sum() / mask.sum()


def _measure(task: Shiftlog, found: Sequence[Document], briefs: list[str]) -> dict[str, float]:
    golds = [task.gold(document, brief) for document, brief in zip(found, briefs, strict=True)]
    claims = sum(gold.claims for gold in golds)
    return {
        "invented": sum(gold.invented for gold in golds) / max(1, claims),
        "gold": sum(gold.utility for gold in golds) / len(golds),
        "claims": claims / len(golds),
    }
