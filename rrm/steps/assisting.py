"""Assist: the agent of the level below briefs every part of each document that will be judged."""

from collections.abc import Mapping, Sequence

from rrm.prompting import prompts_of, reads_parts, source_of, writer, written_of_parts
from rrm.store import Purpose, StoredAid, comparisons, document, put_aids
from rrm.store.transaction import rows_in
from rrm.tasks.document import Document
from rrm.workbench import BASE, Workbench
from rrm.writing_texts import sample_texts

KIND = "part-briefs"


def assist(bench: Workbench, *, level: int, round: int, purposes: Sequence[Purpose]) -> Mapping[str, object]:
    """Brief the parts of the documents of these comparisons, once a document and round.

    Where documents are few, those of a promotion were briefed for the reward model's validation already.
    """
    assistant = bench.assistant(level)
    if assistant is None:
        return {"assistant": None, "aids": 0}
    wanted = dict.fromkeys(
        comparison.document_id
        for purpose in purposes
        for comparison in comparisons(bench.run, level=level, round=round, purpose=purpose)
    )
    sources = [source_of(bench, document(bench.run, identifier)) for identifier in wanted]
    of_task = [one for one in sources if one is not None]
    found = _without_aids(bench, of_task, assistant=assistant, round=round)
    bench.progress.start("assist", sum(len(one.parts) for one in found))
    aids = aids_of(bench, found, assistant=assistant, names=("assist", level, round, *purposes))
    put_aids(
        bench.run,
        [
            StoredAid(
                id=_aid_id(one, place, assistant=assistant, round=round),
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
    return {"assistant": assistant, "aids": sum(len(one.parts) for one in of_task)}


def _without_aids(bench: Workbench, found: Sequence[Document], *, assistant: str, round: int) -> list[Document]:
    """Those that nobody briefed in this round yet; all aids of a step are stored at once."""
    first = {_aid_id(one, 0, assistant=assistant, round=round): one for one in found}
    there = rows_in(bench.run.database, "SELECT id FROM aids WHERE id IN ({})", list(first))
    known = {str(row["id"]) for row in there}
    return [one for identifier, one in first.items() if identifier not in known]


def _aid_id(document: Document, part: int, *, assistant: str, round: int) -> str:
    return f"{document.id}/round-{round}/{assistant}/part-{part}"


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
