"""Planted comparisons: pairs whose better half is known, asked silently among the others.

They say how reliable a rater is, and with aids, which then have the same flaw as the wrong half, how far a rater
believes an aid against the source. Nothing is fitted to them, and no round waits for them. As many people judge one as
judge any other comparison, so that they are the same share of everybody's work, however many people there are.
"""

from dataclasses import dataclass

import numpy as np

from rrm.judging.planted import AID, REASON, RIGHT, WRONG
from rrm.prompting import prompts_of
from rrm.steps.assisting import KIND
from rrm.store import Purpose, StoredAid, StoredComparison, put_aids, put_comparisons
from rrm.store_documents import completion_id, store_completions
from rrm.tasks.document import Document
from rrm.tasks.task import Planted, Split
from rrm.workbench import Workbench

BLOCK = 10_000
"""Places of documents that a round may use."""
_TRIES = 10


@dataclass(frozen=True, slots=True)
class _Item:
    """A planted comparison before it is stored."""

    document: Document
    place: int
    planted: Planted


def plant(bench: Workbench, *, level: int, round: int, count: int) -> int:
    """Store up to `count` planted comparisons of a round and return how many; the same ones if it is done again.

    Their documents come after those of the reports, so that nothing else in the run is about them.
    """
    items = _items(bench, level=level, round=round, count=count)
    with bench.run.transaction():
        for item in items:
            _put_briefs(bench, item, level=level, round=round)
        asked = [
            _comparison(bench, item, level=level, round=round, position=position) for position, item in enumerate(items)
        ]
        put_comparisons(bench.run, asked)
        for comparison, item in zip(asked, items, strict=True):
            _put_aids(bench, comparison, item.planted)
    return len(items)


def _items(bench: Workbench, *, level: int, round: int, count: int) -> list[_Item]:
    """The first documents of the round's places that something can be planted in."""
    items: list[_Item] = []
    first = bench.config.sampling.test_documents + round * BLOCK
    for place in bench.places(split=Split.TEST, level=level, count=min(BLOCK, _TRIES * count), first=first):
        if len(items) == count:
            break
        found = bench.document(Split.TEST, level, place)
        planted = bench.task.plant(found, np.random.default_rng(bench.seed_of("plant", level, round, place)))
        if planted is not None:
            items.append(_Item(found, place, planted))
    return items


def _put_briefs(bench: Workbench, item: _Item, *, level: int, round: int) -> None:
    for agent, text in ((RIGHT, item.planted.right), (WRONG, item.planted.wrong)):
        store_completions(
            bench.run,
            bench.task,
            [item.document],
            [[text]],
            split=Split.TEST,
            level=level,
            round=round,
            agent=agent,
            places=[item.place],
        )


def _comparison(bench: Workbench, item: _Item, *, level: int, round: int, position: int) -> StoredComparison:
    halves = [completion_id(item.document.id, round, agent, 0) for agent in (RIGHT, WRONG)]
    first, second = halves if bench.seed_of("planted", level, round, item.place) % 2 else halves[::-1]
    return StoredComparison(
        id=f"{Purpose.TEST.value}/{first}+{second.removeprefix(item.document.id + '/')}",
        level=level,
        round=round,
        purpose=Purpose.TEST,
        document_id=item.document.id,
        prompt=prompts_of(bench, [item.document])[0],
        first_completion_id=first,
        second_completion_id=second,
        reason=REASON,
        position=position,
        aids_planned=bench.assistant(level) is not None,
        raters_planned=bench.config.judging.raters_per_comparison,
    )


def _put_aids(bench: Workbench, comparison: StoredComparison, planted: Planted) -> None:
    if not comparison.aids_planned:
        return
    put_aids(
        bench.run,
        [
            StoredAid(
                id=f"{comparison.document_id}/round-{comparison.round}/{AID}/part-{place}",
                level=comparison.level,
                round=comparison.round,
                agent_id=AID,
                kind=KIND,
                text=text,
                comparison_id=comparison.id,
                part_position=place,
            )
            for place, text in enumerate(planted.aids)
        ],
    )
