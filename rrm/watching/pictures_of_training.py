"""The pictures of one training: every figure that its steps have, and where the agent spends its nats."""

from collections.abc import Sequence
from math import ceil
from textwrap import shorten

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rrm.transcripts import Transcript
from rrm.watching.optimisation import Moment
from rrm.watching.pictures import ACCENT, GOLD, LINES, QUIET, WIDTH

Series = tuple[str, tuple[tuple[int, float], ...]]
"""A name, and a figure at the steps that have it."""

PRICE = "price of a nat, beta"
LONGEST_TITLE = 32
"""Letters above a small panel; objectives name their figures themselves."""

_FIGURES = (
    ("reward", "reward"),
    ("gold", "gold utility"),
    ("kl", "KL, nats a completion"),
    ("beta", PRICE),
    ("entropy", "entropy, nats a token"),
    ("distinct", "different completions, share"),
    ("reward_spread", "reward, spread in a document"),
    ("member_spread", "members, spread"),
)


def series(found: Sequence[Moment]) -> list[Series]:
    """Every figure that at least one step has, the objective's own last."""
    known = [(title, [(one.step, getattr(one, name)) for one in found]) for name, title in _FIGURES]
    names = sorted({name for one in found for name, _ in one.measures})
    known += [(name.replace("_", " "), [(one.step, dict(one.measures).get(name)) for one in found]) for name in names]
    return [
        (title, points)
        for title, values in known
        if (points := tuple((step, float(value)) for step, value in values if value is not None))
    ]


def learning_figure(found: Sequence[Moment]) -> Figure:
    """A small panel for each figure of a training, along its steps."""
    shown = series(found)
    rows = ceil(len(shown) / 2)
    figure = Figure(figsize=(WIDTH, 0.4 + 1.35 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, sharex=True, squeeze=False)
    for axis, (title, points) in zip(axes.flat, shown, strict=False):
        colour = GOLD if title == "gold utility" else ACCENT
        axis.plot([step + 1 for step, _ in points], [value for _, value in points], color=colour, linewidth=1.2)
        axis.set_title(shorten(title, LONGEST_TITLE, placeholder="…"), fontsize=9, loc="left")
        axis.tick_params(labelsize=8)
        if title == PRICE:
            axis.set_ylim(0, 2 * max(value for _, value in points) or 1)
        _plain(axis)
    for place, axis in enumerate(axes.flat):
        if place >= len(shown):
            axis.set_axis_off()
        elif place + 2 >= len(shown):
            axis.tick_params(labelbottom=True)
            axis.set_xlabel("step", fontsize=9)
            axis.xaxis.get_major_locator().set_params(integer=True)
    return figure


def spending_figure(found: Sequence[Transcript]) -> Figure:
    """What had been spent after each token, a line a completion; dashed the budgets."""
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    axis = figure.subplots()
    colours = {name: LINES[place % len(LINES)] for place, name in enumerate(dict.fromkeys(one.agent for one in found))}
    named: set[str] = set()
    for one in found:
        label = None if one.agent in named else one.agent
        named.add(one.agent)
        axis.step(
            range(len(one.tokens) + 1), [0.0, *one.running], where="post", color=colours[one.agent], label=label,
            linewidth=1.3,
        )  # fmt: skip
    for budget in sorted({one.budget for one in found if one.budget is not None}):
        axis.axhline(budget, color=QUIET, linewidth=1.0, linestyle=(0, (4, 3)))
        axis.annotate(f"budget {budget:g}", (0, budget), xytext=(2, 3), textcoords="offset points", fontsize=9)
    axis.set_xlabel("token")
    axis.set_ylabel("nats spent so far")
    axis.set_ylim(bottom=0)
    axis.set_xlim(left=0)
    _plain(axis)
    if len(named) > 1:
        axis.legend(fontsize=9, frameon=False)
    return figure


def _plain(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", linewidth=0.4, alpha=0.5)
