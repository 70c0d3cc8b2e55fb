"""Select: which pairs of completions are worth a judgement."""

import math
from collections.abc import Mapping
from itertools import combinations

import torch

from reward_models.acquisition import select as choose
from rrm.steps.planting import plant
from rrm.steps.reading import completions_by_document, features_of
from rrm.store import Purpose, StoredComparison, StoredCompletion, StoredDocument, documents, put_comparisons
from rrm.tasks.task import Split
from rrm.workbench import Workbench

RANDOM_SHARE = 0.2
"""Comparisons that are always drawn at random, so that the gain of choosing is measured instead of believed."""


def select(bench: Workbench, *, level: int, round: int) -> Mapping[str, object]:
    """Choose training comparisons by the spread of the last reward model's members, validation ones uniformly.

    Without a reward model at this level everything is drawn at random. Pairs of equal texts are never asked. Where
    people judge, planted comparisons come on top.
    """
    judging = bench.config.judging
    counts: dict[str, object] = {}
    asked = 0
    for split, purpose, count in (
        (Split.TRAIN, Purpose.TRAIN, judging.judgements_per_round),
        (Split.VALIDATION, Purpose.VALIDATION, judging.validation_judgements),
    ):
        candidates = _candidates(bench, split=split, level=level, round=round)
        by_spread = purpose is Purpose.TRAIN and round > 0
        chosen = _choose(bench, candidates, level=level, round=round, count=count, purpose=purpose, by_spread=by_spread)
        put_comparisons(bench.run, chosen)
        counts[purpose.value] = len(chosen)
        asked += len(chosen)
    if bench.rater is None:
        wanted = math.ceil(judging.planted_share * asked)
        counts["planted"] = plant(bench, level=level, round=round, count=wanted)
    return counts


def comparison_of(
    bench: Workbench,
    document: StoredDocument,
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
    found = bench.task.document(split=Split(document.split), level=level, index=document.position)
    identifier = f"{purpose.value}/{first.id}+{second.id.removeprefix(document.id + '/')}"
    return StoredComparison(
        id=identifier,
        level=level,
        round=round,
        purpose=purpose,
        document_id=document.id,
        prompt=bench.task.prompt(found),
        first_completion_id=first.id,
        second_completion_id=second.id,
        reason=reason,
        position=position,
        aids_planned=bench.assistant(level) is not None and not _is_unaided(bench, identifier, purpose),
        raters_planned=bench.config.judging.raters_per_comparison if bench.rater is None else 1,
    )


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
    known = {document.id: document for document in documents(bench.run, level=level, split=split.value)}
    return [
        (known[identifier], first, second)
        for identifier, group in written.items()
        for first, second in combinations(group, 2)
        if first.text != second.text
    ]


def _choose(
    bench: Workbench,
    candidates: list[Candidate],
    *,
    level: int,
    round: int,
    count: int,
    purpose: Purpose,
    by_spread: bool,
) -> list[StoredComparison]:
    if by_spread:
        scores_first, scores_second = _scores(bench, candidates, level=level, round=round)
    else:
        scores_first = scores_second = torch.zeros(1, len(candidates))
    selected = choose(
        scores_first,
        scores_second,
        count=min(count, len(candidates)),
        method="spread" if by_spread else "random",
        random_share=RANDOM_SHARE,
        generator=bench.generator("select", level, round, purpose),
    )
    return [
        comparison_of(
            bench,
            *candidates[pick.index],
            level=level,
            round=round,
            purpose=purpose,
            reason=str(pick.reason),
            position=position,
        )
        for position, pick in enumerate(selected)
    ]


def _scores(
    bench: Workbench, candidates: list[Candidate], *, level: int, round: int
) -> tuple[torch.Tensor, torch.Tensor]:
    ensemble = bench.ensemble(level, round - 1)
    features = features_of(bench, level=level, round=round, split=Split.TRAIN)
    first = torch.stack([features[one.id] for _, one, _ in candidates])
    second = torch.stack([features[other.id] for _, _, other in candidates])
    return ensemble.scores(first), ensemble.scores(second)
