"""Fits by two real processes: the losses and weights of one; joint_fits.py has the cases."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from tests.launching import launched
from tests.reward_models import joint_fits
from tests.reward_models.joint_fits import Broken, Outcome, break_off

CLOSE = 1e-4
"""Of every loss and weight; a step of AdamW is 2e-3 at first, and makes most of what rounding does to a small
gradient."""
KINDS = ("lora", "full")


@dataclass(frozen=True)
class Both:
    """What two processes found, and one."""

    found: list[dict[str, Any]]
    """By process."""
    folder: Path
    one: dict[str, Outcome]
    """By kind."""

    def tensors(self, name: str) -> list[dict[str, Tensor]]:
        """By process."""
        return [load_file(self.folder / f"{name}.{rank}.safetensors") for rank in (0, 1)]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Both:
    folder = tmp_path_factory.mktemp("two")
    for kind in KINDS:
        with suppress(Broken):
            joint_fits.run(kind, checkpoint=folder / f"{kind}_begun_by_one", watch=break_off)
    with launched("tests.reward_models.joint_fits", [str(folder)], root=repository):
        one = {kind: joint_fits.run(kind) for kind in KINDS}
    found = [json.loads((folder / f"found.{rank}.json").read_text()) for rank in (0, 1)]
    return Both(found, folder, one)


def apart(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Largest difference of a weight."""
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def check_alike(record: Any, stored: dict[str, Any]) -> None:
    """All figures of a fit."""
    for name, value in asdict(record).items():
        assert stored[name] == pytest.approx(value, rel=CLOSE, abs=CLOSE), name


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_fit_what_one_fits(both: Both, kind: str) -> None:
    record, tensors = both.one[kind]
    assert record.comparisons % 8 == 1  # of the last minibatch of a pass one process has nothing
    assert both.found[0][kind] == both.found[1][kind]
    check_alike(record, both.found[0][kind])
    first, second = both.tensors(kind)
    assert apart(first, second) == 0.0
    assert apart(first, tensors) < CLOSE


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_go_on_from_what_one_began_and_the_other_way_round(both: Both, kind: str) -> None:
    record, tensors = both.one[kind]
    check_alike(record, both.found[0][f"{kind}_continued"])
    assert apart(both.tensors(f"{kind}_continued")[0], tensors) < CLOSE
    again, after = joint_fits.run(kind, checkpoint=both.folder / f"{kind}_begun_by_two")
    check_alike(again, both.found[0][kind])
    assert apart(after, tensors) < CLOSE


def test_only_the_main_process_is_watched_and_what_it_raises_ends_all(both: Both) -> None:
    steps = both.one["lora"][0].steps
    assert [found["watched"] for found in both.found] == [list(range(1, steps + 1)), []]
    assert [both.found[rank]["lora_broken"] for rank in (0, 1)] == ["Broken", "RrmError"]


def test_what_the_main_process_says_is_heard_by_all(both: Both) -> None:
    assert [found["said"] for found in both.found] == ["höre", "höre"]


def test_gradients_are_added_up_and_what_none_has_stays_without(both: Both) -> None:
    """1 + 2 = 3 times (1, 2); what one process has counts as it is; AdamW would decay what got a gradient of zeros."""
    assert [found["summed"] for found in both.found] == [[[3.0, 6.0], [5.0, 7.0], None]] * 2
