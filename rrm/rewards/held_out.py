"""What a reward model says of comparisons, and how that compares with answers that it never saw."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from reward_models.acquisition import information_gain, preference_spread
from reward_models.calibration import accuracy, brier, ece, fit_temperature, probabilities, spearman
from reward_models.honesty import honesty
from reward_models.intervals import share
from reward_models.losses import bradley_terry
from rrm.rewards.answers import Answers
from rrm.rewards.models import AbstractRewards
from rrm.rewards.reading import Reading

_THIRDS = ("least", "middle", "most")
"""How much the members disagree."""


@dataclass(frozen=True)
class Answered:
    """How a reward model does on some answers that it was not fitted on."""

    name: str
    """Which ones."""
    comparisons: int
    accuracy: float
    """Agreement, a tie one half."""
    low: float
    """Of its 95% interval; answers about one document count as alike."""
    high: float
    loss: float
    """Surprise: log loss, nats an answer."""
    spread: float
    """Mean deviation between the members' probabilities."""
    information: float
    """Mean of what the members expect to learn from the answer, nats (BALD)."""


def differences(rewards: AbstractRewards, answers: Answers) -> torch.Tensor:
    """Every member's score of the first minus that of the second, (members, comparisons)."""
    return (rewards.scores(answers.first) - rewards.scores(answers.second)).double()


def disagreement(rewards: AbstractRewards, first: Reading, second: Reading) -> torch.Tensor:
    """Deviation between the members' probabilities that the first is better, (comparisons,)."""
    return preference_spread(rewards.scores(first).double(), rewards.scores(second).double())


def held_out_figures(members: torch.Tensor, labels: torch.Tensor) -> dict[str, object]:
    """How well members' score differences (members, comparisons) predict answers that none of them saw."""
    mean = members.mean(dim=0)
    predicted = probabilities(mean)
    spread = torch.sigmoid(members).std(dim=0, correction=0)
    return {
        "comparisons": len(labels),
        "accuracy": accuracy(predicted, labels),
        "nll": _loss(mean, labels),
        "brier": brier(predicted, labels),
        "ece": ece(predicted, labels),
        "temperature": fit_temperature(mean, labels),
        "spread_error_spearman": spearman(spread, (predicted - labels).abs()),
    }


def held_out_predictions(members: torch.Tensor, labels: torch.Tensor) -> list[list[float]]:
    """For each answer the predicted probability that the first is better, and the label."""
    found: list[list[float]] = torch.stack([probabilities(members.mean(dim=0)), labels], dim=1).tolist()
    return found


def honesty_record(members: torch.Tensor, answers: Answers, *, domains: Sequence[str]) -> dict[str, object]:
    """Whether the model knows when it is wrong: `reward_models.honesty`, and accuracy by thirds of the spread."""
    report = honesty(members, torch.zeros_like(members), answers.labels, groups=answers.groups, domains=domains)
    return {**asdict(report), "thirds": [asdict(one) for one in thirds(members, answers.labels, answers.groups)]}


def thirds(members: torch.Tensor, labels: torch.Tensor, groups: torch.Tensor) -> list[Answered]:
    """The third of the answers that the members agree on most, the middle one, and the one they agree on least.

    None for fewer than three answers, and where there is no spread to go by.
    """
    spread = torch.sigmoid(members).std(dim=0, correction=0)
    if len(labels) < len(_THIRDS) or bool((spread == spread[0]).all()):
        return []
    parts = spread.argsort(stable=True).tensor_split(len(_THIRDS))
    return [
        answered(name, members[:, part], labels[part], groups[part]) for name, part in zip(_THIRDS, parts, strict=True)
    ]


_THIRDS = ("least", "middle", "most")
"""How much the members disagree."""


def by_name(members: torch.Tensor, answers: Answers, names: Sequence[str]) -> list[Answered]:
    """The figures of answers that share a name, in the order of the names."""
    found: list[Answered] = []
    for name in sorted(set(names)):
        part = torch.tensor([place for place, one in enumerate(names) if one == name])
        found.append(answered(name, members[:, part], answers.labels[part], answers.groups[part]))
    return found


def answered(name: str, members: torch.Tensor, labels: torch.Tensor, groups: torch.Tensor) -> Answered:
    """The figures of some answers, at least one."""
    mean, zero = members.mean(dim=0), torch.zeros_like(members)
    side = 0.5 + 0.5 * torch.sign(mean)
    right = share(side * labels + (1.0 - side) * (1.0 - labels), groups=groups)
    return Answered(
        name=name,
        comparisons=len(labels),
        accuracy=right.value,
        low=right.low,
        high=right.high,
        loss=_loss(mean, labels),
        spread=float(preference_spread(members, zero).mean()),
        information=float(information_gain(members, zero).mean()),
    )


def _loss(mean: torch.Tensor, labels: torch.Tensor) -> float:
    # From the scores: a probability that rounds to 0 or 1 would have an infinite loss, which no record can hold.
    return float(bradley_terry(mean, torch.zeros_like(mean), labels).mean())
