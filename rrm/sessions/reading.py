"""The features of a session's completions, kept on disk a part at a time, so that a resumed session reads on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from agents.rollout import trace
from reward_models.features import extract
from rrm.sessions.plan import write_whole
from rrm.store import StoredComparison, completions
from rrm.workbench import Workbench

PROMPTS_TOGETHER = 32
"""Prompts of one part: the most that a kill can cost."""


@dataclass(frozen=True)
class Features:
    """Features of completions, each kind in a tensor of shape (completions, width)."""

    places: Mapping[str, int]
    """Row of a completion by its id."""
    kinds: Mapping[str, torch.Tensor]

    def of(self, identifiers: Sequence[str], names: Sequence[str]) -> torch.Tensor:
        """Features of completions side by side in the order of the names, as `reward_models.features.extract`."""
        rows = torch.tensor([self.places[identifier] for identifier in identifiers], dtype=torch.long)
        return torch.cat([self.kinds[name][rows] for name in names], dim=1)


def read_features(
    bench: Workbench, wanted: Sequence[StoredComparison], *, names: Sequence[str], folder: Path
) -> Features:
    """Features of both completions of every comparison, of all these kinds."""
    by_prompt = _by_prompt(wanted)
    texts = _texts(bench, wanted)
    prompts = sorted(by_prompt)
    parts = [prompts[begin : begin + PROMPTS_TOGETHER] for begin in range(0, len(prompts), PROMPTS_TOGETHER)]
    bench.progress.start("Reading the texts", len(parts))
    places: dict[str, int] = {}
    read: list[dict[str, torch.Tensor]] = []
    for number, part in enumerate(parts):
        identifiers = [identifier for _, group in _same_size(part, by_prompt) for row in group for identifier in row]
        places |= {identifier: len(places) + row for row, identifier in enumerate(identifiers)}
        read.append(
            _part(bench, part, by_prompt, texts, names=names, rows=len(identifiers), path=folder / f"{number:05d}")
        )
        bench.progress.advance()
    bench.progress.finish()
    return Features(places=places, kinds={name: torch.cat([part[name] for part in read]) for name in names})


def _by_prompt(wanted: Sequence[StoredComparison]) -> dict[str, list[str]]:
    """Ids of the completions of each prompt, each once, in an order of their own."""
    found: dict[str, set[str]] = {}
    for each in wanted:
        found.setdefault(each.prompt, set()).update((each.first_completion_id, each.second_completion_id))
    return {prompt: sorted(identifiers) for prompt, identifiers in found.items()}


def _texts(bench: Workbench, wanted: Sequence[StoredComparison]) -> dict[str, str]:
    return {
        each.id: each.text
        for level, round in sorted({(one.level, one.round) for one in wanted})
        for each in completions(bench.run, level=level, round=round)
    }


def _same_size(
    prompts: Sequence[str], by_prompt: Mapping[str, list[str]]
) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Prompts with the same number of completions together, as a pass through the base needs them."""
    for size in sorted({len(by_prompt[prompt]) for prompt in prompts}):
        group = [prompt for prompt in prompts if len(by_prompt[prompt]) == size]
        yield group, [by_prompt[prompt] for prompt in group]


def _part(
    bench: Workbench,
    prompts: Sequence[str],
    by_prompt: Mapping[str, list[str]],
    texts: Mapping[str, str],
    *,
    names: Sequence[str],
    rows: int,
    path: Path,
) -> dict[str, torch.Tensor]:
    stored = _stored(path, names=names, rows=rows)
    if stored is not None:
        return stored
    groups = [
        trace(bench.base, group, [[texts[identifier] for identifier in row] for row in identifiers])
        for group, identifiers in _same_size(prompts, by_prompt)
    ]
    made = {name: torch.cat([extract(group, (name,)).cpu() for group in groups]).contiguous() for name in names}
    write_whole(path, save(made))
    return made


def _stored(path: Path, *, names: Sequence[str], rows: int) -> dict[str, torch.Tensor] | None:
    """What an earlier attempt has read; None where it did not come to that, or for other features."""
    try:
        found = load(path.read_bytes())
    except (FileNotFoundError, SafetensorError):
        return None
    return found if set(names) <= set(found) and all(len(found[name]) == rows for name in names) else None
