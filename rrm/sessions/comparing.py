"""The new model and the one before it, on the same comparisons and on the same held-out answers."""

from collections.abc import Sequence
from dataclasses import replace

from reward_models.acquisition import preference_spread
from reward_models.calibration import probabilities
from reward_models.estimate import RewardEstimate
from rrm.rewards.conservative import conservative
from rrm.rewards.fitting import Fitted
from rrm.rewards.models import AbstractRewards
from rrm.rewards.questions import candidates, in_order
from rrm.sessions.changes import Changes, agreement, flips_among, paired_difference
from rrm.sessions.current import Prediction, waiting
from rrm.sessions.material import Material
from rrm.workbench import Workbench


def predictions(bench: Workbench, material: Material, new: AbstractRewards) -> list[Prediction]:
    """What both models say about each comparison of the session's plan, and where the new one would ask it."""
    after, spread = _predicted(new, material)
    identifiers = list(material.comparisons)
    found = [Prediction(one, None, after[row], None, spread[row]) for row, one in enumerate(identifiers)]
    if material.before is not None:
        before, spread_before = _predicted(material.before, material)
        found = [replace(one, before=before[row], spread_before=spread_before[row]) for row, one in enumerate(found)]
    asked = _asked(bench, material, new)
    return [
        replace(one, order=asked[one.comparison_id][0], reason=asked[one.comparison_id][1])
        if one.comparison_id in asked
        else one
        for one in found
    ]


def _asked(bench: Workbench, material: Material, new: AbstractRewards) -> dict[str, tuple[int, str]]:
    """For what still waits to be judged: its place in the order in which this model would ask it, and why there."""
    found: dict[str, tuple[int, str]] = {}
    for round, places in waiting(bench.run, tuple(material.comparisons)).items():
        identifiers = sorted(identifier for _, identifier in places)
        known = candidates(new, *material.sides(identifiers), settings=material.settings)
        generator = bench.generator("session", material.level, "ask", round)
        order = in_order(known, settings=material.settings, generator=generator)
        found |= {identifiers[one.index]: (place, one.reason) for place, one in enumerate(order)}
    return found


def compared(material: Material, result: Fitted, predicted: Sequence[Prediction]) -> Changes:
    """What changed, in numbers."""
    judged = frozenset(one.comparison_id for one in material.judged)
    flipped, flips = flips_among(predicted, judged=judged)
    labels = [] if material.test is None else material.test.labels.tolist()
    by_comparison = {each.comparison_id: each for each in predicted}
    unseen = [by_comparison[one.comparison_id] for one in material.held_out]
    after = [each.after for each in unseen]
    before = [each.before for each in unseen if each.before is not None]
    comparable = bool(labels) and material.before is not None
    alone = result.rewards.members == 1
    return Changes(
        before=material.plan.before,
        held_out=len(labels) or result.unseen.answers,
        cross_validated=not labels,
        accuracy_before=_accuracy(before, labels) if comparable else None,
        accuracy_after=_accuracy(after, labels) if labels else result.unseen.accuracy,
        difference=paired_difference(before, after, labels) if comparable else None,
        comparisons=len(predicted),
        spread_before=_mean([each.spread_before for each in predicted if each.spread_before is not None]),
        spread_after=None if alone else _mean([each.spread for each in predicted]),
        flipped=flipped,
        flips=flips,
        accuracy_of_reward=_accuracy_of_reward(result.rewards, material),
    )


def _accuracy_of_reward(rewards: AbstractRewards, material: Material) -> float | None:
    """How often the conservative reward prefers what the held-out answers prefer."""
    if material.test is None:
        return None
    first, second = (
        conservative(RewardEstimate(rewards.scores(side)), material.settings).tolist()
        for side in (material.test.first, material.test.second)
    )
    preferred = [0.5 if one == other else float(one > other) for one, other in zip(first, second, strict=True)]
    return _accuracy(preferred, material.test.labels.tolist())


def _predicted(rewards: AbstractRewards, material: Material) -> tuple[list[float], list[float]]:
    """Probability that the first is better, and the members' disagreement about it."""
    first, second = (rewards.scores(side).double() for side in material.predicted)
    return probabilities((first - second).mean(dim=0)).tolist(), preference_spread(first, second).tolist()


def _accuracy(predicted: Sequence[float], labels: Sequence[float]) -> float:
    return sum(agreement(one, label) for one, label in zip(predicted, labels, strict=True)) / len(labels)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
