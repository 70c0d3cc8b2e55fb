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
from rrm.store.transaction import rows
from rrm.tasks.task import AbstractKnownTask
from rrm.workbench import Workbench

FOLDER = "report"

_OF_GOLD = ("rater", "gold", "invented")
GOLD_KNOWN = """Rater: how often the simulated reader is right alone, how often the aids alone are, and the reader
with the aids, on pairs of the base's briefs whose gold utilities differ clearly. Gold: 1 is the best possible brief.
Invented: share of claims that the log does not contain."""
GOLD_UNKNOWN = """Of your own text nobody but people can say what is right, so there are no figures against a gold
utility: what is shown rests on held-out judgements."""


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
                    "KL (nats)": level.kl,
                    "reward accuracy": level.reward_model["accuracy"],
                    "win rate": promotion.get("win_rate"),
                    "promoted": promotion.get("beats"),
                }
            )
        if all(level.policy["base"] is None for level in self.levels):
            # Figures that the task does not know would be columns of nothing.
            rows = [{name: value for name, value in row.items() if not name.startswith(_OF_GOLD)} for row in rows]
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
        Curve(name, [level for level, _ in known], [gold for _, gold in known])
        for name in ("base", "agent")
        if (known := [(float(one.level), gold) for one in report.levels if (gold := _gold(one, name)) is not None])
    ]
    wins = [
        Curve(title, [level for level, _ in known], [value for _, value in known])
        for title, found in (
            ("reward model right on held-out judgements", [one.reward_model["accuracy"] for one in report.levels]),
            ("new agent preferred to the one before", [one.get("win_rate") for one in report.promotions]),
        )
        if (known := [(at, float(str(value))) for at, value in zip(levels, found, strict=True) if value is not None])
    ]
    panels = {"Label accuracy against gold": raters, "Gold utility of briefs": golds}
    if not any(panels.values()):
        panels = {"Share of held-out judgements": wins}
    knows = isinstance(bench.task, AbstractKnownTask)
    return Template((Path(__file__).parent / "report.html").read_text(encoding="utf-8")).substitute(
        title=escape(bench.run.folder.resolve().name),
        seed=report.seed,
        minutes=f"{report.seconds / 60:.1f}",
        about=GOLD_KNOWN if knows else GOLD_UNKNOWN,
        levels=as_svg(level_figure(panels)),
        training=as_svg(training_figure(_training_curves(bench, report.levels))),
        table=_html_table(report.table()),
        examples="\n".join((_example if knows else _judged_example)(bench, level.level) for level in report.levels),
    )


def _gold(level: LevelFigures, policy: str) -> float | None:
    found = level.policy[policy]
    return None if found is None else found.gold


def _training_curves(bench: Workbench, levels: Sequence[LevelFigures]) -> dict[str, list[Curve]]:
    """Reward and KL over the steps of each level's last agent."""
    curves: dict[str, list[Curve]] = {"Reward (conservative)": [], "KL(agent || base), nats a completion": []}
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
    sides = ((one.first, one.first_is_better), (one.second, not one.first_is_better))
    return _pair(
        f"Level {level}: {one.document.title}",
        [("worth more" if better else "worth less", text) for text, better in sides],
        source=one.document.text,
    )


def _judged_example(bench: Workbench, level: int) -> str:
    """The first comparison that was judged for a promotion of a level, by who wrote what."""
    query = """SELECT title, prompt, first, second, first_agent, second_agent, choice
        FROM live_judgements JOIN comparisons_readable AS asked ON asked.id = comparison_id
        WHERE level = ? AND purpose = 'promotion' AND choice IN ('first', 'second') ORDER BY position LIMIT 1"""
    found = rows(bench.run.database, query, (level,))
    if not found:
        return ""
    row = {name: str(value) for name, value in found[0].items()}
    sides = [
        (f"{row[f'{side}_agent']}: {'preferred' if row['choice'] == side else 'not preferred'}", row[side])
        for side in ("first", "second")
    ]
    return _pair(f"Level {level}: {row['title']}", sides, source=row["prompt"])


def _pair(title: str, sides: Sequence[tuple[str, str]], *, source: str) -> str:
    shown = "".join(f"<div><p>{escape(mark)}</p><pre>{escape(text)}</pre></div>" for mark, text in sides)
    return (
        f"<section><h3>{escape(title)}</h3><div class='pair'>{shown}</div>"
        f"<details><summary>The source</summary><pre>{escape(source)}</pre></details></section>"
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
