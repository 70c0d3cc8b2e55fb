"""Assist: the agent of the level below briefs every part of each document that will be judged."""

from collections.abc import Mapping, Sequence

from rrm.steps.sampling import sample_texts
from rrm.store import Purpose, StoredAid, comparisons, document, put_aids
from rrm.tasks.document import Document
from rrm.tasks.task import Split
from rrm.workbench import BASE, Workbench

KIND = "part-briefs"


def assist(bench: Workbench, *, level: int, round: int, purposes: Sequence[Purpose]) -> Mapping[str, object]:
    """Brief the parts of the documents of these comparisons, once a document and round."""
    assistant = bench.assistant(level)
    if assistant is None:
        return {"assistant": None, "aids": 0}
    wanted = dict.fromkeys(
        comparison.document_id
        for purpose in purposes
        for comparison in comparisons(bench.run, level=level, round=round, purpose=purpose)
    )
    found = [_document(bench, identifier) for identifier in wanted]
    bench.progress.start("assist", len(found) * (len(found[0].parts) if found else 1))
    aids = aids_of(bench, found, assistant=assistant, names=("assist", level, round, *purposes))
    put_aids(
        bench.run,
        [
            StoredAid(
                id=f"{one.id}/round-{round}/{assistant}/part-{place}",
                level=level,
                round=round,
                agent_id=assistant,
                kind=KIND,
                text=text,
                document_id=one.id,
                part_position=place,
            )
            for one, texts in zip(found, aids, strict=True)
            for place, text in enumerate(texts)
        ],
    )
    bench.progress.finish()
    return {"assistant": assistant, "aids": sum(len(texts) for texts in aids)}


def aids_of(
    bench: Workbench, found: Sequence[Document], *, assistant: str, names: Sequence[object]
) -> list[tuple[str, ...]]:
    """The part briefs of documents by an assistant, in the order of the parts."""
    prompts = [bench.task.prompt(part) for one in found for part in one.parts]
    policy = bench.base if assistant == BASE else bench.policy(assistant)
    texts = [texts[0] for texts in sample_texts(bench, policy, prompts, group=1, names=names)]
    aids: list[tuple[str, ...]] = []
    for one in found:
        aids.append(tuple(texts[: len(one.parts)]))
        texts = texts[len(one.parts) :]
    return aids


def _document(bench: Workbench, identifier: str) -> Document:
    stored = document(bench.run, identifier)
    return bench.task.document(split=Split(stored.split), level=stored.level, index=stored.position)
