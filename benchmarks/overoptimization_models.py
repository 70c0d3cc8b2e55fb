"""The reward models that `benchmarks.overoptimization` compares: one model, and ensembles of two kinds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from benchmarks.completion_pools import Pool
from reward_models.ensemble import Ensemble
from reward_models.features import STATISTICS
from reward_models.fitting import FitResult, FitSettings, fit

FEATURES = ("likelihood_statistics", "summed_hidden")
"""What the heads of a run read unless told otherwise."""
COMPARISONS_A_DOCUMENT = 2

Kind = Literal["same features", "random halves"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Scores = Callable[[Float64[Tensor, "texts features"]], Float64[Tensor, "members texts"]]
"""What the members say of texts."""


@dataclass(frozen=True, eq=False)
class Comparisons:
    """What one seed learns from."""

    first: Float[Tensor, "comparisons features"]
    second: Float[Tensor, "comparisons features"]
    labels: Float64[Tensor, " comparisons"]
    groups: Int[Tensor, " comparisons"]
    """The document."""


def comparisons(learned: Sequence[Pool], *, flips: float, generator: torch.Generator) -> Comparisons:
    """Pairs of unequal gold, the same number of each document, sides and flips by chance."""
    first, second, labels, groups = [], [], [], []
    for number, pool in enumerate(learned):
        pairs = [
            (int(one), int(other))
            for one, other in combinations(pool.drawn.tolist(), 2)
            if pool.gold[one] != pool.gold[other]
        ]
        for place in torch.randperm(len(pairs), generator=generator)[:COMPARISONS_A_DOCUMENT].tolist():
            one, other = pairs[place] if torch.rand((), generator=generator) < 0.5 else pairs[place][::-1]
            flipped = bool(torch.rand((), generator=generator) < flips)
            first.append(pool.features[one])
            second.append(pool.features[other])
            labels.append(float((pool.gold[one] > pool.gold[other]) != flipped))
            groups.append(number)
    return Comparisons(
        first=torch.stack(first).double(),
        second=torch.stack(second).double(),
        labels=torch.tensor(labels, dtype=torch.float64),
        groups=torch.tensor(groups),
    )


def one_model(seen: Comparisons, *, seed: int) -> FitResult:
    """A single model, fitted on every comparison."""
    return _fitted(seen, FitSettings(members=1, bootstrap=False), seed=seed)


def ensemble_scores(kind: Kind, seen: Comparisons, *, members: int, l2: float, seed: int) -> Scores:
    """Fit an ensemble of this kind; random halves take the strength of the one model, the others choose their own."""
    if kind == "random halves":
        return halves(seen, members=members, l2=l2, seed=seed)
    return _fitted(seen, FitSettings(members=members), seed=seed).ensemble.scores


def halves(seen: Comparisons, *, members: int, l2: float, seed: int) -> Scores:
    """Members with random halves of the hidden features and bootstrap weights of their own, at the given strength."""
    generator = torch.Generator().manual_seed(seed)
    count, width = seen.first.shape
    statistics, hidden = len(STATISTICS), width - len(STATISTICS)
    fitted: list[tuple[Tensor, Ensemble]] = []
    for _ in range(members):
        chosen = statistics + torch.randperm(hidden, generator=generator)[: hidden // 2]
        read = torch.cat([torch.arange(statistics), chosen])
        draws = torch.randint(count, (count,), generator=generator)
        result = fit(
            seen.first[:, read],
            seen.second[:, read],
            seen.labels,
            torch.bincount(draws, minlength=count).double(),
            feature_names=(),
            settings=FitSettings(members=1, bootstrap=False, l2_grid=(l2,)),
            generator=generator,
            groups=seen.groups,
        )
        fitted.append((read, result.ensemble))
    return lambda features: torch.cat([ensemble.scores(features[:, read]) for read, ensemble in fitted])


def _fitted(seen: Comparisons, settings: FitSettings, *, seed: int) -> FitResult:
    return fit(
        seen.first,
        seen.second,
        seen.labels,
        feature_names=FEATURES,
        settings=settings,
        generator=torch.Generator().manual_seed(seed),
        groups=seen.groups,
    )
