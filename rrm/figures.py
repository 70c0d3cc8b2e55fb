"""Figures, drawn by matplotlib without a screen: for reports as SVG text or a file, for pages in their own colours."""

import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rrm.page_svg import page_svg

COLOURS = {
    "alone": "#8a8f98",
    "assistant": "#c58b2a",
    "assisted": "#2f6fb0",
    "assisted-untrained": "#9b6fb5",
    "gold": "#3f8f5b",
    "base": "#8a8f98",
    "agent": "#2f6fb0",
}

_DRAWING = threading.Lock()
"""Settings of matplotlib belong to the whole process, and a page draws in many threads."""


@dataclass(frozen=True)
class Curve:
    """Points of one line, with a band where there is an interval."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def level_figure(panels: Mapping[str, Sequence[Curve]], *, x_label: str = "level") -> Figure:
    """One panel a title, side by side, curves over levels with their intervals."""
    figure = Figure(figsize=(4.6 * len(panels), 3.4), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, curves) in zip(axes, panels.items(), strict=True):
        for place, curve in enumerate(curves):
            _draw(axis, curve, offset=0.04 * (place - (len(curves) - 1) / 2))
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel(x_label)
        ticks = sorted({value for curve in curves for value in curve.x})
        axis.set_xticks(ticks, [f"{tick:.0f}" for tick in ticks])
        _tidy(axis)
    return figure


def training_figure(curves: Mapping[str, Sequence[Curve]]) -> Figure:
    """One panel a quantity over optimisation steps, a line a level."""
    figure = Figure(figsize=(4.6 * len(curves), 3.0), layout="constrained")
    axes = figure.subplots(1, len(curves), squeeze=False)[0]
    for axis, (title, lines) in zip(axes, curves.items(), strict=True):
        for line in lines:
            axis.plot(line.x, line.y, label=line.name, linewidth=1.4)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("step")
        _tidy(axis)
    return figure


def as_svg(figure: Figure) -> str:
    """The figure as an SVG element, to stand inside a page. Equal figures give equal text."""
    buffer = io.StringIO()
    # Without a salt of ours the names inside the figure are drawn at random.
    with _DRAWING, rc_context({"svg.hashsalt": "rrm"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def as_page_svg(figure: Figure, *, description: str) -> str:
    """The figure for a page: the page's ink and font, no background, and a name that a screen reader says.

    It is as wide as there is room for it, and no wider than it was drawn. Lines in `COLOURS`, and in matplotlib's own
    first colours, become shades that stand out on light and on dark ground.
    """
    buffer = io.StringIO()
    with _DRAWING, rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return page_svg(buffer.getvalue(), description=description)


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure as PNG."""
    figure.savefig(path, format="png", dpi=144, metadata={"Software": None})


def _draw(axis: Axes, curve: Curve, *, offset: float) -> None:
    colour = COLOURS.get(curve.name)
    x = [value + offset for value in curve.x]
    if curve.low is not None and curve.high is not None:
        errors = [
            [y - low for y, low in zip(curve.y, curve.low, strict=True)],
            [high - y for y, high in zip(curve.y, curve.high, strict=True)],
        ]
        axis.errorbar(
            x, curve.y, yerr=errors, label=curve.name, color=colour, marker="o", markersize=4, capsize=2, linewidth=1.4
        )
    else:
        axis.plot(x, curve.y, label=curve.name, color=colour, marker="o", markersize=4, linewidth=1.4)


def _tidy(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", linewidth=0.4, alpha=0.5)
    if axis.get_legend_handles_labels()[1]:
        axis.legend(fontsize=8, frameon=False)
