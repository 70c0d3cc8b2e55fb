"""The new model and the one before it, on the same comparisons and on the same held-out answers."""

from collections.abc import Sequence

from reward_models.acquisition import preference_spread
from reward_models.calibration import probabilities
from reward_models.ensemble import Ensemble
from reward_models.fitting import FitResult
from rrm.sessions.changes import Changes, agreement, flips_among, paired_difference
from rrm.sessions.current import Prediction
from rrm.sessions.learning import mean_difference
from rrm.sessions.material import Material, Sides


def predictions(material: Material, new: Ensemble) -> list[Prediction]:
    """What both models say about each comparison of the session's plan."""
    after, spread = _predicted(new, material.predicted)
    identifiers = list(material.comparisons)
    if material.before is None:
        return [Prediction(one, None, after[row], None, spread[row]) for row, one in enumerate(identifiers)]
    before, spread_before = _predicted(material.before, material.sides(material.before.feature_names))
    return [
        Prediction(one, before[row], after[row], spread_before[row], spread[row]) for row, one in enumerate(identifiers)
    ]


def compared(material: Material, result: FitResult, predicted: Sequence[Prediction]) -> Changes:
    """What changed, in numbers."""
    judged = frozenset(one.comparison_id for one in material.judged)
    flipped, flips = flips_among(predicted, judged=judged)
    labels = [] if material.test is None else material.test[2].tolist()
    by_comparison = {each.comparison_id: each for each in predicted}
    unseen = [by_comparison[one.comparison_id] for one in material.held_out]
    after = [each.after for each in unseen]
    before = [each.before for each in unseen if each.before is not None]
    comparable = bool(labels) and material.before is not None
    alone = result.record.members == 1
    return Changes(
        before=material.plan.before,
        held_out=len(labels) or result.record.comparisons,
        cross_validated=not labels,
        accuracy_before=_accuracy(before, labels) if comparable else None,
        accuracy_after=_accuracy(after, labels) if labels else result.record.held_out_after.accuracy,
        difference=paired_difference(before, after, labels) if comparable else None,
        comparisons=len(predicted),
        spread_before=_mean([each.spread_before for each in predicted if each.spread_before is not None]),
        spread_after=None if alone else _mean([each.spread for each in predicted]),
        flipped=flipped,
        flips=flips,
    )


def _predicted(ensemble: Ensemble, sides: Sides) -> tuple[list[float], list[float]]:
    """Probability that the first is better, and the members' disagreement about it."""
    first, second = sides
    spread = preference_spread(ensemble.scores(first).double(), ensemble.scores(second).double())
    return probabilities(mean_difference(ensemble, first, second)).tolist(), spread.tolist()


def _accuracy(predicted: Sequence[float], labels: Sequence[float]) -> float:
    return sum(agreement(one, label) for one, label in zip(predicted, labels, strict=True)) / len(labels)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
