"""The pictures of the figures: one function each, from records to a matplotlib figure."""

from collections.abc import Sequence
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rrm.figures import COLOURS
from rrm.watching.cost import Cost
from rrm.watching.names import STAGES, Labels
from rrm.watching.optimisation import Moment, Optimisation
from rrm.watching.pace import Pace
from rrm.watching.reliability import Reliability
from rrm.watching.shares import Share

WIDTH = 5.0
"""Inches."""
QUIET = COLOURS["alone"]
ACCENT = COLOURS["assisted"]
GOLD = COLOURS["gold"]
LINES = ("#2f6fb0", "#c58b2a", "#3f8f5b", "#9b6fb5", "#d62728", "#8c564b", "#e377c2", "#7f7f7f")

Points = Sequence[tuple[float, Share]]
"""Shares with their intervals, each at a place."""


def by_level(found: Sequence[Labels], *, y_label: str) -> Figure:
    """A line with intervals for each way and source, over levels; dashed what guessing would give."""
    figure, axis = _one_axis()
    axis.axhline(0.5, color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
    sources = {one.source for one in found}
    lines = [(key, list(group)) for key, group in groupby(sorted(found, key=_line), key=_line)]
    for place, ((source, way), group) in enumerate(lines):
        offset = 0.05 * (place - (len(lines) - 1) / 2)
        name = way if len(sources) == 1 else f"{way}, {source}"
        points = [(one.level + offset, one.share) for one in group]
        _with_intervals(axis, points, name=name, colour=_shade(way, source, sources))
    levels = sorted({one.level for one in found})
    axis.set_xticks(levels, [f"level {level}" for level in levels])
    axis.set_xlim(min(levels) - 0.4, max(levels) + 0.4)
    _shares_axis(axis, y_label)
    return _tidied(figure, axis)


def shares_by_name(found: Sequence[tuple[str, Share]], *, reference: float) -> Figure:
    """One share with its interval a row."""
    figure, axis = _one_axis(height=0.9 + 0.35 * len(found))
    axis.axvline(reference, color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
    for place, (_, share) in enumerate(found):
        axis.errorbar(
            [share.value],
            [place],
            xerr=[[share.value - share.low], [share.high - share.value]],
            color=ACCENT,
            marker="o",
            markersize=5,
            capsize=3,
            linewidth=1.4,
        )
    axis.set_yticks(range(len(found)), [name for name, _ in found])
    axis.set_ylim(len(found) - 0.5, -0.5)
    axis.set_xlim(-0.02, 1.02)
    axis.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    axis.grid(axis="x", linewidth=0.4, alpha=0.5)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def reliability_figure(found: Reliability) -> Figure:
    """What was answered against what was predicted, with the counts below."""
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    upper.plot([0.5, 1.0], [0.5, 1.0], color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
    points = [(one.predicted, one.answered) for one in found.bins]
    _with_intervals(upper, points, name="held-out answers", colour=ACCENT, line=False)
    _shares_axis(upper, "answers that agree")
    lower.bar([x for x, _ in points], [share.n for _, share in points], width=0.03, color=ACCENT)
    lower.set_ylabel("answers")
    lower.set_xlabel("stated probability of the preferred completion")
    lower.set_xlim(0.48, 1.02)
    lower.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    lower.spines[["top", "right"]].set_visible(False)
    return _tidied(figure, upper)


def pace_figure(found: Sequence[Pace]) -> Figure:
    """Median seconds over the answers so far, the middle half of them as a band, a line a stage."""
    figure, axis = _one_axis()
    for stage, group in groupby(found, key=lambda one: one.stage):
        points = list(group)
        x, name = [one.answers for one in points], STAGES[stage]
        axis.fill_between(
            x, [one.lower for one in points], [one.upper for one in points], color=COLOURS[name], alpha=0.2, linewidth=0
        )
        axis.plot(x, [one.median for one in points], label=name, color=COLOURS[name], linewidth=1.6, marker="o", ms=3)
    axis.set_ylim(bottom=0)
    axis.set_xlim(left=0)
    axis.set_xlabel("answers given so far")
    axis.set_ylabel("seconds an answer")
    return _tidied(figure, axis)


def optimisation_figure(found: Sequence[Optimisation]) -> Figure:
    """Reward along the root of the KL above; below, what the base and the agent were measured to be worth."""
    measured = [one for one in found if one.base is not None and one.agent is not None]
    figure = Figure(figsize=(WIDTH, 5.0 if measured else 3.2), layout="constrained")
    axes = figure.subplots(2 if measured else 1, 1, sharex=True, squeeze=False)[:, 0]
    for one, colour in zip(found, LINES * (1 + len(found) // len(LINES)), strict=False):
        name = f"level {one.level}" if one.round == 0 else f"level {one.level}, round {one.round}"
        x, y = [moment.distance for moment in one.moments], [moment.reward for moment in one.moments]
        # Steps are noisy: each is a point, and the line is their mean over a sliding window.
        axes[0].plot(x, y, color=colour, linestyle="none", marker="o", markersize=2.5, alpha=0.5)
        axes[0].plot(smoothed(x), smoothed(y), label=name, color=colour, linewidth=1.6)
        if one.base is not None and one.agent is not None:
            ends = [one.base.kl**0.5, one.agent.kl**0.5], [one.base.gold, one.agent.gold]
            axes[-1].plot(*ends, label=name, color=colour, linewidth=1.2, marker="D", markersize=5, linestyle=":")
    axes[0].set_ylabel("reward (stand-in)")
    axes[-1].set_xlabel("√KL(agent ‖ base), √nats a completion")
    if measured:
        axes[-1].set_ylabel("gold utility")
        _plain(axes[-1])
    return _tidied(figure, axes[0])


def smoothed(values: Sequence[float]) -> list[float]:
    """The mean of each window of an eighth of the values, from the first window to the last."""
    window = max(1, len(values) // 8)
    return [sum(values[end - window : end]) / window for end in range(window, len(values) + 1)]


def training_curves(found: Sequence[Moment]) -> Figure:
    """Reward above and KL below over the steps of one training."""
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    steps = [moment.step + 1 for moment in found]
    for axis, values, name in (
        (upper, [moment.reward for moment in found], "reward"),
        (lower, [moment.kl for moment in found], "KL, nats a completion"),
    ):
        axis.plot(steps, values, color=ACCENT, linewidth=1.4, marker="o", markersize=2.5)
        axis.set_ylabel(name)
        # The layout is computed with the first ticks; many narrow ones become fewer and wider, and push the name out.
        axis.yaxis.get_major_locator().set_params(nbins=5)
        _plain(axis)
    lower.set_xlabel("step")
    lower.xaxis.get_major_locator().set_params(integer=True)
    return figure


def cost_figure(found: Sequence[Cost]) -> Figure:
    """Judgements that were given, a bar a round."""
    figure, axis = _one_axis(height=2.8)
    places = sorted({(one.level, one.round) for one in found})
    bottoms = dict.fromkeys(places, 0)
    for kind, colour in (("person", ACCENT), ("simulated", QUIET)):
        here = {(one.level, one.round): one.judgements for one in found if one.kind == kind}
        if not here:
            continue
        heights = [here.get(place, 0) for place in places]
        name = "people" if kind == "person" else "simulated rater"
        axis.bar(range(len(places)), heights, width=0.5, bottom=list(bottoms.values()), color=colour, label=name)
        bottoms = {place: bottoms[place] + height for place, height in zip(places, heights, strict=True)}
    axis.set_xticks(range(len(places)), [f"level {level}\nround {round}" for level, round in places])
    axis.set_ylabel("judgements")
    axis.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    return _tidied(figure, axis)


def _line(one: Labels) -> tuple[str, str]:
    return one.source, one.way


def _shade(way: str, source: str, sources: set[str]) -> str:
    """The colour of a way of judging; other shades for simulated raters where people stand in the same figure."""
    if len(sources) == 1 or source == "people":
        return COLOURS[way]
    others = dict(zip(("alone", "assistant", "assisted"), ("#7f7f7f", "#8c564b", "#9467bd"), strict=True))
    return others[way]


def _one_axis(height: float = 3.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _with_intervals(axis: Axes, points: Points, *, name: str, colour: str, line: bool = True) -> None:
    axis.errorbar(
        [x for x, _ in points],
        [share.value for _, share in points],
        yerr=[[share.value - share.low for _, share in points], [share.high - share.value for _, share in points]],
        label=name,
        color=colour,
        marker="o",
        markersize=5,
        capsize=3,
        linewidth=1.4,
        linestyle="-" if line else "none",
    )


def _shares_axis(axis: Axes, label: str) -> None:
    axis.set_ylabel(label)
    axis.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")


def _plain(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", linewidth=0.4, alpha=0.5)


def _tidied(figure: Figure, axis: Axes) -> Figure:
    _plain(axis)
    if len(axis.get_legend_handles_labels()[1]) > 1:
        axis.legend(fontsize=9, frameon=False)
    return figure
