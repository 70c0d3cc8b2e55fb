"""What curves of `benchmarks.rl_overoptimization` say: the loss since the peak, the price that it takes, the law."""

import math
from collections.abc import Mapping, Sequence

import torch

from reward_models.overoptimization_law import r_squared
from rrm.contest.trajectory import Trajectory
from rrm.statistics import Estimate, estimate

Cells = dict[tuple[str, float], list[Trajectory]]
"""A trajectory a seed, by reward and price of a nat."""
TOLERANCE = 0.1
"""Loss of gold that is no loss: twice the standard error of an examination, about."""


def lost(trajectories: Sequence[Trajectory]) -> Estimate:
    """Gold at the step with the highest mean over seeds, less gold after the last step."""
    places = range(len(trajectories[0].examinations))
    means = [sum(one.examinations[place].gold for one in trajectories) for place in places]
    peak = max(places, key=means.__getitem__)
    return estimate([one.examinations[peak].gold - one.end.gold for one in trajectories])


def needed(found: Mapping[tuple[str, float], Sequence[Trajectory]]) -> dict[str, float | None]:
    """For each reward the smallest price from which on nothing is lost; None if the highest loses, too."""
    answer: dict[str, float | None] = {}
    for name in dict.fromkeys(reward for reward, _ in found):
        prices = sorted(beta for reward, beta in found if reward == name and found[reward, beta])
        answer[name] = None
        for beta in reversed(prices):
            if lost(found[name, beta]).mean > TOLERANCE:
                break
            answer[name] = beta
    return answer


def rl_law(trajectories: Sequence[Trajectory]) -> dict[str, float | None] | None:
    """R(d) = d (alpha - beta log d) by least squares on all examinations (Gao et al. 2023, section 3, for RL).

    Gold is over that of the base. None without two different distances.
    """
    points = [(at.distance, at.gold - one.examinations[0].gold) for one in trajectories for at in one.examinations[1:]]
    points = [(d, gained) for d, gained in points if d > 0.0]
    if len({d for d, _ in points}) < 2:
        return None
    d, gained = (torch.tensor(values, dtype=torch.float64) for values in zip(*points, strict=True))
    columns = torch.stack([d, -d * d.log()], dim=1)
    alpha, beta = torch.linalg.lstsq(columns, gained[:, None]).solution[:, 0].tolist()
    told = columns @ torch.tensor([alpha, beta], dtype=torch.float64)
    peak = math.exp(alpha / beta - 1.0) if beta > 0.0 else None
    return {"alpha": alpha, "beta": beta, "r_squared": r_squared(told, gained), "peak_distance": peak}
