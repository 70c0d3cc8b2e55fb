"""Assist: the agent of the level below briefs every part of each document that will be judged."""

from collections.abc import Mapping, Sequence

from rrm.prompting import prompts_of, reads_parts, source_of, writer, written_of_parts
from rrm.store import Purpose, StoredAid, comparisons, document, put_aids
from rrm.tasks.document import Document
from rrm.workbench import BASE, Workbench
from rrm.writing_texts import sample_texts

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
    sources = [source_of(bench, document(bench.run, identifier)) for identifier in wanted]
    found = [one for one in sources if one is not None]
    bench.progress.start("assist", sum(len(one.parts) for one in found))
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
    """The part briefs of documents by an assistant, in the order of the parts.

    Where agents read a document by its parts, the rater is shown just what they read.
    """
    known = {
        one.id: written_of_parts(bench, one)
        for one in found
        if reads_parts(bench, one) and writer(bench, one) == assistant
    }
    rest = [one for one in found if one.id not in known]
    prompts = prompts_of(bench, [part for one in rest for part in one.parts])
    policy = bench.base if assistant == BASE else bench.policy(assistant)
    texts = [text for (text,) in sample_texts(bench, policy, prompts, group=1, names=names)]
    for one in rest:
        known[one.id] = tuple(texts[: len(one.parts)])
        texts = texts[len(one.parts) :]
    return [known[one.id] for one in found]
