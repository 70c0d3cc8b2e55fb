"""A run that two real processes train in: what one finds, written once; joint_run.py has the commands."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from reward_models.processes import Processes
from rrm.opening import open_workbench
from rrm.orders import call, leading
from rrm.rounds import play_round
from rrm.starting import start_run
from rrm.store import Run, progress, step_result
from rrm.store.verify import verify
from tests.nursery import together
from tests.rrm import joint_run
from tests.rrm.small_runs import SMALL

OVERRIDES = (
    *SMALL,
    "run.levels=1",
    "reward.kind=lora",
    "reward.lora_rank=2",
    "reward.epochs=1",
    "agent.steps=3",
    "agent.prompts_per_step=3",
    "agent.bf16=false",
    "agent.learning_rate=1e-4",
)
CLOSE = 1e-4


@dataclass(frozen=True)
class Both:
    """A run that one process trained in, and one of two."""

    one: Path
    two: Path
    narrow: Path
    """Two processes, and one prompt in a step."""
    found: list[dict[str, Any]]
    """What each of them said."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder = tmp_path_factory.mktemp("runs")
    one, two, narrow = (folder / name for name in ("one", "two", "narrow"))
    for run in (one, two):
        start_run(run, OVERRIDES)
    start_run(narrow, [*SMALL, "run.levels=1", "agent.prompts_per_step=1"])
    with (
        together(joint_run.main, [str(two), str(narrow), str(folder)], log=folder / "said.txt"),
        open_workbench(one) as bench,
    ):
        play_round(bench, level=0, round=0, until="optimise")
    return Both(one, two, narrow, [json.loads((folder / f"found.{rank}.json").read_text()) for rank in (0, 1)])


def test_two_processes_train_what_one_trains_and_write_it_once(both: Both) -> None:
    assert [found["train"][0] for found in both.found] == [0, 0], both.found
    for name in ("reward-model-0-0/members.safetensors", "agent-0-0/model.safetensors"):
        first, second = (load_file(run / "models" / name) for run in (both.one, both.two))
        assert first.keys() == second.keys()
        assert max(float((first[key] - second[key]).abs().max()) for key in first) < CLOSE, name
    with Run.open(both.one) as one, Run.open(both.two) as two:
        steps = [progress(run, "0/0/optimise") for run in (one, two)]
        assert [point.position for point in steps[1]] == [0, 1, 2]
        for alone, joint in zip(*steps, strict=True):
            for name in ("reward", "kl", "entropy", "gradient_norm"):
                assert joint.record[name] == pytest.approx(alone.record[name], rel=CLOSE, abs=CLOSE), name
        fits = [step_result(run, "0/0/fit") for run in (one, two)]
        losses = [fit["fit"]["held_out_losses"] for fit in fits if isinstance(fit, dict)]
        assert losses[1] == pytest.approx(losses[0], rel=CLOSE)
    assert verify(both.two) == []


def test_only_the_main_process_speaks_of_what_was_done(both: Both) -> None:
    assert "Level 0, round 0: done so far are" in both.found[0]["train"][1]
    assert both.found[1]["train"][1] == ""
    assert [found["again"][0] for found in both.found] == [0, 0]


def test_what_cannot_be_divided_ends_all_with_one_sentence(both: Both) -> None:
    for code, printed in (found["narrow"] for found in both.found):
        assert code == 1
        assert "in a step cannot be divided among 2 processes; launch fewer processes" in printed
    with Run.open(both.narrow) as run:
        assert step_result(run, "0/0/fit") is not None
        assert step_result(run, "0/0/optimise") is None


def test_another_process_may_not_work_on_a_run_by_itself(both: Both) -> None:
    code, printed = both.found[1]["report"]
    assert code == 1
    assert "Several processes share train, fit and round only" in printed


def test_a_process_alone_calls_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits to hear it: to say anything would need a process group, and there is none."""
    said: list[str] = []
    monkeypatch.setattr(Processes, "say", lambda _, word: said.append(word))
    with leading():
        call("fit", level=0, round=0)
    assert said == []
