"""Completions of the embedded task by its shipped base model, for benchmarks: gold, features, pairs, simulated labels.

Seeded throughout and kept in a cache folder, so that a benchmark's seeds cost only what they measure.
"""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from agents.policy import Policy
from agents.rollout import sample, trace
from reward_models.features import extract
from rrm.judging.raters import Question, SimulatedReader
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.task import Split, documents

FEATURES = ("likelihood_statistics", "summed_hidden")
"""What the heads of a run read unless told otherwise."""
MAX_NEW_TOKENS = 40
_DOCUMENTS_A_CHUNK = 50


@dataclass(frozen=True, eq=False)
class ShiftlogPairs:
    """All pairs of different completions of one document, for many documents of level 0."""

    features: Float[Tensor, "completions features"]
    """Of every completion under the base model."""
    gold: Float[Tensor, " completions"]
    """Gold utility of every completion."""
    first: Int[Tensor, " pairs"]
    """Which completion stands first."""
    second: Int[Tensor, " pairs"]
    """Which stands second."""
    groups: Int[Tensor, " pairs"]
    """The document, counted from 0."""
    chances: Float[Tensor, " pairs"]
    """Probability that the simulated reader of level 0 prefers the first."""


def shiftlog_pairs(*, documents_wanted: int, completions: int, seed: int, cache: Path) -> ShiftlogPairs:
    """Pairs of base completions of the first training documents of level 0, read from the cache if they are there."""
    kept = cache / f"shiftlog-{documents_wanted}x{completions}-seed{seed}.safetensors"
    if not kept.exists():
        made = _made(documents_wanted, completions, seed)
        cache.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".partial")
        save_file({name: value.contiguous() for name, value in vars(made).items()}, str(partial))
        partial.rename(kept)
    return ShiftlogPairs(**load_file(str(kept)))


def _made(count: int, completions: int, seed: int) -> ShiftlogPairs:
    task = Shiftlog(seed=seed)
    base, generator = Policy.load(task.base_model()), torch.Generator().manual_seed(seed)
    logs = documents(task, split=Split.TRAIN, level=0, count=count)
    texts: list[str] = []
    features: list[Tensor] = []
    for low in range(0, count, _DOCUMENTS_A_CHUNK):
        prompts = [task.prompt(document) for document in logs[low : low + _DOCUMENTS_A_CHUNK]]
        drawn = sample(base, prompts, group=completions, max_new_tokens=MAX_NEW_TOKENS, generator=generator).completions
        rows = [list(drawn[place : place + completions]) for place in range(0, len(drawn), completions)]
        features.append(extract(trace(base, prompts, rows), FEATURES))
        texts += drawn
    owner = [logs[place // completions] for place in range(len(texts))]
    pairs = [
        (one, other)
        for begin in range(0, len(texts), completions)
        for one, other in combinations(range(begin, begin + completions), 2)
        if texts[one] != texts[other]
    ]
    reader = SimulatedReader(task)
    first, second = torch.tensor(pairs).T
    return ShiftlogPairs(
        features=torch.cat(features),
        gold=torch.tensor(
            [task.gold(document, text).utility for document, text in zip(owner, texts, strict=True)],
            dtype=torch.float64,
        ),
        first=first,
        second=second,
        groups=first // completions,
        chances=torch.tensor(
            [reader.probability(Question(owner[one], texts[one], texts[other])) for one, other in pairs],
            dtype=torch.float64,
        ),
    )
