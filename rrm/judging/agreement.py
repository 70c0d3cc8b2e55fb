"""Agreement: do raters answer alike, beyond what chance would bring about?

Percent agreement is the share of pairs of answers to one comparison that are equal. Cohen's kappa (1960) and
Krippendorff's alpha (1980) set it against chance:

    kappa = (p_o - p_e) / (1 - p_e)        alpha = 1 - D_o / D_e

with the observed agreement p_o, the one p_e that two raters with these habits reach by chance, and the observed and
expected disagreement D_o and D_e. Where chance alone would already agree fully, both are undefined: neither 0 nor 1.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import krippendorff
import numpy as np
from sklearn.metrics import cohen_kappa_score

Ratings = Mapping[str, Mapping[str, float]]
"""By rater and comparison, the label: 1 if the first is better, 0 if the second is, 0.5 if neither."""

ALONE = "fewer than two raters have answered"
NO_OVERLAP = "no comparison was answered by two raters"
ONE_VALUE = "all these answers are the same, so that chance alone would agree as well"


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, or why there is none."""

    value: float | None
    undefined: str | None
    """The reason in words where the value is None."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far some raters agree."""

    raters: int
    """Raters with an answer."""
    comparisons: int
    """Comparisons that two of them or more answered."""
    pairs: int
    """Pairs of answers to one comparison."""
    percent: Figure
    """Share of pairs that are equal."""
    kappa: Figure
    """Cohen's; of more than two raters the mean over their pairs, weighted by the comparisons they share."""
    alpha: Figure
    """Krippendorff's, for labels without order."""


def agreement(ratings: Ratings) -> Agreement:
    """Agreement among all these raters."""
    columns = _columns(ratings)
    shared = [labels for labels in columns.values() if len(labels) > 1]
    raters = sum(bool(labels) for labels in ratings.values())
    pairs = [pair for labels in shared for pair in combinations(labels.values(), 2)]
    missing = ALONE if raters < 2 else NO_OVERLAP if not shared else None
    equal = sum(first == second for first, second in pairs)
    return Agreement(
        raters=raters,
        comparisons=len(shared),
        pairs=len(pairs),
        percent=Figure(None, missing) if missing else Figure(equal / len(pairs), None),
        kappa=Figure(None, missing) if missing else _mean_kappa(ratings, combinations(sorted(ratings), 2)),
        alpha=Figure(None, missing) if missing else krippendorffs_alpha(shared),
    )


def agreement_with_others(ratings: Ratings, rater_id: str) -> Agreement:
    """Agreement of one rater with each of the others, not of the others among themselves."""
    own = ratings.get(rater_id, {})
    shared = [labels for labels in _columns(ratings).values() if rater_id in labels and len(labels) > 1]
    pairs = [(labels[rater_id], label) for labels in shared for other, label in labels.items() if other != rater_id]
    others = [other for other in ratings if other != rater_id and ratings[other]]
    missing = ALONE if not own or not others else NO_OVERLAP if not shared else None
    equal = sum(first == second for first, second in pairs)
    return Agreement(
        raters=bool(own) + len(others),
        comparisons=len(shared),
        pairs=len(pairs),
        percent=Figure(None, missing) if missing else Figure(equal / len(pairs), None),
        kappa=Figure(None, missing) if missing else _mean_kappa(ratings, [(rater_id, other) for other in others]),
        alpha=Figure(None, missing) if missing else krippendorffs_alpha(shared),
    )


def cohens_kappa(first: Sequence[float], second: Sequence[float]) -> Figure:
    """Kappa of two raters over the comparisons that both answered."""
    if not first:
        return Figure(None, NO_OVERLAP)
    if len({*first, *second}) < 2:
        return Figure(None, ONE_VALUE)
    # As words: scikit-learn takes fractions for a regression.
    return Figure(float(cohen_kappa_score([str(one) for one in first], [str(one) for one in second])), None)


def krippendorffs_alpha(columns: Sequence[Mapping[str, float]]) -> Figure:
    """Alpha over comparisons, each with the labels of at least two raters by rater."""
    if len({label for labels in columns for label in labels.values()}) < 2:
        return Figure(None, ONE_VALUE)
    raters = {rater: row for row, rater in enumerate(sorted({rater for labels in columns for rater in labels}))}
    data = np.full((len(raters), len(columns)), np.nan)
    for column, labels in enumerate(columns):
        for rater, label in labels.items():
            data[raters[rater], column] = label
    return Figure(float(krippendorff.alpha(reliability_data=data, level_of_measurement="nominal")), None)


def _mean_kappa(ratings: Ratings, pairs: Iterable[tuple[str, str]]) -> Figure:
    weighted, weights = 0.0, 0
    for one, other in pairs:
        shared = sorted(ratings[one].keys() & ratings[other].keys())
        kappa = cohens_kappa([ratings[one][each] for each in shared], [ratings[other][each] for each in shared])
        if kappa.value is not None:
            weighted, weights = weighted + kappa.value * len(shared), weights + len(shared)
    return Figure(weighted / weights, None) if weights else Figure(None, ONE_VALUE)


def _columns(ratings: Ratings) -> dict[str, dict[str, float]]:
    """The labels by comparison and rater."""
    columns: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for rater, labels in ratings.items():
        for comparison, label in labels.items():
            columns[comparison][rater] = label
    return dict(columns)
