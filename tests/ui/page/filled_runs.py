"""Runs with comparisons to judge, filled without any model: real documents of the task, briefs put together by rule."""

from collections.abc import Sequence
from pathlib import Path

from rrm.run_folder import RunFolder, open_run_folder
from rrm.starting import start_run
from rrm.store import (
    Purpose,
    Run,
    StoredAid,
    StoredComparison,
    StoredCompletion,
    StoredDocument,
    put_aids,
    put_comparisons,
    put_completions,
    put_documents,
)
from rrm.tasks.document import Document
from rrm.tasks.task import AbstractTask, Claim, Split

PEOPLE = (
    "judging.rater=people",
    "judging.repeat_share=0",
    "judging.planted_share=0",
    "judging.unaided_share=0",
    "reward.acquisition=spread",
    "run.threads=1",
)


def people_run(
    folder: Path,
    *,
    comparisons: int = 12,
    level: int = 0,
    raters: int = 1,
    documents: int | None = None,
    texts: tuple[str, str] | None = None,
    more: Sequence[str] = (),
) -> Path:
    """A run where people judge, with comparisons that wait; a fifth of them held out.

    `texts` stand for both completions of the first comparison instead of briefs (for texts that must not run).
    """
    start_run(folder, [*PEOPLE, *more])
    with open_run_folder(folder) as opened:
        fill(opened, comparisons=comparisons, level=level, raters=raters, documents=documents, texts=texts)
    return folder


def fill(
    opened: RunFolder,
    *,
    comparisons: int,
    level: int,
    raters: int = 1,
    documents: int | None = None,
    texts: tuple[str, str] | None = None,
) -> None:
    """Put documents, briefs, aids and comparisons into a run; several comparisons share a document where told so."""
    run, task = opened.run, opened.task
    count = documents or comparisons
    found = [task.document(split=Split.TRAIN, level=level, index=index) for index in range(count)]
    with run.transaction():
        put_documents(run, [_stored(task, document, level, place) for place, document in enumerate(found)])
        rows: list[StoredComparison] = []
        for number in range(comparisons):
            document = found[number % count]
            pair = texts if texts and number == 0 else _briefs(task, document, number)
            rows.append(_comparison(run, task, document, pair, number=number, level=level, raters=raters))
        put_comparisons(run, rows)
        if level:
            put_aids(run, [aid for document in found for aid in _aids(task, document, level)])


def _stored(task: AbstractTask, document: Document, level: int, place: int) -> StoredDocument:
    return StoredDocument(document.id, task.name, level, Split.TRAIN.value, place, document.title, document.text)


def _briefs(task: AbstractTask, document: Document, number: int) -> tuple[str, str]:
    """Two briefs that differ: some lines of the log, and other lines of it or a line that is not in it."""
    claims = [entry.claim for entry in task.entries(document)]
    first = _line(claims[number % len(claims)])
    second = _line(claims[(number + 1 + number // len(claims)) % len(claims)])
    return first, second + first if first != second else f"{first}#98 collapse\n"


def _line(claim: Claim) -> str:
    return f"#{claim.key} {claim.statement}\n"


def _comparison(
    run: Run, task: AbstractTask, document: Document, pair: tuple[str, str], *, number: int, level: int, raters: int
) -> StoredComparison:
    names = tuple(f"{document.id}/round-0/{agent}/{number}" for agent in ("base", "agent"))
    put_completions(
        run,
        [
            StoredCompletion(name, document.id, level, 0, agent, text)
            for name, agent, text in zip(names, ("base", "agent"), pair, strict=True)
        ],
    )
    purpose = Purpose.VALIDATION if number % 5 == 4 else Purpose.TRAIN
    return StoredComparison(
        id=f"{purpose.value}/{document.id}/{number}",
        level=level,
        round=0,
        purpose=purpose,
        document_id=document.id,
        prompt=task.prompt(document),
        first_completion_id=names[0],
        second_completion_id=names[1],
        reason="random",
        position=number,
        aids_planned=level > 0,
        raters_planned=raters,
    )


def _aids(task: AbstractTask, document: Document, level: int) -> list[StoredAid]:
    """A brief of each part: its first entry, and one line that its log does not have."""
    return [
        StoredAid(
            id=f"{document.id}/aid-{place}",
            level=level,
            round=0,
            agent_id="agent-0-0",
            kind="part-briefs",
            text=_line(task.entries(part)[0].claim) + "#98 collapse\n",
            document_id=document.id,
            part_position=place,
        )
        for place, part in enumerate(document.parts)
    ]
