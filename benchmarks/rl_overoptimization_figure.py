"""The picture of `benchmarks.rl_overoptimization`."""

from collections.abc import Mapping, Sequence

from matplotlib import colormaps
from matplotlib.figure import Figure

from rrm.contest.trajectory import Trajectory
from rrm.statistics import estimate


def draw(found: Mapping[tuple[str, float], Sequence[Trajectory]]) -> Figure:
    """A column a reward: gold above, the reward itself below, against sqrt(KL); a colour a price, means over seeds."""
    rewards = list(dict.fromkeys(reward for reward, _ in found))
    betas = sorted({beta for _, beta in found})
    figure = Figure(figsize=(3.4 * len(rewards), 6.0), layout="constrained")
    axes = figure.subplots(2, len(rewards), sharex=True, sharey="row", squeeze=False)
    for (name, beta), trajectories in found.items():
        if not trajectories:
            continue
        column = rewards.index(name)
        colour = colormaps["viridis"](0.9 * betas.index(beta) / max(1, len(betas) - 1))
        places = range(len(trajectories[0].examinations))
        ways = [[one.examinations[place] for one in trajectories] for place in places]
        x = [estimate([at.distance for at in way]).mean for way in ways]
        for axis, worth in zip(axes[:, column], ("gold", "proxy"), strict=True):
            y = [estimate([getattr(at, worth) for at in way]) for way in ways]
            axis.plot(x, [one.mean for one in y], color=colour, linewidth=1.3, label=f"beta = {beta:g}")
            axis.plot(x[-1:], [y[-1].mean], color=colour, marker="o", markersize=4)
            if y[-1].low is not None:
                axis.errorbar(x[-1:], [y[-1].mean], yerr=[[y[-1].mean - y[-1].low]] * 2, color=colour, capsize=2)
    for name, axis in zip(rewards, axes[0], strict=True):
        axis.set_title(name, fontsize=10, loc="left")
    axes[0, 0].set_ylabel("gold utility of test documents")
    axes[1, 0].set_ylabel("reward (deviations of the base)")
    base = next(one.examinations[0].gold for trajectories in found.values() for one in trajectories)
    for axis in axes[0]:
        axis.axhline(base, color="#30343a", linewidth=0.6, linestyle=":")
    for axis in axes[1]:
        axis.set_xlabel("d = sqrt(KL(agent || base))")
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", linewidth=0.4, alpha=0.5)
    axes[0, 0].legend(fontsize=8, frameon=False)
    return figure
