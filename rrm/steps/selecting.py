"""Select: which pairs of completions are worth a judgement."""

import math
from collections.abc import Mapping
from itertools import combinations

import torch

from reward_models.acquisition import select as choose
from rrm.judging.imported import REASON
from rrm.prompting import is_of_task, prompts_by_id
from rrm.rewards.questions import Candidates, likeness, questions
from rrm.rewards.questions import candidates as scored
from rrm.steps.planting import plant
from rrm.steps.reading import completions_by_document, read_round
from rrm.steps.sampling import still_to_ask
from rrm.store import (
    Purpose,
    StoredComparison,
    StoredCompletion,
    StoredDocument,
    comparisons,
    documents,
    put_comparisons,
)
from rrm.tasks.task import Split
from rrm.workbench import Workbench


def select(bench: Workbench, *, level: int, round: int) -> Mapping[str, object]:
    """Choose training comparisons by the level's last reward model, as configured; validation ones uniformly.

    A share of the training ones is drawn uniformly too, so that the gain of choosing is measured instead of believed.
    Without a reward model at this level everything is drawn at random. Pairs of equal texts are never asked. Where
    people judge, planted comparisons come on top.
    """
    counts: dict[str, object] = {}
    asked = 0
    for split, purpose in ((Split.TRAIN, Purpose.TRAIN), (Split.VALIDATION, Purpose.VALIDATION)):
        count = still_to_ask(bench, level=level, round=round, purpose=purpose)
        candidates = _candidates(bench, split=split, level=level, round=round)
        by_model = purpose is Purpose.TRAIN and round > 0
        chosen = _choose(bench, candidates, level=level, round=round, count=count, purpose=purpose, by_model=by_model)
        put_comparisons(bench.run, chosen)
        counts[purpose.value] = len(chosen)
        asked += len(chosen)
    if bench.rater is None:
        wanted = math.ceil(bench.config.judging.planted_share * asked)
        counts["planted"] = plant(bench, level=level, round=round, count=wanted)
    return counts


def comparison_of(
    bench: Workbench,
    document: StoredDocument,
    prompt: str,
    first: StoredCompletion,
    second: StoredCompletion,
    *,
    level: int,
    round: int,
    purpose: Purpose,
    reason: str,
    position: int,
) -> StoredComparison:
    """The record of a comparison of two completions of one document."""
    identifier = f"{purpose.value}/{first.id}+{second.id.removeprefix(document.id + '/')}"
    return StoredComparison(
        id=identifier,
        level=level,
        round=round,
        purpose=purpose,
        document_id=document.id,
        prompt=prompt,
        first_completion_id=first.id,
        second_completion_id=second.id,
        reason=reason,
        position=position,
        aids_planned=_has_aids(bench, document, level=level) and not _is_unaided(bench, identifier, purpose),
        raters_planned=bench.config.judging.raters_per_comparison if bench.rater is None else 1,
    )


def _has_aids(bench: Workbench, document: StoredDocument, *, level: int) -> bool:
    """Whether its parts are briefed for raters; a document that was brought along has none."""
    return bench.assistant(level) is not None and is_of_task(bench, document)


def _is_unaided(bench: Workbench, identifier: str, purpose: Purpose) -> bool:
    """Whether people judge this comparison without the aid that its level has, to learn what the aid is worth.

    Simulated raters are measured with and without aids anyway, and a promotion is decided by the best labels there are.
    """
    if bench.rater is not None or purpose is Purpose.PROMOTION:
        return False
    return bench.seed_of("unaided", identifier) < bench.config.judging.unaided_share * 2**63


Candidate = tuple[StoredDocument, StoredCompletion, StoredCompletion]


def _candidates(bench: Workbench, *, split: Split, level: int, round: int) -> list[Candidate]:
    written = completions_by_document(bench, level=level, round=round, split=split)
    asked = {
        frozenset((one.first_completion_id, one.second_completion_id))
        for one in comparisons(bench.run, level=level, round=round)
        if one.reason == REASON
    }
    known = {document.id: document for document in documents(bench.run, level=level, split=split.value)}
    return [
        (known[identifier], first, second)
        for identifier, group in written.items()
        for first, second in combinations(group, 2)
        if first.text != second.text and frozenset((first.id, second.id)) not in asked
    ]


def _choose(
    bench: Workbench,
    candidates: list[Candidate],
    *,
    level: int,
    round: int,
    count: int,
    purpose: Purpose,
    by_model: bool,
) -> list[StoredComparison]:
    generator = bench.generator("select", level, round, purpose)
    wanted = min(count, len(candidates))
    if by_model:
        known = _scored(bench, candidates, level=level, round=round)
        selected = questions(known, count=wanted, settings=bench.config.reward, generator=generator)
    else:
        none = torch.zeros(1, len(candidates))
        selected = choose(none, none, count=wanted, method="random", random_share=1.0, generator=generator)
    asked = [candidates[pick.index] for pick in selected]
    prompts = prompts_by_id(bench, [document for document, _, _ in asked])
    return [
        comparison_of(
            bench,
            document,
            prompts[document.id],
            first,
            second,
            level=level,
            round=round,
            purpose=purpose,
            reason=str(pick.reason),
            position=position,
        )
        for position, (pick, (document, first, second)) in enumerate(zip(selected, asked, strict=True))
    ]


def _scored(bench: Workbench, candidates: list[Candidate], *, level: int, round: int) -> Candidates:
    """What the reward model of the round before says of the candidates."""
    settings = bench.config.reward
    rewards = bench.rewards(bench.reward_model(level, round - 1))
    names = tuple(dict.fromkeys((*rewards.reads, *likeness(settings))))
    reading = read_round(bench, level=level, round=round, split=Split.TRAIN, names=names)
    first = reading.of([one.id for _, one, _ in candidates])
    second = reading.of([other.id for _, _, other in candidates])
    return scored(rewards, first, second, settings=settings)
