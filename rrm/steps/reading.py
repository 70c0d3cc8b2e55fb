"""What the base policy makes of stored completions: the features that reward models read."""

from collections.abc import Sequence

import torch

from agents.rollout import trace
from reward_models.features import extract
from rrm.store import StoredCompletion, completions, documents
from rrm.tasks.task import Split
from rrm.workbench import Workbench


def completions_by_document(
    bench: Workbench, *, level: int, round: int, split: Split, agent: str | None = None
) -> dict[str, list[StoredCompletion]]:
    """Completions of a round by document id, in the order of the documents and of sampling.

    Only those of `agent` if one is named; else of whoever was sampled from.
    """
    written: dict[str, list[StoredCompletion]] = {
        document.id: [] for document in documents(bench.run, level=level, split=split.value)
    }
    for completion in completions(bench.run, level=level, round=round, agent_id=agent):
        if completion.document_id in written:
            written[completion.document_id].append(completion)
    return {
        identifier: sorted(group, key=lambda completion: int(completion.id.rsplit("/", 1)[1]))
        for identifier, group in written.items()
        if group
    }


def features_of(bench: Workbench, *, level: int, round: int, split: Split) -> dict[str, torch.Tensor]:
    """Features of every completion of a round by its id, each of shape (features,)."""
    written = completions_by_document(bench, level=level, round=round, split=split)
    known = {document.id: document for document in documents(bench.run, level=level, split=split.value)}
    by_size: dict[int, list[str]] = {}
    for identifier, group in written.items():
        by_size.setdefault(len(group), []).append(identifier)
    features: dict[str, torch.Tensor] = {}
    # One pass takes documents with equally many completions; a validation document has others than one of a promotion.
    for identifiers in by_size.values():
        prompts = [
            bench.task.prompt(bench.task.document(split=split, level=level, index=known[identifier].position))
            for identifier in identifiers
        ]
        groups = [written[identifier] for identifier in identifiers]
        rows = features_of_texts(bench, prompts, [[completion.text for completion in group] for group in groups])
        features |= dict(zip((completion.id for group in groups for completion in group), rows, strict=True))
    return features


def features_of_texts(bench: Workbench, prompts: Sequence[str], texts: Sequence[Sequence[str]]) -> torch.Tensor:
    """Features of shape (prompts * texts of each, features), on the CPU; every prompt has an equal number of texts."""
    return extract(trace(bench.base, prompts, texts), tuple(bench.config.reward.features)).cpu()
