"""Training by two real processes: the records and weights of one, for every objective; joint_cases.py has the cases."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import PartialState
from safetensors.torch import load_file
from torch import Tensor

from agents.training import StepRecord
from reward_models.errors import InvalidInput
from reward_models.processes import ONE, Processes, present_processes
from tests.agents import joint_cases
from tests.agents.joint_cases import CASES, SETTINGS
from tests.launching import launched

CLOSE = 1e-4
"""Of every record, relative where it is above 1, and of every weight; rounding alone is seen at 1e-6."""

Outcome = tuple[list[StepRecord], dict[str, Tensor]]


@dataclass(frozen=True)
class Both:
    """What two processes found, and one."""

    found: list[dict[str, Any]]
    """By process."""
    folder: Path
    one: dict[str, Outcome]
    """By case."""

    def weights(self, name: str) -> list[dict[str, Tensor]]:
        """By process."""
        return [load_file(self.folder / f"{name}.{rank}.safetensors") for rank in (0, 1)]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Both:
    folder = tmp_path_factory.mktemp("two")
    half = replace(CASES["ppo_minibatches"], settings=replace(SETTINGS, steps=2))
    half.run(checkpoint=folder / "begun_by_one")
    one: dict[str, Outcome] = {}
    with launched("tests.agents.joint_cases", [str(folder)], root=repository):
        for name, case in CASES.items():
            records, policy = case.run()
            one[name] = records, joint_cases.weights(policy)
    found = [json.loads((folder / f"found.{rank}.json").read_text()) for rank in (0, 1)]
    return Both(found, folder, one)


def apart(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Largest difference of a weight."""
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def check_alike(records: list[StepRecord], stored: list[dict[str, Any]]) -> None:
    """All figures of all steps, but the time that they took."""
    assert [record.step for record in records] == [values["step"] for values in stored]
    for record, values in zip(records, stored, strict=True):
        other = StepRecord(**values)
        assert record.measures.keys() == other.measures.keys()
        for name in ("reward", "kl", "beta", "entropy", "mean_tokens", "distinct", "gradient_norm", "gold"):
            assert getattr(other, name) == pytest.approx(getattr(record, name), rel=CLOSE, abs=CLOSE), name
        assert other.measures == pytest.approx(record.measures, rel=CLOSE, abs=CLOSE)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_do_what_one_does(both: Both, name: str) -> None:
    """Three prompts a step: one process has one of them and the other two; the second began with other weights."""
    assert [found["count"] for found in both.found] == [2, 2]
    records, weights = both.one[name]
    assert both.found[0][name] == both.found[1][name]
    check_alike(records, both.found[0][name])
    first, second = both.weights(name)
    assert apart(first, second) == 0.0
    assert apart(first, weights) < CLOSE
    assert apart(first, joint_cases.weights(joint_cases.policy_of(1))) > 1e-3


def test_two_processes_go_on_from_what_one_began_and_the_other_way_round(both: Both) -> None:
    records, weights = both.one["ppo_minibatches"]
    check_alike(records, both.found[0]["continued"])
    assert apart(both.weights("continued")[1], weights) < CLOSE
    assert len(both.found[0]["begun"]) == 2
    again, policy = CASES["ppo_minibatches"].run(checkpoint=both.folder / "begun_by_two")
    check_alike(again, both.found[0]["continued"])
    assert apart(joint_cases.weights(policy), weights) < CLOSE
    assert again[0].seconds == both.found[0]["begun"][0]["seconds"]


def test_only_the_main_process_is_watched(both: Both) -> None:
    assert [found["watched"] for found in both.found] == [[0, 1], []]


def test_what_fails_in_one_process_ends_both(both: Both) -> None:
    first, second = (found["failure"] for found in both.found)
    assert second == "RuntimeError: no reward here"
    assert first == "RrmError: Sampling failed in process 1; its own message says why."


def test_a_step_of_fewer_prompts_than_processes_is_refused(both: Both) -> None:
    assert all("1 prompts (or pairs, or examples) in a step cannot" in found["too_few"] for found in both.found)


def test_shares_are_the_rows_in_order_and_differ_by_one_at_most() -> None:
    for total in range(9):
        shares = [list(Processes(rank=rank, count=4).share(total)) for rank in range(4)]
        assert [row for share in shares for row in share] == list(range(total))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_without_a_launcher_there_is_one_process_and_no_group() -> None:
    assert present_processes() == ONE
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("variable", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_who_divides_weights_or_optimiser_is_refused(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "true")
    with pytest.raises(InvalidInput, match=r"here each holds them whole; launch with .*ddp\.yaml"):
        CASES["rloo"].run()


def test_processes_that_cannot_reach_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    PartialState(cpu=True)  # of a process alone, and there it stays
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InvalidInput, match="2 processes were launched and 1 can reach each other"):
        present_processes()
