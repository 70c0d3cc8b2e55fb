"""The pictures about reward models: do they know their errors, do they hold under shift, was asking worth it?"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rrm.watching.honesty import Portion
from rrm.watching.optimisation import Optimisation
from rrm.watching.pictures import ACCENT, LINES, QUIET, WIDTH, smoothed
from rrm.watching.shares import Share

Rows = Sequence[tuple[str, Share]]
"""Shares by what they are of."""


def thirds_figure(thirds: Sequence[Portion], overall: Share) -> Figure:
    """Right answers by how much the members disagree; dashed what they are of all."""
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axis = figure.subplots()
    axis.axhline(overall.value, color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
    shares = [one.right for one in thirds]
    axis.errorbar(
        range(len(shares)),
        [one.value for one in shares],
        yerr=[[one.value - one.low for one in shares], [one.high - one.value for one in shares]],
        color=ACCENT, marker="o", markersize=5, capsize=3, linewidth=1.4,
    )  # fmt: skip
    axis.set_xticks(range(len(shares)), [f"{one.name} disagreement" for one in thirds], fontsize=9)
    axis.set_xlim(-0.4, len(shares) - 0.6)
    axis.set_ylabel("answers it agrees with")
    axis.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    _plain(axis, "y")
    return figure


def shift_figure(rows: Rows, trainings: Sequence[Optimisation]) -> Figure:
    """Right answers before and after the shift; below, the members' disagreement along the way of each agent."""
    drawn = [one for one in trainings if any(moment.member_spread is not None for moment in one.moments)]
    upper = 0.6 + 0.35 * len(rows)
    if not drawn:
        figure = Figure(figsize=(WIDTH, upper), layout="constrained")
        _rows(figure.subplots(), rows)
        return figure
    figure = Figure(figsize=(WIDTH, upper + 2.8), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[upper, 2.8])
    _rows(above, rows)
    for one, colour in zip(drawn, LINES * (1 + len(drawn) // len(LINES)), strict=False):
        points = [(moment.distance, moment.member_spread) for moment in one.moments if moment.member_spread is not None]
        x, y = smoothed([distance for distance, _ in points]), smoothed([spread for _, spread in points])
        name = f"level {one.level}" if one.round == 0 else f"level {one.level}, round {one.round}"
        below.plot(x, y, label=name, color=colour, linewidth=1.6, marker="o", markersize=2.5)
    below.set_ylim(bottom=0)
    below.set_xlabel("√KL(agent ‖ base), √nats a completion")
    below.set_ylabel("members' disagreement\nabout its completions, logits")
    _plain(below, "y")
    if len(drawn) > 1:
        below.legend(fontsize=9, frameon=False)
    return figure


def rows_figure(rows: Rows) -> Figure:
    """One share with its interval a row; dashed is guessing."""
    figure = Figure(figsize=(WIDTH, 0.9 + 0.35 * len(rows)), layout="constrained")
    _rows(figure.subplots(), rows)
    return figure


def _rows(axis: Axes, rows: Rows) -> None:
    axis.axvline(0.5, color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
    shares = [share for _, share in rows]
    axis.errorbar(
        [one.value for one in shares],
        range(len(shares)),
        xerr=[[one.value - one.low for one in shares], [one.high - one.value for one in shares]],
        color=ACCENT, marker="o", markersize=5, capsize=3, linewidth=1.4, linestyle="none",
    )  # fmt: skip
    axis.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=9)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlim(-0.02, 1.02)
    axis.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    _plain(axis, "x")


def _plain(axis: Axes, grid: str) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x" if grid == "x" else "y", linewidth=0.4, alpha=0.5)
