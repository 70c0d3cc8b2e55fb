"""Judge: raters answer the comparisons of a round, the simulated ones at once, people in their own time."""

from collections.abc import Mapping, Sequence

from rrm.errors import RunCorrupt
from rrm.judging.queue import answer_many, draw_many
from rrm.judging.raters import AbstractRater, Question
from rrm.judging.reader import coin
from rrm.prompting import source_of
from rrm.store import (
    Answer,
    Choice,
    Leased,
    Purpose,
    Rater,
    RaterKind,
    Stage,
    aids_for_many,
    document,
    put_rater,
    utc_now,
)
from rrm.store.waiting import missing_answers
from rrm.tasks.document import Document
from rrm.workbench import Workbench

BATCH = 100
"""Comparisons drawn and answered in one transaction."""


def missing_judgements(bench: Workbench, *, level: int, round: int, purposes: Sequence[Purpose]) -> int:
    """How many final answers the comparisons of these purposes still wait for."""
    return missing_answers(bench.run, level=level, round=round, purposes=purposes)


def judge(
    bench: Workbench, rater: AbstractRater, *, level: int, round: int, purposes: Sequence[Purpose]
) -> Mapping[str, object]:
    """Let a rater that answers at once go through the queue, by the functions that a person's page goes through."""
    put_rater(bench.run, Rater(id=rater.id, name=rater.id, kind=RaterKind.SIMULATED, settings=rater.settings()))
    bench.progress.start("judge", missing_judgements(bench, level=level, round=round, purposes=purposes))
    given = 0
    for purpose in purposes:
        while True:
            with bench.run.transaction():
                leased = draw_many(
                    bench.run,
                    rater_id=rater.id,
                    level=level,
                    round=round,
                    purpose=purpose,
                    count=BATCH,
                    now=utc_now(),
                    resume=True,
                )
                if not leased:
                    break
                answer_many(bench.run, _answers(bench, rater, leased), now=utc_now())
            given += len(leased)
            bench.progress.advance(len(leased))
    bench.progress.finish()
    return {"rater": rater.id}


def _answers(bench: Workbench, rater: AbstractRater, leased: Sequence[Leased]) -> list[Answer]:
    aids = aids_for_many(bench.run, [lease.comparison.id for lease in leased])
    answers: list[Answer] = []
    for lease in leased:
        stored = document(bench.run, lease.comparison.document_id)
        source = source_of(bench, stored) or Document(id=stored.id, title=stored.title, text=stored.text)
        aided = lease.comparison.aids_planned
        alone = Question(source, lease.first_text, lease.second_text, more_to_come=aided)
        answers.append(_answer(bench, rater, lease, alone, Stage.ALONE))
        if aided:
            texts = tuple(aid.text for aid in aids[lease.comparison.id])
            if not texts:
                raise RunCorrupt(
                    f"Comparison {lease.comparison.id} was planned with aids, but the store has none of it."
                )
            helped = Question(source, lease.first_text, lease.second_text, aids=texts)
            answers.append(_answer(bench, rater, lease, helped, Stage.AIDED))
    return answers


def _answer(bench: Workbench, rater: AbstractRater, lease: Leased, question: Question, stage: Stage) -> Answer:
    drawn = coin(seed=bench.seed, rater=rater.id, comparison=lease.comparison.id, stage=stage.value)
    probability = rater.probability(question)
    choice = Choice.FIRST if drawn < probability else Choice.SECOND
    if rater.says_ties and probability == 0.5:
        choice = Choice.TIE
    return Answer(lease_id=lease.lease_id, stage=stage, choice=choice)
