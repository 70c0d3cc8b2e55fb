"""The completions of a session, their features kept on disk a part at a time, so that a resumed session reads on."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from reward_models.features import extract
from rrm.rewards.reading import Reading, StoredReading, put_together, trace_fitted
from rrm.store import StoredComparison, completions
from rrm.workbench import Workbench
from rrm.writing import write_whole

PROMPTS_TOGETHER = 32
"""Prompts of one part: the most that a kill can cost."""


def read_completions(
    bench: Workbench, wanted: Sequence[StoredComparison], *, names: Sequence[str], folder: Path
) -> StoredReading:
    """Both completions of every comparison, with features of all these kinds; without any, the base is not asked."""
    by_prompt = _by_prompt(wanted)
    texts = _texts(bench, wanted)
    prompts = sorted(by_prompt)
    parts = [prompts[begin : begin + PROMPTS_TOGETHER] for begin in range(0, len(prompts), PROMPTS_TOGETHER)]
    bench.progress.start("Reading the texts", len(parts))
    read: list[StoredReading] = []
    for number, part in enumerate(parts):
        pairs = [
            (prompt, identifier)
            for group, rows in _same_size(part, by_prompt)
            for prompt, row in zip(group, rows, strict=True)
            for identifier in row
        ]
        path = folder / f"{number:05d}"
        features = _part(bench, part, by_prompt, texts, names=names, rows=len(pairs), path=path) if names else {}
        reading = Reading(
            prompts=tuple(prompt for prompt, _ in pairs),
            completions=tuple(texts[identifier] for _, identifier in pairs),
            features=features,
        )
        read.append(StoredReading({identifier: row for row, (_, identifier) in enumerate(pairs)}, reading))
        bench.progress.advance()
    bench.progress.finish()
    return put_together(read)


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
        trace_fitted(bench.base, group, [[texts[identifier] for identifier in row] for row in identifiers])
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
    usable = set(names) <= set(found) and all(len(found[name]) == rows for name in names)
    return {name: found[name] for name in names} if usable else None
