"""From preferences over feature vectors to an ensemble with a calibrated spread.

1. Standardise the features by their mean and deviation over the training completions, which centres every score.
2. Choose the L2 strength from a grid by cross-validated log loss of a single head.
3. Fit the members: each on its own bootstrap of the comparisons, pulled towards its own random start.
4. Fit the members again without each fold, and choose the temperature by their mean on the fold they did not see.

Comparisons of one group (a prompt, a topic, a document) fall on one side of every fold, so that steps 2 and 4 measure
what a reward does on groups that it has not seen.

The random starts are randomised priors (Osband et al. 2018): where the labels say nothing, a member stays at its start,
and members differ. The starts of the members sum to zero, so that the mean score is not moved by them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from reward_models import calibration
from reward_models.cross_validation import Watcher, cross_fitted_differences, draw_folds, grid_losses
from reward_models.ensemble import Ensemble
from reward_models.errors import InvalidInput, NonFinite
from reward_models.newton import Problem, Solution, solve
from reward_models.standardisation import standardisation

Stage = Literal["choose", "fit", "calibrate"]


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How an ensemble is fitted. Raises InvalidInput for a setting out of range."""

    members: int = 5
    """Number of heads, K."""
    l2_grid: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0, 1000.0)
    """Strengths to choose from: the precision of the prior on a weight per standard deviation of its feature."""
    folds: int = 5
    """Folds of the cross-validation that chooses the strength and the temperature."""
    start_scale: float = 0.5
    """Deviation, in logits, of the score that a random start gives a typical completion; 0 for no random prior."""
    bootstrap: bool = True
    """Whether each member sees its own resample of the comparisons; otherwise only the starts tell members apart."""
    resampled: Literal["comparisons", "groups"] = "comparisons"
    """What the bootstrap draws: with `groups`, comparisons of one group come or stay away together."""
    centring: float = 0.01
    """Weight of the penalty on the sum of the scores of a comparison, which ties down the constant of each prompt."""
    rater_error: float = 0.0
    """Assumed share of answers given by a coin; 0.1 is Christiano et al. 2017."""

    def __post_init__(self) -> None:
        if self.members < 1 or self.folds < 2:
            raise InvalidInput(f"members is {self.members} and folds {self.folds}; give at least 1 and at least 2")
        if not self.l2_grid or not all(math.isfinite(l2) and l2 > 0.0 for l2 in self.l2_grid):
            raise InvalidInput(f"l2_grid is {self.l2_grid}; give one or more positive finite strengths")
        if not all(math.isfinite(value) and value >= 0.0 for value in (self.start_scale, self.centring)):
            raise InvalidInput(f"start_scale is {self.start_scale}, centring {self.centring}; give finite numbers >= 0")
        if not 0.0 <= self.rater_error < 1.0:
            raise InvalidInput(f"rater_error is {self.rater_error}; give a share of at least 0 and below 1")


@dataclass(frozen=True)
class HeldOut:
    """How the members' mean does on folds that its members did not see."""

    loss: float
    """Mean log loss, nats per comparison."""
    accuracy: float
    """Expected agreement with the rater, ties one half."""
    ece: float
    """Symmetrised expected calibration error, 20 bins."""


@dataclass(frozen=True)
class FitRecord:
    """What a fit did and how well; plain numbers, ready for JSON through `dataclasses.asdict`."""

    comparisons: int
    """Comparisons with a positive weight."""
    features: int
    """Features per completion."""
    members: int
    """Heads."""
    l2: float
    """The chosen strength."""
    l2_losses: tuple[tuple[float, float], ...]
    """(strength, cross-validated log loss of a single head) over the grid."""
    train_loss: float
    """Log loss of the members' mean on all training comparisons, with the temperature."""
    held_out_before: HeldOut
    """Without the temperature."""
    held_out_after: HeldOut
    """With it. Strength and temperature were chosen on the same folds, which makes it slightly flattering."""
    temperature: float
    """What the scores were divided by."""
    iterations: int
    """Newton steps of the final fit."""
    converged: bool
    """Whether the final fit reached its tolerance."""


class FitStep(NamedTuple):
    """One Newton step, for whoever watches."""

    stage: Stage
    """`choose` the strength, `fit` the members, `calibrate` them."""
    iteration: int
    """Counted from 1 within a batch of problems."""
    objective: float
    """Mean penalised objective of the batch, nats."""


class FitResult(NamedTuple):
    """A fitted ensemble and the record of its making."""

    ensemble: Ensemble
    """Ready to score."""
    record: FitRecord
    """What was chosen and measured."""


OnStep = Callable[[FitStep], None]


def fit(
    features_first: Float[Tensor, "comparisons features"],
    features_second: Float[Tensor, "comparisons features"],
    labels: Float[Tensor, " comparisons"],
    weights: Float[Tensor, " comparisons"] | None = None,
    *,
    feature_names: tuple[str, ...],
    settings: FitSettings,
    generator: torch.Generator,
    on_step: OnStep | None = None,
    groups: Int[Tensor, " comparisons"] | None = None,
    margins: Float[Tensor, " comparisons"] | None = None,
) -> FitResult:
    """Fit an ensemble of linear heads to preferences (label 1: the first is better, 0.5: a tie).

    `weights` counts judgements per comparison (none: 1 each); a weight of 0 leaves the comparison out. `groups` numbers
    what a comparison belongs to (none: each is its own group): with several comparisons of one prompt, give the prompt,
    or the held-out figures flatter. `margins` is by how many logits the better completion should lead in the loss, at
    least 0; held-out figures are measured without it. `feature_names` is what made the features, or empty. Computed in
    float64 on the CPU; equal inputs and generator give an equal ensemble.

    Raises InvalidInput for shapes that differ, labels outside [0, 1], negative weights or margins, or fewer than two
    comparisons or groups that count; NonFinite for features, labels, weights or margins that are not finite.
    """
    weights = torch.ones_like(labels) if weights is None else weights
    groups = torch.arange(len(labels)) if groups is None else groups
    _check(features_first, features_second, labels, weights, groups, margins)
    counted = weights > 0.0
    first, second, y, c = (part[counted].cpu().double() for part in (features_first, features_second, labels, weights))
    # From 0, without the groups that do not count.
    group = groups[counted].cpu().unique(return_inverse=True)[1]
    # 1. standardise
    mean, scale = standardisation(first, second, c)
    base = Problem(
        first=(first - mean) / scale,
        second=(second - mean) / scale,
        labels=y,
        weights=c[None],
        l2=c.new_ones(1),
        starts=first.new_zeros(1, first.shape[1]),
        rater_error=settings.rater_error,
        centring=settings.centring,
        margins=None if margins is None else margins[counted].cpu().double(),
    )
    fold = draw_folds(group, folds=settings.folds, generator=generator)
    # 2. choose the strength
    losses = grid_losses(base, fold, settings.l2_grid, on_step=_watch("choose", on_step))
    # Between equals the stronger: it is the safer guess.
    l2 = min(settings.l2_grid, key=lambda strength: (losses[strength], -strength))
    # 3. fit the members
    problem = _member_problem(base, group, l2, settings, generator)
    solution = solve(problem, on_step=_watch("fit", on_step))
    # 4. temperature
    held_out = cross_fitted_differences(problem, fold, on_step=_watch("calibrate", on_step))
    temperature = calibration.fit_temperature(held_out, y, weights=c, rater_error=settings.rater_error)
    ensemble = Ensemble(
        weights=solution.weights,
        feature_mean=mean,
        feature_scale=scale,
        temperature=temperature,
        feature_names=feature_names,
    )
    record = _record(ensemble, base, settings, l2, losses, held_out, solution)
    return FitResult(ensemble=ensemble, record=record)


def _member_problem(
    base: Problem,
    group: Int[Tensor, " comparisons"],
    l2: float,
    settings: FitSettings,
    generator: torch.Generator,
) -> Problem:
    """The members' problems: own bootstrap weights, own start, one strength."""
    members, features = settings.members, base.first.shape[1]
    starts = torch.randn(members, features, generator=generator, dtype=torch.float64)
    starts = starts - starts.mean(dim=0)
    # Taking out the mean took 1/K of the variance. A weight of deviation s / sqrt(F) on F standardised features gives
    # scores of deviation s on average over the training completions, however the features are correlated.
    starts = (
        starts * settings.start_scale / math.sqrt(features * (1.0 - 1.0 / members)) if members > 1 else 0.0 * starts
    )
    weights = base.weights.expand(members, -1)
    if settings.bootstrap:
        unit = group if settings.resampled == "groups" else torch.arange(len(group))
        weights = weights * _bootstrap_counts(unit, members, generator)
    return replace(base, weights=weights, l2=torch.full((members,), l2, dtype=torch.float64), starts=starts)


def _bootstrap_counts(
    unit: Int[Tensor, " comparisons"], members: int, generator: torch.Generator
) -> Float[Tensor, "members comparisons"]:
    """How often each comparison came in each member's draw of as many units as there are."""
    units = int(unit.max()) + 1
    draws = torch.randint(units, (members, units), generator=generator)
    counts = torch.zeros(members, units, dtype=torch.float64)
    return counts.scatter_add_(1, draws, torch.ones_like(counts))[:, unit]


def _record(
    ensemble: Ensemble,
    base: Problem,
    settings: FitSettings,
    l2: float,
    losses: dict[float, float],
    held_out: Float[Tensor, " comparisons"],
    solution: Solution,
) -> FitRecord:
    labels, weights = base.labels, base.weights[0]
    trained = (solution.weights.mean(dim=0) @ (base.first - base.second).T) / ensemble.temperature
    predicted = calibration.probabilities(trained, rater_error=base.rater_error)
    return FitRecord(
        comparisons=len(labels),
        features=base.first.shape[1],
        members=settings.members,
        l2=l2,
        l2_losses=tuple(losses.items()),
        train_loss=calibration.nll(predicted, labels, weights=weights),
        held_out_before=_held_out(held_out, base),
        held_out_after=_held_out(held_out / ensemble.temperature, base),
        temperature=ensemble.temperature,
        iterations=solution.iterations,
        converged=solution.converged,
    )


def _held_out(differences: Float[Tensor, " comparisons"], base: Problem) -> HeldOut:
    predicted, weights = calibration.probabilities(differences, rater_error=base.rater_error), base.weights[0]
    return HeldOut(
        loss=calibration.nll(predicted, base.labels, weights=weights),
        accuracy=calibration.accuracy(predicted, base.labels, weights=weights),
        ece=calibration.ece(predicted, base.labels, weights=weights),
    )


def _watch(stage: Stage, on_step: OnStep | None) -> Watcher | None:
    if on_step is None:
        return None
    return lambda iteration, objective: on_step(FitStep(stage=stage, iteration=iteration, objective=objective))


def _check(
    first: Tensor, second: Tensor, labels: Tensor, weights: Tensor, groups: Tensor, margins: Tensor | None
) -> None:
    each = {"labels": labels, "weights": weights, "groups": groups, **({} if margins is None else {"margins": margins})}
    if first.ndim != 2 or first.shape != second.shape or {part.shape for part in each.values()} != {first.shape[:1]}:
        found = ", ".join(f"{name} {tuple(part.shape)}" for name, part in each.items())
        raise InvalidInput(
            f"features {tuple(first.shape)} and {tuple(second.shape)}, {found} differ; expected twice "
            "(comparisons, features) and otherwise (comparisons,)"
        )
    if first.shape[1] == 0:
        raise InvalidInput("completions have no features; extract at least one")
    if not all(bool(torch.isfinite(part).all()) for part in (first, second, *each.values())):
        raise NonFinite(
            "a feature, label, weight or margin is not finite; check the reference pass that made the features"
        )
    if bool(((labels < 0.0) | (labels > 1.0)).any()) or bool((weights < 0.0).any()):
        raise InvalidInput(
            "a label lies outside [0, 1] or a weight is negative; 1 means the first is better, 0.5 a tie"
        )
    if margins is not None and bool((margins < 0.0).any()):
        raise InvalidInput("a margin is negative; give by how much the better completion should lead, at least 0")
    if int((weights > 0.0).sum()) < 2:
        raise InvalidInput(f"{int((weights > 0.0).sum())} comparisons count; judge at least two before fitting")
    if len(groups[weights > 0.0].unique()) < 2:
        raise InvalidInput("all comparisons that count are of one group; folds never split a group, give at least two")
