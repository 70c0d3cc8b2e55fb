"""The picture of a contest: gold and proxy against sqrt(KL), one colour an objective."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rrm.contest.result import Contest
from rrm.contest.trajectory import Trajectory
from rrm.statistics import estimate

COLOURS = {
    "rloo": "#2f6fb0",
    "reinforce": "#7fb3e0",
    "actor_critic": "#1b9e9e",
    "ppo": "#d1622b",
    "grpo": "#e6a23c",
    "natural_gradient": "#6a4fa3",
    "trpo": "#b58fd6",
    "dpo": "#a8325a",
    "online_dpo": "#e07fa5",
    "distribution_matching": "#3f8f5b",
    "supervised": "#7a5c3e",
    "reward_conditioned": "#9db34a",
}
INK = "#30343a"
Worth = Literal["gold", "proxy"]
REACH = 2.5
"""What is further than so many times the wanted sqrt(KL) is left outside of the picture, and said to be."""
PANELS: dict[Worth, str] = {"gold": "Gold utility of test documents", "proxy": "The reward that was trained on"}


def contest_figure(contest: Contest) -> Figure:
    """A panel each for gold and proxy: the way of each training, thin, and where it ended, with 95% intervals."""
    figure = Figure(figsize=(11.0, 5.2), layout="constrained")
    axes = figure.subplots(1, len(PANELS))
    for axis, (worth, title) in zip(axes, PANELS.items(), strict=True):
        for name, found in contest.trajectories.items():
            far = _mean([trajectory.end.distance for trajectory in found]) > REACH * contest.kl**0.5
            _draw(axis, found, worth, colour=COLOURS.get(name, INK), label=f"{name} (outside)" if far else name)
        _search(axis, contest, worth)
        _frame(axis, contest)
        axis.axvline(contest.kl**0.5, color=INK, linewidth=0.6, linestyle=":")
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("d = sqrt(KL(agent || base)), in sqrt(nats)")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", linewidth=0.4, alpha=0.5)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, frameon=False, loc="outside lower center", ncols=7)
    return figure


def _frame(axis: Axes, contest: Contest) -> None:
    """Show what is within reach: one objective that runs away would make a point of all others."""
    reach = REACH * contest.kl**0.5
    shown = [
        y
        for line in axis.get_lines()
        for x, y in zip(np.asarray(line.get_xdata()), np.asarray(line.get_ydata()), strict=True)
        if x <= reach and line.get_linestyle() in ("-", "--")
    ]
    room = 0.08 * (max(shown) - min(shown)) + 0.05
    axis.set_xlim(-0.04 * reach, reach)
    axis.set_ylim(min(shown) - room, max(shown) + room)


def _draw(axis: Axes, found: Sequence[Trajectory], worth: Worth, *, colour: str, label: str) -> None:
    # Seeds are examined at the same steps, unless a regularizer ended some of them early.
    steps = range(min(len(trajectory.examinations) for trajectory in found))
    ways = [[trajectory.examinations[step] for trajectory in found] for step in steps]
    axis.plot(
        [_mean([one.distance for one in way]) for way in ways],
        [_mean([getattr(one, worth) for one in way]) for way in ways],
        color=colour,
        linewidth=1.0,
        alpha=0.45,
    )
    across = estimate([trajectory.end.distance for trajectory in found])
    up = estimate([getattr(trajectory.end, worth) for trajectory in found])
    axis.errorbar(
        [across.mean],
        [up.mean],
        xerr=None if across.low is None else [[across.mean - across.low]] * 2,
        yerr=None if up.low is None else [[up.mean - up.low]] * 2,
        color=colour,
        marker="o",
        markersize=6,
        elinewidth=0.8,
        capsize=2,
        linestyle="none",
        label=label,
    )


def _search(axis: Axes, contest: Contest, worth: Worth) -> None:
    curve = contest.best_of
    axis.plot(
        [point.kl**0.5 for point in curve],
        [getattr(point, worth) for point in curve],
        color=INK,
        linewidth=1.2,
        linestyle="--",
        label="best of n",
    )
    found = contest.search["quantilizer"]
    worths = [getattr(point, worth) for point in found]
    axis.plot([found[0].kl ** 0.5], [_mean(worths)], color=INK, marker="D", linestyle="none", label="quantilizer")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
