"""The curve of a session as pictures for a page."""

from collections.abc import Sequence
from functools import lru_cache

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from rrm.figures import as_page_svg
from rrm.sessions.forecast import CurvePoint, standard_error

SIZE = (3.8, 2.6)
"""In inches; two stand side by side where there is room."""


@lru_cache(maxsize=32)
def curve_pictures(points: tuple[CurvePoint, ...]) -> tuple[str, ...]:
    """Agreement, with what chance may add or take, and disagreement over the judgements used; drawn once a curve."""
    agreement = _agreement(points)
    spread = tuple(point for point in points if point.spread is not None)
    return (agreement, _disagreement(spread)) if len(spread) > 1 else (agreement,)


def _agreement(points: Sequence[CurvePoint]) -> str:
    figure = Figure(figsize=SIZE, layout="constrained")
    axis = figure.subplots()
    shares = [100 * point.accuracy for point in points]
    errors = [196 * standard_error(point) for point in points]
    axis.errorbar(
        [point.judgements for point in points],
        shares,
        yerr=errors,
        marker="o", markersize=4, capsize=2, linewidth=1.6, elinewidth=0.8,
    )  # fmt: skip
    lowest = min(share - error for share, error in zip(shares, errors, strict=True))
    axis.set_ylim(min(50.0, lowest) - 2.0, 100.0)
    _frame(axis, "Agreement with unseen answers, %", points)
    first, last = points[0], points[-1]
    return as_page_svg(
        figure,
        description=f"Agreement with unseen answers: {100 * first.accuracy:.0f}% with {first.judgements} judgements, "
        f"{100 * last.accuracy:.0f}% with {last.judgements}.",
    )


def _disagreement(points: Sequence[CurvePoint]) -> str:
    figure = Figure(figsize=SIZE, layout="constrained")
    axis = figure.subplots()
    values = [100 * (point.spread or 0.0) for point in points]
    axis.plot([point.judgements for point in points], values, marker="o", markersize=4, linewidth=1.6)
    axis.set_ylim(0.0, 1.15 * max(*values, 1.0))
    _frame(axis, "Members' disagreement, points in 100", points)
    return as_page_svg(
        figure,
        description=f"Members' disagreement: {values[0]:.1f} points in 100 with {points[0].judgements} judgements, "
        f"{values[-1]:.1f} with {points[-1].judgements}.",
    )


def _frame(axis: Axes, title: str, points: Sequence[CurvePoint]) -> None:
    judgements = [point.judgements for point in points]
    axis.set_title(title, fontsize=9, loc="left")
    axis.set_xlabel("judgements used", fontsize=9)
    axis.set_xscale("log")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticks(judgements, [str(count) for count in judgements])
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", linewidth=0.4, alpha=0.5)
