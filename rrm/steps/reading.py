"""Stored completions as reward models read them."""

from collections.abc import Sequence

from rrm.prompting import prompts_by_id
from rrm.rewards.reading import StoredReading, put_together, read
from rrm.store import StoredComparison, StoredCompletion, completions, documents
from rrm.tasks.task import Split
from rrm.workbench import Workbench


def completions_by_document(
    bench: Workbench, *, level: int, round: int, split: Split, agent: str | None = None, numbered_from: int = 0
) -> dict[str, list[StoredCompletion]]:
    """Completions of a round by document id, in the order of the documents and of sampling.

    Only those of `agent` if one is named, from this number on; else of whoever wrote some.
    """
    written: dict[str, list[StoredCompletion]] = {
        document.id: [] for document in documents(bench.run, level=level, split=split.value)
    }
    for completion in completions(bench.run, level=level, round=round, agent_id=agent):
        if completion.document_id in written:
            written[completion.document_id].append(completion)
    return {
        identifier: sorted((one for one in group if _number(one) >= numbered_from), key=_number)
        for identifier, group in written.items()
        if group
    }


def _number(completion: StoredCompletion) -> int:
    """The place of a completion among those of its document and agent, which its id ends with."""
    return int(completion.id.rsplit("/", 1)[1])


def read_round(bench: Workbench, *, level: int, round: int, split: Split, names: Sequence[str]) -> StoredReading:
    """Every completion of a round, with these features."""
    written = completions_by_document(bench, level=level, round=round, split=split)
    known = {document.id: document for document in documents(bench.run, level=level, split=split.value)}
    by_size: dict[int, list[str]] = {}
    for identifier, group in written.items():
        by_size.setdefault(len(group), []).append(identifier)
    parts: list[StoredReading] = []
    # One pass takes documents with equally many completions; a validation document has others than one of a promotion.
    for identifiers in by_size.values():
        prompts = list(prompts_by_id(bench, [known[identifier] for identifier in identifiers]).values())
        groups = [written[identifier] for identifier in identifiers]
        ids = [completion.id for group in groups for completion in group]
        reading = read(bench.base, prompts, [[one.text for one in group] for group in groups], names=names)
        parts.append(StoredReading({identifier: row for row, identifier in enumerate(ids)}, reading))
    return put_together(parts)


def read_asked(
    bench: Workbench, asked: Sequence[StoredComparison], *, level: int, split: Split, names: Sequence[str]
) -> StoredReading:
    """Every completion of the rounds that comparisons come from, with these features."""
    rounds = sorted({one.round for one in asked})
    return put_together([read_round(bench, level=level, round=round, split=split, names=names) for round in rounds])
