"""Best-of-n by every reward, and what its curves say: gain, loss after the peak, lead over no ensemble, the law."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from benchmarks.completion_pools import Pool
from benchmarks.overoptimization_models import Scores
from reward_models.best_of_n import best_of_n, best_of_n_distance
from reward_models.ensemble import Ensemble
from reward_models.estimate import RewardEstimate
from reward_models.overoptimization_law import fit_law, r_squared
from rrm.statistics import Estimate, estimate

SIZES = tuple(2**power for power in range(13))
FITTED_UP_TO = 256
DISTANCES = torch.tensor([best_of_n_distance(size) for size in SIZES], dtype=torch.float64)
NEAR = torch.tensor([size <= FITTED_UP_TO for size in SIZES])

Aggregate = Callable[[RewardEstimate], Tensor]
CONSERVATIVE: Mapping[str, Aggregate] = {
    "min": lambda estimate: estimate.min,
    "uwo 0.5": lambda estimate: estimate.uwo(0.5),
    "uwo 1": lambda estimate: estimate.uwo(1.0),
    "lower 0.5": lambda estimate: estimate.lower(0.5),
    "lower 1": lambda estimate: estimate.lower(1.0),
    "lower 2": lambda estimate: estimate.lower(2.0),
    "entropic 0.5": lambda estimate: estimate.entropic(0.5),
    "entropic 0.25": lambda estimate: estimate.entropic(0.25),
}
ONE, ALONE, MEAN = "one model", "members alone", "mean"
REWARDS = (ONE, ALONE, MEAN, *CONSERVATIVE)
GOALS = {0.0: 1.30, 0.25: 1.75}
"""Gain of a conservative reward over that without an ensemble, by share of flipped labels (Coste et al. 2024)."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Best-of-n of every reward, per seed, meant over documents."""

    gold: Float64[Tensor, "seeds rewards sizes"]
    proxy: Float64[Tensor, "seeds rewards sizes"]
    """The reward itself, in its own logits."""

    def gains(self, reward: str) -> Float64[Tensor, "seeds sizes"]:
        """Gold over n = 1."""
        curve = self.gold[:, REWARDS.index(reward)]
        return curve - curve[:, :1]

    def proxy_gains(self, reward: str) -> Float64[Tensor, "seeds sizes"]:
        curve = self.proxy[:, REWARDS.index(reward)]
        return curve - curve[:, :1]


@dataclass(frozen=True)
class Finding:
    """One reward at one share of flipped labels."""

    gain: Estimate
    """Gold's gain at the largest n."""
    peak_at: int
    """The n of the largest mean gain."""
    peak: float
    lost: Estimate
    """Gain at that n less gain at the largest."""
    over_one: "Lead"
    over_alone: "Lead"

    @property
    def overoptimized(self) -> bool:
        return self.lost.mean > 0 and self.lost.clear_of_zero()

    def to_json(self) -> dict[str, object]:
        found = {
            "gain": self.gain.to_json(),
            "peak_at": self.peak_at,
            "peak": self.peak,
            "lost": self.lost.to_json(),
            "overoptimized": self.overoptimized,
            "over_one_model": self.over_one.to_json(),
            "over_members_alone": self.over_alone.to_json(),
        }
        return {name: _rounded(value) for name, value in found.items()}


@dataclass(frozen=True)
class Lead:
    """A reward's gain at the largest n beside that of a baseline."""

    ratio: float | None
    """Of means; None where the baseline gained nothing."""
    difference: Estimate
    reached: bool
    """Whether the goal is met on average: the goal's multiple, or more than nothing where the baseline lost."""

    def to_json(self) -> dict[str, object]:
        return {"ratio": self.ratio, "difference": self.difference.to_json(), "goal_reached": self.reached}


def best_of_n_curves(
    pool: Pool, one: Ensemble, members: Scores
) -> tuple[Float64[Tensor, "rewards sizes"], Float64[Tensor, "rewards sizes"]]:
    """Gold and proxy of best-of-n on one document, for every reward; every text is scored once."""
    features = pool.features.double()
    believed = RewardEstimate(members(features))
    aggregates = [believed.mean, *(aggregate(believed) for aggregate in CONSERVATIVE.values())]
    scores = torch.cat([one.scores(features), torch.stack(aggregates), believed.members])[:, pool.drawn]
    gold = best_of_n(scores, pool.gold[pool.drawn][None], sizes=SIZES)
    proxy = best_of_n(scores, scores, sizes=SIZES)
    return _members_as_one(gold, believed), _members_as_one(proxy, believed)


def _members_as_one(curves: Tensor, believed: RewardEstimate) -> Tensor:
    """Rows in the order of `REWARDS`: the one model, the members alone, the aggregates."""
    members = believed.members.shape[0]
    return torch.cat([curves[:1], curves[-members:].mean(dim=0, keepdim=True), curves[1:-members]])


def finding(reward: str, curves: Curves, *, flips: float) -> Finding:
    gains = curves.gains(reward)
    mean, last = gains.mean(dim=0), gains[:, -1]
    peak = int(mean.argmax())
    return Finding(
        gain=estimate(last.tolist()),
        peak_at=SIZES[peak],
        peak=float(mean[peak]),
        lost=estimate((gains[:, peak] - last).tolist()),
        over_one=lead(last, curves.gains(ONE)[:, -1], goal=GOALS[flips]),
        over_alone=lead(last, curves.gains(ALONE)[:, -1], goal=GOALS[flips]),
    )


def lead(gains: Float64[Tensor, " seeds"], baseline: Float64[Tensor, " seeds"], *, goal: float) -> Lead:
    ours, theirs = float(gains.mean()), float(baseline.mean())
    return Lead(
        ratio=ours / theirs if theirs > 0.0 else None,
        difference=estimate((gains - baseline).tolist()),
        reached=ours >= goal * max(theirs, 0.0) and ours > 0.0,
    )


def law_of(reward: str, curves: Curves) -> dict[str, object]:
    """The law fitted on small n, and how well it tells the rest."""
    gains = curves.gains(reward).mean(dim=0)
    law = fit_law(DISTANCES[NEAR], gains[NEAR])
    told = law.gain(DISTANCES)
    figures = {
        "alpha": law.alpha,
        "beta": law.beta,
        "r_squared_within": r_squared(told[NEAR], gains[NEAR]),
        "r_squared_beyond": r_squared(told[~NEAR], gains[~NEAR]),
        "told": told[~NEAR].tolist(),
        "found": gains[~NEAR].tolist(),
    }
    return {name: _rounded(value) for name, value in figures.items()}


def summary_of(curves: Curves, *, flips: float) -> dict[str, object]:
    return {
        "law": {reward: law_of(reward, curves) for reward in (ONE, ALONE, MEAN)},
        "rewards": {reward: finding(reward, curves, flips=flips).to_json() for reward in REWARDS},
    }


def curves_of(curves: Curves) -> dict[str, object]:
    return {
        reward: {
            "gold": _rounded(curves.gains(reward).mean(dim=0).tolist()),
            "proxy": _rounded(curves.proxy_gains(reward).mean(dim=0).tolist()),
        }
        for reward in REWARDS
    }


def _rounded(found: object) -> object:
    if isinstance(found, Mapping):
        return {name: _rounded(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [_rounded(value) for value in found]
    return round(found, 4) if isinstance(found, float) else found
