"""Many completions of each document by the base model of the embedded task, scored once a text, kept in a cache folder.

A base model often writes the same brief again. Features and gold are computed for every distinct text, and `drawn` says
which text each sample is, so that a pool counts as many samples as were drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Float, Float64, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from agents.policy import Policy
from agents.rollout import sample, trace
from reward_models.features import extract
from rrm.tasks.document import Document
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.task import AbstractTask, Split

MAX_NEW_TOKENS = 40
"""As runs have it."""
_SAMPLED_TOGETHER = 512
_TRACED_TOGETHER = 256
_DOCUMENTS_A_FILE = 10


@dataclass(frozen=True, eq=False)
class Pool:
    """What the base model wrote of one document."""

    features: Float[Tensor, "texts features"]
    """Of every distinct text."""
    gold: Float64[Tensor, " texts"]
    """Gold utility of every distinct text."""
    drawn: Int[Tensor, " samples"]
    """Which text each sample is, in the order of sampling."""


_PARTS = tuple(field.name for field in fields(Pool))


def pools(
    *,
    split: Split,
    level: int,
    first: int,
    count: int,
    samples: int,
    features: tuple[str, ...],
    cache: Path,
) -> list[Pool]:
    """The pools of `count` documents from the place `first` on; what the cache has is read, the rest is made and kept.

    Every document has a seed of its own: its samples do not depend on which others are asked for.
    """
    folder = cache / f"shiftlog-{split.value}-{level}-{samples}x{MAX_NEW_TOKENS}-{'-'.join(features)}"
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Pool] = []
    for begin in range(first, first + count, _DOCUMENTS_A_FILE):
        places = range(begin, min(begin + _DOCUMENTS_A_FILE, first + count))
        kept = folder / f"{places.start}-{places.stop}.safetensors"
        if not kept.exists():
            _keep(_made(split=split, level=level, places=places, samples=samples, features=features), kept)
        tensors = load_file(kept)
        found += [Pool(**{part: tensors[f"{place}.{part}"] for part in _PARTS}) for place in places]
    return found


def _keep(made: dict[int, Pool], path: Path) -> None:
    tensors = {f"{place}.{part}": getattr(pool, part).contiguous() for place, pool in made.items() for part in _PARTS}
    partial = path.with_suffix(".partial")
    save_file(tensors, partial)
    partial.rename(path)


def _made(
    *, split: Split, level: int, places: Sequence[int], samples: int, features: tuple[str, ...]
) -> dict[int, Pool]:
    task = Shiftlog(seed=0)
    base = Policy.load(task.base_model())
    return {
        place: _pool(task, base, task.document(split=split, level=level, index=place), place, samples, features)
        for place in places
    }


def _pool(
    task: AbstractTask, base: Policy, document: Document, seed: int, samples: int, features: tuple[str, ...]
) -> Pool:
    prompt, generator = task.prompt(document), torch.Generator().manual_seed(seed)
    drawn: list[str] = []
    while len(drawn) < samples:
        group = min(_SAMPLED_TOGETHER, samples - len(drawn))
        drawn += sample(base, [prompt], group=group, max_new_tokens=MAX_NEW_TOKENS, generator=generator).completions
    # Shorter texts first, so that a pass pads little.
    texts = sorted(set(drawn), key=lambda text: (len(text), text))
    place = {text: number for number, text in enumerate(texts)}
    parts = [texts[begin : begin + _TRACED_TOGETHER] for begin in range(0, len(texts), _TRACED_TOGETHER)]
    return Pool(
        features=torch.cat([extract(trace(base, [prompt], [part]), features) for part in parts]),
        gold=torch.tensor([task.gold(document, text).utility for text in texts], dtype=torch.float64),
        drawn=torch.tensor([place[text] for text in drawn]),
    )
