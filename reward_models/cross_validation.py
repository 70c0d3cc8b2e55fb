"""What heads say about comparisons that they did not see.

A fold is left out by a weight of 0, so that all folds, strengths and members are one batch of problems. Features are
standardised once, over all comparisons: that uses no label.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from reward_models import calibration
from reward_models.newton import Problem, solve

Watcher: TypeAlias = Callable[[int, float], None]

TOLERANCE = 1e-4
"""In nats of the whole objective: enough to rank strengths and to measure a held-out loss."""


def draw_folds(
    group: Int[Tensor, " comparisons"], *, folds: int, generator: torch.Generator
) -> Int[Tensor, " comparisons"]:
    """The fold of each comparison: groups, numbered from 0, are dealt at random into folds of as many groups each.

    With fewer groups than folds each group is a fold.
    """
    groups = int(group.max()) + 1
    return (torch.randperm(groups, generator=generator) % min(folds, groups))[group]


def grid_losses(
    base: Problem, fold: Int[Tensor, " comparisons"], l2_grid: tuple[float, ...], *, on_step: Watcher | None = None
) -> dict[float, float]:
    """Cross-validated log loss of a single head without bootstrap or random start, for each strength."""
    strengths = torch.tensor(l2_grid, dtype=torch.float64)
    seen = seen_rows(fold)
    folds = seen.shape[0]
    # Problem b has fold b // strengths left out and strength b % strengths.
    problem = replace(
        base,
        weights=(base.weights * seen).repeat_interleave(len(strengths), dim=0),
        l2=strengths.repeat(folds),
        starts=base.starts.expand(folds * len(strengths), -1),
    )
    found = solve(problem, tolerance=TOLERANCE, on_step=on_step).weights
    differences = (found @ (base.first - base.second).T).reshape(folds, len(strengths), -1)
    unseen = differences[fold, :, torch.arange(len(fold))]
    predicted = [calibration.probabilities(unseen[:, k], rater_error=base.rater_error) for k in range(len(strengths))]
    losses = [calibration.nll(p, base.labels, weights=base.weights[0]) for p in predicted]
    return dict(zip(l2_grid, losses, strict=True))


def cross_fitted_differences(
    problem: Problem, fold: Int[Tensor, " comparisons"], *, on_step: Watcher | None = None
) -> Float[Tensor, " comparisons"]:
    """Members' mean score difference of each comparison, from members fitted without its fold."""
    members, seen = problem.weights.shape[0], seen_rows(fold)
    folds = seen.shape[0]
    # Problem b has fold b // members left out and is member b % members.
    without = replace(
        problem,
        weights=(seen[:, None] * problem.weights[None]).flatten(end_dim=1),
        l2=problem.l2.repeat(folds),
        starts=problem.starts.repeat(folds, 1),
    )
    found = solve(without, tolerance=TOLERANCE, on_step=on_step).weights
    mean = found.reshape(folds, members, -1).mean(dim=1)
    return (mean[fold] * (problem.first - problem.second)).sum(dim=1)


def seen_rows(fold: Int[Tensor, " comparisons"]) -> Bool[Tensor, "folds comparisons"]:
    """Row f is True on the comparisons that do not belong to fold f."""
    return torch.arange(int(fold.max()) + 1)[:, None] != fold
