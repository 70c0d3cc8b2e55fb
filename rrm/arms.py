"""The arms of a study: whose answers the reward models learn from."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import final

from rrm.config import FILE_NAME
from rrm.config_file import read_config, write_config
from rrm.errors import RunError
from rrm.judging.raters import AbstractRater, AssistantAlone, Question, SimulatedReader
from rrm.measuring import (
    PolicyFigures,
    RaterFigures,
    TestComparison,
    agent_figures,
    policy_figures,
    rater_figures,
    test_aids,
    test_comparisons,
    test_texts,
)
from rrm.opening import open_workbench
from rrm.progress import AbstractProgress
from rrm.rounds import play_round
from rrm.run_folder import make_task
from rrm.starting import start_run
from rrm.steps.sampling import sample
from rrm.tasks.task import AbstractTask, Split, known
from rrm.workbench import BASE, Workbench, artifact_id, once


class Arm(StrEnum):
    """Who answers."""

    ALONE = "alone"
    """The reader without help."""
    ASSISTANT = "assistant"
    """The aids of the arm's own agent of the level below, without a reader."""
    ASSISTED = "assisted"
    """The reader, helped by the arm's own agent of the level below."""
    UNTRAINED = "assisted-untrained"
    """The reader, helped by the base."""
    GOLD = "gold"
    """The gold utility itself: the ceiling."""


JUDGING = {
    Arm.ALONE: ("judging.aid=none",),
    Arm.ASSISTANT: ("judging.rater=assistant",),
    Arm.ASSISTED: (),
    Arm.UNTRAINED: ("judging.assistant=base",),
    # Nobody but the study answers by gold, so a run of that arm, opened by hand, waits for people.
    Arm.GOLD: ("judging.aid=none", "judging.rater=people"),
}


@final
class GoldRater(AbstractRater):
    """Answers by the gold utility. It stands here, outside of judging, because only studies may ask it."""

    id = "gold"

    def __init__(self, task: AbstractTask) -> None:
        self._task = known(task, needed_for="A rater who answers by gold")

    def probability(self, question: Question) -> float:
        """1, 0.5 or 0."""
        first, second = (
            self._task.gold(question.document, brief).utility for brief in (question.first, question.second)
        )
        return 0.5 if first == second else float(first > second)

    def settings(self) -> dict[str, object]:
        """Nothing can be set."""
        return {}


@dataclass(frozen=True)
class ArmLevel:
    """One arm at one level with one seed."""

    label_accuracy: float
    """Mean chance that the arm's rater is right on uniform test comparisons of the base."""
    comparisons: int
    """Test comparisons."""
    agent: PolicyFigures
    """The agent trained in this arm."""
    base: PolicyFigures
    """The base on the same documents."""
    promoted: bool
    """Whether held-out judgements of the arm's rater promoted the agent to be the next level's assistant."""


def prepare_trunk(folder: Path, *, overrides: Sequence[str], progress: AbstractProgress) -> None:
    """What the arms share: the base's samples at every level, and level 0 as all arms but gold play it."""
    if not (folder / FILE_NAME).exists():
        start_run(folder, overrides)
    with open_workbench(folder, progress=progress) as bench:
        for level in range(bench.config.run.levels):
            once(bench, level=level, round=0, name="sample", work=partial(_sample, bench, level))
            test_texts(bench, level=level)


def begin_ladder(folder: Path, *, trunk: Path, progress: AbstractProgress) -> None:
    """Level 0 as the reader judges it alone: the same in every arm but gold, so it is played once."""
    copy_run(trunk, folder, ())
    with open_workbench(folder, progress=progress) as bench:
        play_round(bench, level=0, round=0)
        measure_arm(bench, Arm.ALONE, level=0)


def play_arm(arm: Arm, folder: Path, *, begun: Path, progress: AbstractProgress) -> tuple[ArmLevel, ...]:
    """Climb with the arm's rater, from a copy of what was begun, and measure every level."""
    copy_run(begun, folder, JUDGING[arm])
    rater = GoldRater(make_task(read_config(folder / FILE_NAME), folder)) if arm is Arm.GOLD else None
    with open_workbench(folder, progress=progress, rater=rater) as bench:
        figures = []
        for level in range(bench.config.run.levels):
            play_round(bench, level=level, round=0)
            figures.append(measure_arm(bench, arm, level=level))
        return tuple(figures)


def measure_arm(bench: Workbench, arm: Arm, *, level: int) -> ArmLevel:
    """The arm's rater and agent on the test documents; measured once, by the name of what was measured."""
    # Level 0 has no help, so that there every arm but gold is the reader alone.
    acting = Arm.ALONE if level == 0 and arm is not Arm.GOLD else arm

    def work(_: str) -> Mapping[str, object]:
        asked = test_comparisons(bench, level=level)
        labels = _label_figures(bench, acting, asked, level=level)
        found = bench.documents(split=Split.TEST, level=level, count=bench.config.sampling.test_documents)
        base = policy_figures(bench, found, test_texts(bench, level=level), kl=0.0)
        agent = agent_figures(bench, level=level, agent=artifact_id("agent", level, 0))
        return {
            "label_accuracy": labels.accuracy,
            "comparisons": labels.n,
            "agent": vars(agent),
            "base": vars(base),
            "promoted": bench.incumbent(level) != BASE,
        }

    stored = once(bench, level=level, round=0, name=f"measure-{acting}", work=work)
    return ArmLevel(
        label_accuracy=float(str(stored["label_accuracy"])),
        comparisons=int(str(stored["comparisons"])),
        agent=PolicyFigures(**stored["agent"]),  # type: ignore[arg-type]  # a step's result is JSON
        base=PolicyFigures(**stored["base"]),  # type: ignore[arg-type]
        promoted=bool(stored["promoted"]),
    )


def copy_run(source: Path, target: Path, overrides: Sequence[str]) -> None:
    """Copy a finished run folder under a temporary name, lay settings over it, and rename it; done once."""
    if (target / FILE_NAME).exists():
        return
    partial_copy = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial_copy, ignore_errors=True)
    shutil.copytree(source, partial_copy)
    write_config(partial_copy / FILE_NAME, read_config(partial_copy / FILE_NAME, overrides))
    shutil.rmtree(target, ignore_errors=True)
    partial_copy.rename(target)


def _label_figures(bench: Workbench, arm: Arm, asked: Sequence[TestComparison], *, level: int) -> RaterFigures:
    task = known(bench.task, needed_for="A study")
    reader = SimulatedReader(task, budget=bench.config.judging.reading_budget)
    raters: dict[Arm, AbstractRater] = {Arm.ASSISTANT: AssistantAlone(task), Arm.GOLD: GoldRater(task)}
    assistant = bench.assistant(level) if arm in (Arm.ASSISTANT, Arm.ASSISTED, Arm.UNTRAINED) else None
    aids = None if assistant is None else test_aids(bench, level=level, assistant=assistant)
    figures = rater_figures(raters.get(arm, reader), asked, aids)
    if figures is None:
        raise RunError(
            f"No two test briefs of level {level} differ clearly, so nothing can be measured; raise "
            "sampling.test_documents."
        )
    return figures


def _sample(bench: Workbench, level: int, _: str) -> Mapping[str, object]:
    return sample(bench, level=level, round=0)
