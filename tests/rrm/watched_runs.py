"""Runs whose figures can be computed by hand: comparisons of a good brief with an invented one, and known answers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rrm.judging.queue import answer, draw_many
from rrm.run_folder import RunFolder, open_run_folder
from rrm.starting import start_run
from rrm.store import (
    Choice,
    Purpose,
    Rater,
    RaterKind,
    Stage,
    StoredAid,
    StoredComparison,
    StoredCompletion,
    StoredDocument,
    put_aids,
    put_comparisons,
    put_completions,
    put_documents,
    put_rater,
)
from rrm.tasks.task import Split

NOW = "2026-01-02T03:04:05Z"
RIGHT, WRONG = Choice.FIRST, Choice.SECOND
"""In `ask` the first completion is the good one."""


@contextmanager
def watched(folder: Path, *overrides: str) -> Iterator[RunFolder]:
    """An empty run of people, with the raters Ann and Bob and a simulated one."""
    start_run(folder, ["judging.rater=people", *overrides])
    with open_run_folder(folder) as opened:
        for name in ("ann", "bob"):
            put_rater(opened.run, Rater(name, name.title(), RaterKind.PERSON))
        put_rater(opened.run, Rater("reader", "reader", RaterKind.SIMULATED))
        yield opened


def ask(
    opened: RunFolder,
    number: int,
    *,
    level: int = 0,
    round: int = 0,
    purpose: Purpose = Purpose.TRAIN,
    aids: bool = False,
    raters: int = 1,
    clear: bool = True,
) -> str:
    """Put a comparison into the run whose first brief is good; its second is invented, or (not `clear`) as good."""
    run, task = opened.run, opened.task
    document = task.document(split=Split.TRAIN, level=level, index=number)
    worst = max((entry.claim for entry in task.entries(document)), key=lambda claim: claim.weight)
    good, bad = f"#{worst.key} {worst.statement}\n", "#98 collapse\n#97 fire\n"
    names = [f"{document.id}/round-{round}/{purpose.value}/{agent}" for agent in ("base", "agent")]
    put_documents(
        run,
        [StoredDocument(document.id, task.name, level, Split.TRAIN.value, number, document.title, document.text)],
    )
    put_completions(
        run,
        [
            StoredCompletion(name, document.id, level, round, "base", text)
            for name, text in zip(names, (good, bad if clear else good), strict=True)
        ],
    )
    identifier = f"{purpose.value}/{level}/{round}/{number}"
    put_comparisons(
        run,
        [
            StoredComparison(
                identifier, level, round, purpose, document.id, task.prompt(document), names[0], names[1],
                reason="random", position=number, aids_planned=aids, raters_planned=raters,
            )
        ],
    )  # fmt: skip
    if aids:
        put_aids(
            run, [StoredAid(f"{identifier}/aid", level, round, "base", "part-briefs", good, comparison_id=identifier)]
        )
    return identifier


def give(
    opened: RunFolder,
    answers: Mapping[str, Choice],
    *,
    rater: str = "ann",
    aided: Mapping[str, Choice] | None = None,
    seconds: float | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Let a rater answer these comparisons alone, and those of `aided` after the aid as well."""
    for identifier, choice in answers.items():
        purpose, level, round, _ = identifier.split("/")
        held = draw_many(
            opened.run,
            rater_id=rater,
            level=int(level),
            round=int(round),
            purpose=Purpose(purpose),
            count=1000,
            now=NOW,
            resume=True,
        )
        lease = next(one for one in held if one.comparison.id == identifier)
        told = {**(details or {}), **({"milliseconds": seconds * 1000} if seconds is not None else {})}
        answer(opened.run, lease.lease_id, stage=Stage.ALONE, choice=choice, now=NOW, details=told)
        if aided:
            answer(opened.run, lease.lease_id, stage=Stage.AIDED, choice=aided[identifier], now=NOW, details=told)
