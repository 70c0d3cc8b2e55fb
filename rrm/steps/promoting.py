"""Evaluate and promote: held-out judgements say whether a new agent beats the one before it."""

import math
from collections.abc import Mapping, Sequence

from scipy.stats import binomtest

from rrm.rewards.records import policy_record
from rrm.steps.fitting import answers_of, final_judgements
from rrm.steps.reading import completions_by_document
from rrm.steps.sampling import sample_texts, store_completions
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
from rrm.tasks.task import Split
from rrm.workbench import Workbench, artifact_id

CONFIDENCE = 0.95
"""A new agent must beat the old one with the lower end of this two-sided interval of its win rate above one half."""


def evaluate(bench: Workbench, *, level: int, round: int) -> Mapping[str, object]:
    """Let the new agent and the one before it brief the same fresh validation documents, and ask which is better.

    One comparison a document. The documents come after those of the reward model's validation, a block to a round.
    """
    count = bench.config.judging.promotion_judgements
    first = bench.config.sampling.validation_documents + round * count
    found = bench.documents(split=Split.VALIDATION, level=level, count=count, first=first)
    prompts = [bench.task.prompt(document) for document in found]
    new, old = artifact_id("agent", level, round), bench.incumbent(level)
    bench.progress.start("evaluate", 2 * count)
    for agent in (new, old):
        texts = sample_texts(
            bench,
            bench.policy(agent),
            prompts,
            group=1,
            names=("evaluate", level, round, "new" if agent == new else "old"),
        )
        store_completions(
            bench, found, texts, split=Split.VALIDATION, level=level, round=round, agent=agent, first=first
        )
    _put_comparisons(bench, {document.id for document in found}, new=new, old=old, level=level, round=round)
    bench.progress.finish()
    return {"new": new, "old": old, "documents": count}


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


def _put_comparisons(bench: Workbench, wanted: set[str], *, new: str, old: str, level: int, round: int) -> None:
    by_new, by_old = (
        completions_by_document(bench, level=level, round=round, split=Split.VALIDATION, agent=agent)
        for agent in (new, old)
    )
    rows = []
    for position, document in enumerate(
        one for one in documents(bench.run, level=level, split=Split.VALIDATION.value) if one.id in wanted
    ):
        pair = (by_new[document.id][0], by_old[document.id][0])
        # The order within a comparison says nothing about who wrote what.
        if bench.seed_of("order", level, round, document.id) % 2:
            pair = (pair[1], pair[0])
        rows.append(
            comparison_of(
                bench,
                document,
                *pair,
                level=level,
                round=round,
                purpose=Purpose.PROMOTION,
                reason="promotion",
                position=position,
            )
        )
    put_comparisons(bench.run, rows)
