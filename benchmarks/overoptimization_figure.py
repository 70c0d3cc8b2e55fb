"""The picture of `benchmarks.overoptimization`."""

from collections.abc import Mapping

import torch
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.overoptimization_curves import ALONE, DISTANCES, FITTED_UP_TO, MEAN, NEAR, ONE, Curves
from benchmarks.overoptimization_models import Kind
from reward_models.best_of_n import best_of_n_distance
from reward_models.overoptimization_law import fit_law
from rrm.statistics import estimate

DRAWN = {
    ONE: "#30343a",
    ALONE: "#9aa0a8",
    MEAN: "#c58b2a",
    "min": "#9b6fb5",
    "uwo 1": "#2f6fb0",
    "entropic 0.5": "#b8503f",
    "lower 0.5": "#9ccaa9",
    "lower 2": "#2f7d4b",
}
TICKS = (1, 4, 16, 64, 256, 1024, 4096)


def draw(found: Mapping[float, Mapping[Kind, Curves]]) -> Figure:
    """Against sqrt(KL), a column for each share of flipped labels: gold with either ensemble, and the reward itself."""
    kinds = len(next(iter(found.values())))
    figure = Figure(figsize=(10.0, 3.5 * (kinds + 1)), layout="constrained")
    axes = figure.subplots(kinds + 1, len(found), sharex=True, squeeze=False)
    for column, (flips, by_kind) in zip(axes.T, found.items(), strict=True):
        for axis, (kind, curves) in zip(column, by_kind.items(), strict=False):
            _gold(axis, curves)
            axis.set_title(f"{flips:.0%} of the labels flipped: gold, members with {kind}", fontsize=10, loc="left")
            axis.set_ylabel("gold over n = 1")
        last = list(by_kind)[-1]
        _reward(column[-1], by_kind[last])
        column[-1].set_title(f"{flips:.0%} of the labels flipped: the reward itself", fontsize=10, loc="left")
        column[-1].set_ylabel("reward over n = 1, in its own logits")
        column[-1].set_xlabel("n of best-of-n, at d = sqrt(log n - (n - 1)/n)")
        column[-1].set_xticks([best_of_n_distance(size) for size in TICKS], [str(size) for size in TICKS], fontsize=8)
    shown = torch.stack(
        [one.gains(reward).mean(dim=0) for of in found.values() for one in of.values() for reward in DRAWN]
    )
    for axis in axes[:-1].flat:
        # Gold has one unit; an interval may leave the picture, a curve may not.
        axis.set_ylim(float(shown.min()) - 0.1, float(shown.max()) + 0.1)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", linewidth=0.4, alpha=0.5)
        axis.axhline(0.0, color=DRAWN[ONE], linewidth=0.6)
    axes[0, 0].legend(fontsize=8, frameon=False, loc="lower left", ncols=2)
    return figure


def _gold(axis: Axes, curves: Curves) -> None:
    for reward, colour in DRAWN.items():
        axis.plot(DISTANCES, curves.gains(reward).mean(dim=0), color=colour, linewidth=_width(reward), label=reward)
    _interval(axis, DISTANCES, curves.gains(ONE))
    _law(axis, DISTANCES, curves.gains(ONE).mean(dim=0))


def _reward(axis: Axes, curves: Curves) -> None:
    for reward, colour in DRAWN.items():
        axis.plot(DISTANCES, curves.proxy_gains(reward).mean(dim=0), color=colour, linewidth=_width(reward))


def _width(reward: str) -> float:
    return 2.0 if reward in (ONE, ALONE) else 1.4


def _interval(axis: Axes, d: Tensor, gains: Float64[Tensor, "seeds sizes"]) -> None:
    points = [estimate(column.tolist()) for column in gains.T]
    low = [point.mean if point.low is None else point.low for point in points]
    high = [point.mean if point.high is None else point.high for point in points]
    axis.fill_between(d, low, high, color=DRAWN[ONE], alpha=0.12, linewidth=0, label="one model, 95% interval")


def _law(axis: Axes, d: Tensor, gains: Float64[Tensor, " sizes"]) -> None:
    told = fit_law(d[NEAR], gains[NEAR]).gain(d)
    axis.plot(d, told, color=DRAWN[ONE], linewidth=1.2, linestyle=":", label=f"its law, fitted to n = {FITTED_UP_TO}")
    axis.axvline(best_of_n_distance(FITTED_UP_TO), color=DRAWN[ONE], linewidth=0.6, linestyle=":")
