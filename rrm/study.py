"""The study: seeds x arms, and the curve of error against depth.

A seed redraws documents, labels, heads and agents. Within a seed the arms share documents, the base's samples and,
apart from gold, level 0; each arm is a run folder of its own that any other command can open. Work is spread over
processes of one thread each; a killed study goes on where it was.
"""

import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers.utils import logging as transformers_logging

from rrm.arms import Arm, ArmLevel, begin_ladder, play_arm, prepare_trunk
from rrm.figures import Curve, level_figure, save_figure
from rrm.progress import AbstractProgress, SilentProgress
from rrm.statistics import Estimate, estimate, performance_gap_recovered

HELPED = (Arm.ASSISTANT, Arm.ASSISTED, Arm.UNTRAINED)

CONTRASTS = (
    ("assisted - alone", "label_accuracy", Arm.ASSISTED, Arm.ALONE),
    ("assisted - assistant", "label_accuracy", Arm.ASSISTED, Arm.ASSISTANT),
    ("assisted - assisted-untrained", "label_accuracy", Arm.ASSISTED, Arm.UNTRAINED),
    ("assisted - alone", "agent_gold", Arm.ASSISTED, Arm.ALONE),
    ("assisted - assisted-untrained", "agent_gold", Arm.ASSISTED, Arm.UNTRAINED),
)
"""Differences within a seed: what it is called, of which figure, between which arms."""

Results = dict[Arm, list[tuple[ArmLevel, ...]]]
"""Figures of every arm: one tuple of levels a seed."""


@dataclass(frozen=True)
class Study:
    """What a study found."""

    folder: Path
    seeds: tuple[int, ...]
    rows: tuple[dict[str, object], ...]
    """One row an arm and level, as study.json has them."""
    contrasts: tuple[dict[str, object], ...]
    """Paired differences with intervals, as contrasts.json has them."""

    @property
    def json_path(self) -> Path:
        """The rows, for programs."""
        return self.folder / "study.json"

    @property
    def figure_path(self) -> Path:
        """The curve of error against depth."""
        return self.folder / "study.png"

    def to_json(self) -> list[dict[str, object]]:
        """The rows."""
        return list(self.rows)

    def table(self) -> list[dict[str, object]]:
        """One row an arm and level, for a terminal."""
        return [{name: _shown(value) for name, value in row.items() if name != "pgr_reason"} for row in self.rows] + [
            {"arm": row["contrast"], "level": row["level"], str(row["figure"]): _shown(row["difference"])}
            for row in self.contrasts
        ]


def study(
    folder: Path,
    *,
    seeds: int,
    first_seed: int = 0,
    overrides: Sequence[str] = (),
    workers: int = 0,
    progress: AbstractProgress,
) -> Study:
    """Run every arm at every level for `seeds` seeds, and write study.json, contrasts.json and study.png."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = tuple(range(first_seed, first_seed + seeds))
    results = _play(folder, numbers, tuple(overrides), workers=workers or os.cpu_count() or 1, progress=progress)
    levels = len(results[Arm.ALONE][0])
    rows = tuple(_row(results, arm, level) for level in range(levels) for arm in Arm)
    contrasts = tuple(row for level in range(levels) for row in _contrasts(results, level))
    found = Study(folder=folder, seeds=numbers, rows=rows, contrasts=contrasts)
    found.json_path.write_text(json.dumps(found.to_json(), indent=2) + "\n")
    (folder / "contrasts.json").write_text(json.dumps(list(contrasts), indent=2) + "\n")
    save_figure(level_figure(_panels(rows)), found.figure_path)
    return found


def _play(
    folder: Path, numbers: Sequence[int], overrides: tuple[str, ...], *, workers: int, progress: AbstractProgress
) -> Results:
    """Every seed and arm, as many at a time as there are workers; an arm starts when what it stands on is done."""
    done: dict[tuple[int, str], tuple[ArmLevel, ...]] = {}
    progress.start("study", len(numbers) * (2 + len(Arm)))
    # Spawned, not forked: a forked child would share torch's thread pool and the parent's database connections.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker) as pool:
        waiting: dict[Future[tuple[ArmLevel, ...]], tuple[int, str]] = {
            pool.submit(_unit, folder, seed, "trunk", overrides): (seed, "trunk") for seed in numbers
        }
        try:
            while waiting:
                finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in finished:
                    seed, name = waiting.pop(future)
                    done[seed, name] = future.result()
                    progress.advance()
                    progress.note(f"seed {seed}: {name} done")
                    for following in _AFTER.get(name, ()):
                        waiting[pool.submit(_unit, folder, seed, following, overrides)] = (seed, following)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    progress.finish()
    return {arm: [done[seed, arm.value] for seed in numbers] for arm in Arm}


_AFTER: dict[str, tuple[str, ...]] = {
    "trunk": ("level-0", Arm.GOLD.value),
    "level-0": tuple(arm.value for arm in Arm if arm is not Arm.GOLD),
}


def _unit(folder: Path, seed: int, name: str, overrides: tuple[str, ...]) -> tuple[ArmLevel, ...]:
    """One piece of work, in a process of its own."""
    here = folder / f"seed-{seed}"
    here.mkdir(exist_ok=True)
    silent = SilentProgress()
    if name == "trunk":
        prepare_trunk(here / "trunk", overrides=(f"run.seed={seed}", "run.threads=1", *overrides), progress=silent)
        return ()
    if name == "level-0":
        begin_ladder(here / "level-0", trunk=here / "trunk", progress=silent)
        return ()
    arm = Arm(name)
    begun = here / ("trunk" if arm is Arm.GOLD else "level-0")
    return play_arm(arm, here / name, begun=begun, progress=silent)


def _prepare_worker() -> None:
    """Two processes of two threads each crawl on two cores, and their bars would write over the one that is shown."""
    os.environ["OMP_NUM_THREADS"] = "1"
    transformers_logging.disable_progress_bar()


def _row(results: Results, arm: Arm, level: int) -> dict[str, object]:
    here = [seed[level] for seed in results[arm]]
    # At level 0 nobody has help: the arms that live on it have no figures of their own there.
    meaningless = level == 0 and arm in HELPED
    gap, reason = (None, "level 0 is judged without help") if level == 0 else _gap(results, arm, level)
    return {
        "arm": arm.value,
        "level": level,
        "label_accuracy": None if meaningless else estimate([one.label_accuracy for one in here]).to_json(),
        "agent_gold": None if meaningless else estimate([one.agent.gold for one in here]).to_json(),
        "pgr": None if gap is None else gap.to_json(),
        "pgr_reason": reason,
        "agent_gain": None if meaningless else estimate([one.agent.gold - one.base.gold for one in here]).to_json(),
        "agent_invented": None if meaningless else estimate([one.agent.invented for one in here]).to_json(),
        "base_invented": None if meaningless else estimate([one.base.invented for one in here]).to_json(),
        "agent_kl": None if meaningless else estimate([one.agent.kl for one in here]).to_json(),
        "promoted": None if meaningless else sum(one.promoted for one in here),
    }


def _gap(results: Results, arm: Arm, level: int) -> tuple[Estimate | None, str | None]:
    if arm in (Arm.ALONE, Arm.GOLD):
        return None, f"{arm.value} is an end of the scale"
    ours, alone, gold = ([seed[level].agent.gold for seed in results[name]] for name in (arm, Arm.ALONE, Arm.GOLD))
    found = performance_gap_recovered(ours, alone, gold, generator=np.random.default_rng([level, len(ours)]))
    return found.estimate, found.reason


def _contrasts(results: Results, level: int) -> list[dict[str, object]]:
    """Paired differences within seeds; at level 0 there are none."""
    if level == 0:
        return []
    values = {"label_accuracy": lambda one: one.label_accuracy, "agent_gold": lambda one: one.agent.gold}
    rows: list[dict[str, object]] = []
    for name, figure, better, worse in CONTRASTS:
        pairs = zip(results[better], results[worse], strict=True)
        difference = estimate([values[figure](a[level]) - values[figure](b[level]) for a, b in pairs])
        rows.append(
            {
                "contrast": name,
                "figure": figure,
                "level": level,
                "difference": difference.to_json(),
                "clear_of_zero": difference.clear_of_zero(),
            }
        )
    return rows


def _panels(rows: Sequence[dict[str, object]]) -> dict[str, list[Curve]]:
    """Error of the labels and gold of the agents against depth, a curve an arm."""
    panels: dict[str, list[Curve]] = {"Label error": [], "Gold utility of the agent": []}
    for title, figure, sign in (
        ("Label error", "label_accuracy", -1.0),
        ("Gold utility of the agent", "agent_gold", 1.0),
    ):
        for arm in Arm:
            if figure == "label_accuracy" and arm is Arm.GOLD:
                continue
            shown = [(row["level"], row[figure]) for row in rows if row["arm"] == arm.value and row[figure] is not None]
            points = [(float(str(level)), value) for level, value in shown if isinstance(value, dict)]
            offset = 1.0 if sign < 0 else 0.0
            ends = [
                sorted(
                    offset + sign * (value["mean"] if value[side] is None else value[side]) for side in ("low", "high")
                )
                for _, value in points
            ]
            panels[title].append(
                Curve(
                    arm.value,
                    [level for level, _ in points],
                    [offset + sign * value["mean"] for _, value in points],
                    [low for low, _ in ends],
                    [high for _, high in ends],
                )
            )
    return panels


def _shown(value: object) -> object:
    """An estimate as `mean [low, high]`; anything else as it is."""
    if not isinstance(value, dict):
        return value
    if value["low"] is None:
        return f"{value['mean']:.3f}"
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
