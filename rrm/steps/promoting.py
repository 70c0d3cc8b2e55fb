"""Evaluate and promote: held-out judgements say whether a new agent beats the one before it."""

import math
from collections.abc import Mapping, Sequence

from scipy.stats import binomtest

from rrm.prompting import prompts_by_id, prompts_of
from rrm.rewards.records import policy_record
from rrm.steps.fitting import answers_of, final_judgements
from rrm.steps.reading import completions_by_document
from rrm.steps.selecting import comparison_of
from rrm.store import (
    Judgement,
    Purpose,
    comparison,
    documents,
    label_of,
    put_comparisons,
    set_promoted,
    step_key,
    step_result,
    utc_now,
)
from rrm.store_documents import store_completions
from rrm.tasks.task import Split
from rrm.workbench import Workbench, artifact_id
from rrm.writing_texts import sample_texts

CONFIDENCE = 0.95
"""A new agent must beat the old one with the lower end of this two-sided interval of its win rate above one half."""


def evaluate(bench: Workbench, *, level: int, round: int) -> Mapping[str, object]:
    """Let the new agent and the one before it write for the same fresh validation documents, and ask which is better.

    One comparison a document, or more where documents are few. They come after those of the reward model's validation,
    a block to a round; where documents end, they begin anew.
    """
    count = bench.config.judging.promotion_judgements
    first = bench.config.sampling.validation_documents + round * count
    places = bench.places(split=Split.VALIDATION, level=level, count=count, first=first)
    found = [bench.document(Split.VALIDATION, level, place) for place in places]
    # Documents that come again have completions of the base already; these are numbered after them.
    endless = bench.task.size(split=Split.VALIDATION, level=level) is None
    numbered_from = 0 if endless else bench.config.sampling.completions_per_document
    each = math.ceil(count / len(found))
    prompts = prompts_of(bench, found)
    new, old = artifact_id("agent", level, round), bench.incumbent(level)
    bench.progress.start("evaluate", 2 * len(found))
    for agent in (new, old):
        texts = sample_texts(
            bench,
            bench.policy(agent),
            prompts,
            group=each,
            names=("evaluate", level, round, "new" if agent == new else "old"),
        )
        store_completions(
            bench.run,
            bench.task,
            found,
            texts,
            split=Split.VALIDATION,
            level=level,
            round=round,
            agent=agent,
            places=places,
            numbered_from=numbered_from,
        )
    _put_comparisons(
        bench, {document.id for document in found}, new=new, old=old, level=level, round=round, from_=numbered_from
    )
    bench.progress.finish()
    return {"new": new, "old": old, "documents": len(found)}


def promote(bench: Workbench, *, level: int, round: int, new: str, old: str) -> Mapping[str, object]:
    """Promote the new agent if it wins clearly more than half of the comparisons. A tie counts as half a win."""
    judged = [
        judgement
        for judgement in final_judgements(bench, level=level, last_round=round, purpose=Purpose.PROMOTION)
        if comparison(bench.run, judgement.comparison_id).round == round
    ]
    wins = 0.0
    for judgement in judged:
        label = label_of(judgement.choice)
        if label is None:
            continue
        asked = comparison(bench.run, judgement.comparison_id)
        wins += label if f"/{new}/" in asked.first_completion_id else 1.0 - label
    # The test counts whole wins; half a win is not one.
    test = binomtest(math.floor(wins), len(judged)) if judged else None
    interval = test.proportion_ci(CONFIDENCE, method="wilson") if test else None
    verdict = interval is not None and bool(interval.low > 0.5)
    record: dict[str, object] = {
        "new": new,
        "old": old,
        "judgements": len(judged),
        "win_rate": wins / len(judged) if judged else None,
        "low": float(interval.low) if interval else None,
        "high": float(interval.high) if interval else None,
        "beats": verdict,
        "reward_model": _under_shift(bench, judged, level=level, round=round),
    }
    if bench.config.rounds.promotion == "automatic":
        set_promoted(
            bench.run,
            decision_id=f"promotion-{level}-{round}",
            artifact_id=new,
            promoted=verdict,
            record=record,
            now=utc_now(),
        )
    return record


def _under_shift(
    bench: Workbench, judged: Sequence[Judgement], *, level: int, round: int
) -> Mapping[str, object] | None:
    """How the round's reward model does on what its own agent wrote, against what it was fitted on."""
    if not judged:
        return None
    rewards = bench.rewards(bench.reward_model(level, round))
    answers = answers_of(bench, judged, level=level, split=Split.VALIDATION, names=rewards.reads)
    return policy_record(bench.run, rewards, answers)


def promotion_of(bench: Workbench, *, level: int, round: int) -> Mapping[str, object]:
    """The record of a round's promotion step."""
    found = step_result(bench.run, step_key(level=level, round=round, name="promote"))
    return {} if found is None else found


def _put_comparisons(
    bench: Workbench, wanted: set[str], *, new: str, old: str, level: int, round: int, from_: int
) -> None:
    by_new, by_old = (
        completions_by_document(
            bench, level=level, round=round, split=Split.VALIDATION, agent=agent, numbered_from=from_
        )
        for agent in (new, old)
    )
    asked = [
        (document, number, pair)
        for document in documents(bench.run, level=level, split=Split.VALIDATION.value)
        if document.id in wanted
        for number, pair in enumerate(zip(by_new[document.id], by_old[document.id], strict=True))
    ]
    # Several of one document are asked after one of each.
    asked = sorted(asked, key=lambda one: one[1])[: bench.config.judging.promotion_judgements]
    prompts = prompts_by_id(bench, [document for document, _, _ in asked])
    rows = []
    for position, (document, number, pair) in enumerate(asked):
        # The order within a comparison says nothing about who wrote what.
        if bench.seed_of("order", level, round, document.id, *([number] if number else [])) % 2:
            pair = (pair[1], pair[0])
        rows.append(
            comparison_of(
                bench,
                document,
                prompts[document.id],
                *pair,
                level=level,
                round=round,
                purpose=Purpose.PROMOTION,
                reason="promotion",
                position=position,
            )
        )
    put_comparisons(bench.run, rows)
