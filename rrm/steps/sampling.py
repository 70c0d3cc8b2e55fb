"""Sample: the agent that stands at a level briefs fresh documents."""

from collections.abc import Mapping, Sequence

from agents.policy import Policy
from agents.rollout import sample as sample_group
from rrm.store import StoredCompletion, StoredDocument, put_completions, put_documents
from rrm.tasks.document import Document
from rrm.tasks.task import Split
from rrm.workbench import Workbench

CHUNK = 16
"""Documents sampled together. Part of what a seed means: another size gives other completions."""


def sample(bench: Workbench, *, level: int, round: int) -> Mapping[str, object]:
    """Brief this round's training documents and the validation documents, several completions each.

    Every round has training documents of its own; the validation documents are the same in all rounds of a level.
    """
    settings = bench.config.sampling
    agent = bench.incumbent(level)
    policy = bench.policy(agent)
    batches = (
        (Split.TRAIN, settings.train_documents, round * settings.train_documents),
        (Split.VALIDATION, settings.validation_documents, 0),
    )
    bench.progress.start("sample", sum(count for _, count, _ in batches))
    for split, count, first in batches:
        found = bench.documents(split=split, level=level, count=count, first=first)
        texts = sample_texts(
            bench,
            policy,
            [bench.task.prompt(document) for document in found],
            group=settings.completions_per_document,
            names=("sample", level, round, split),
        )
        store_completions(bench, found, texts, split=split, level=level, round=round, agent=agent, first=first)
    bench.progress.finish()
    return {"agent": agent, "documents": sum(count for _, count, _ in batches)}


def sample_texts(
    bench: Workbench, policy: Policy, prompts: Sequence[str], *, group: int, names: Sequence[object]
) -> list[tuple[str, ...]]:
    """`group` completions of each prompt. `names` say what they are for, and so seed them."""
    texts: list[tuple[str, ...]] = []
    for begin in range(0, len(prompts), CHUNK):
        part = prompts[begin : begin + CHUNK]
        samples = sample_group(
            policy,
            part,
            group=group,
            max_new_tokens=bench.config.sampling.max_new_tokens,
            generator=bench.generator(*names, begin),
        )
        texts += [samples.completions[row * group : (row + 1) * group] for row in range(len(part))]
        bench.progress.advance(len(part))
    return texts


def store_completions(
    bench: Workbench,
    found: Sequence[Document],
    texts: Sequence[Sequence[str]],
    *,
    split: Split,
    level: int,
    round: int,
    agent: str,
    first: int = 0,
) -> None:
    """Put documents and what `agent` wrote of them into the store, in one transaction."""
    with bench.run.transaction():
        put_documents(
            bench.run,
            [
                StoredDocument(
                    id=document.id,
                    task=bench.task.name,
                    level=level,
                    split=split.value,
                    position=first + place,
                    title=document.title,
                    text=document.text,
                )
                for place, document in enumerate(found)
            ],
        )
        put_completions(
            bench.run,
            [
                StoredCompletion(
                    id=completion_id(document.id, round, agent, place),
                    document_id=document.id,
                    level=level,
                    round=round,
                    agent_id=agent,
                    text=text,
                )
                for document, group in zip(found, texts, strict=True)
                for place, text in enumerate(group)
            ],
        )


def completion_id(document_id: str, round: int, agent: str, place: int) -> str:
    """Name of the `place`-th completion that an agent wrote for a document in a round."""
    return f"{document_id}/round-{round}/{agent}/{place}"
