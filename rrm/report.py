"""The report of a run: every level measured, as JSON for programs and as one page for people."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from string import Template

from rrm.errors import RunError
from rrm.figures import Curve, as_svg, level_figure, training_figure
from rrm.measuring import LevelFigures, measure_level, test_comparisons
from rrm.rounds import round_is_over
from rrm.steps.promoting import promotion_of
from rrm.store import progress as stored_progress
from rrm.store import step_key, steps
from rrm.workbench import Workbench

FOLDER = "report"


@dataclass(frozen=True)
class Report:
    """What a run came to."""

    folder: Path
    """The `report` folder: report.json and report.html."""
    seconds: float
    """From the beginning to the end of every step, summed; where a step was interrupted, its pause is included."""
    seed: int
    levels: tuple[LevelFigures, ...]
    promotions: tuple[Mapping[str, object], ...]
    """For each level the last comparison of its agent with the one before it."""

    @property
    def json_path(self) -> Path:
        """For programs."""
        return self.folder / "report.json"

    @property
    def html_path(self) -> Path:
        """For people."""
        return self.folder / "report.html"

    def to_json(self) -> dict[str, object]:
        """The names that programs read; null where a figure has no meaning."""
        return {
            "seconds": self.seconds,
            "seed": self.seed,
            "levels": [asdict(level) for level in self.levels],
            "promotions": list(self.promotions),
        }

    def table(self) -> list[dict[str, object]]:
        """One row a level, for a terminal."""
        rows: list[dict[str, object]] = []
        for level, promotion in zip(self.levels, self.promotions, strict=True):
            accuracy = {name: None if one is None else one.accuracy for name, one in level.rater.items()}
            base, agent = level.policy["base"], level.policy["agent"]
            rows.append(
                {
                    "level": level.level,
                    **{f"rater {name}": accuracy[name] for name in ("alone", "assistant", "assisted")},
                    "gold base": base and base.gold,
                    "gold agent": agent and agent.gold,
                    "invented base": base and base.invented,
                    "invented agent": agent and agent.invented,
                    "KL (nats)": agent and agent.kl,
                    "reward accuracy": level.reward_model["accuracy"],
                    "win rate": promotion.get("win_rate"),
                    "promoted": promotion.get("beats"),
                }
            )
        return rows


def write_report(bench: Workbench) -> Report:
    """Measure every level whose rounds are over, and write `report/`. Raises RunError if there is none yet."""
    last = bench.config.rounds.rounds_per_level - 1
    done = [level for level in range(bench.config.run.levels) if round_is_over(bench, level=level, round=last)]
    if not done:
        raise RunError(f"No level of {bench.run.folder} is finished yet; play its rounds first with `rrm round`.")
    bench.progress.note("Report")
    report = Report(
        folder=bench.run.folder / FOLDER,
        levels=tuple(measure_level(bench, level=level) for level in done),
        seconds=_seconds(bench),
        seed=bench.seed,
        promotions=tuple(promotion_of(bench, level=level, round=last) for level in done),
    )
    report.folder.mkdir(exist_ok=True)
    _write(report.json_path, json.dumps(report.to_json(), indent=2) + "\n")
    _write(report.html_path, _page(bench, report))
    return report


def _page(bench: Workbench, report: Report) -> str:
    levels = [float(level.level) for level in report.levels]
    raters = [
        Curve(name, [float(one.level) for one in shown], [one.rater[name].accuracy for one in shown])  # type: ignore[union-attr]
        for name in ("alone", "assistant", "assisted")
        if (shown := [one for one in report.levels if one.rater[name] is not None])
    ]
    golds = [
        Curve(name, levels, [one.policy[name].gold for one in report.levels])  # type: ignore[union-attr]
        for name in ("base", "agent")
    ]
    panels = {"Label accuracy against gold": raters, "Gold utility of briefs": golds}
    return Template((Path(__file__).parent / "report.html").read_text(encoding="utf-8")).substitute(
        title=escape(bench.run.folder.resolve().name),
        seed=report.seed,
        minutes=f"{report.seconds / 60:.1f}",
        levels=as_svg(level_figure(panels)),
        training=as_svg(training_figure(_training_curves(bench, report.levels))),
        table=_html_table(report.table()),
        examples="\n".join(_example(bench, level.level) for level in report.levels),
    )


def _training_curves(bench: Workbench, levels: Sequence[LevelFigures]) -> dict[str, list[Curve]]:
    """Reward and KL over the steps of each level's last agent."""
    curves: dict[str, list[Curve]] = {"Reward (conservative)": [], "KL(agent || base), nats a brief": []}
    last = bench.config.rounds.rounds_per_level - 1
    for level in levels:
        found = stored_progress(bench.run, step_key(level=level.level, round=last, name="optimise"))
        for title, name in zip(curves, ("reward", "kl"), strict=True):
            values = [float(str(one.record[name])) for one in found]
            curves[title].append(Curve(f"level {level.level}", [float(one.position) for one in found], values))
    return curves


def _html_table(rows: Sequence[Mapping[str, object]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(shown(value))}</td>" for value in row.values()) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def shown(value: object) -> str:
    """A figure as tables show it; a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _example(bench: Workbench, level: int) -> str:
    """One test comparison of a level with the base's two briefs, as text."""
    asked = test_comparisons(bench, level=level)
    if not asked:
        return ""
    one = asked[0]
    mark = {True: "worth more", False: "worth less"}
    return (
        f"<section><h3>Level {level}: {escape(one.document.title)}</h3><div class='pair'>"
        f"<div><p>{mark[one.first_is_better]}</p><pre>{escape(one.first)}</pre></div>"
        f"<div><p>{mark[not one.first_is_better]}</p><pre>{escape(one.second)}</pre></div></div>"
        f"<details><summary>The log</summary><pre>{escape(one.document.text)}</pre></details></section>"
    )


def _seconds(bench: Workbench) -> float:
    spans = [
        datetime.fromisoformat(step.finished_at) - datetime.fromisoformat(step.started_at)
        for step in steps(bench.run)
        if step.finished_at is not None
    ]
    return sum(span.total_seconds() for span in spans)


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
