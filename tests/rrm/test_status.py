"""Where a run stands, before, while and after something was done."""

import json
from pathlib import Path

import pytest

from rrm.errors import RunMissing
from rrm.starting import start_run
from rrm.status import status
from rrm.store.run import Run
from rrm.store.steps import begin_step, fail_step, finish_step

NOON = "2026-01-02T12:00:00Z"


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunMissing):
        status(tmp_path)


def test_a_configured_run(tmp_path: Path) -> None:
    start_run(tmp_path, ["run.seed=7"])
    found = status(tmp_path)
    assert (found.started, found.seed, found.steps, found.missing_judgements) == (False, 7, (), 0)
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]


def test_steps_in_the_order_of_their_beginning(tmp_path: Path) -> None:
    with Run.create(tmp_path, seed=3, configuration={}, now=NOON) as run:
        for name in ("sample", "judge", "fit"):
            begin_step(run, level=0, round=0, name=name, now=NOON)
        finish_step(run, "0/0/sample", {"completions": 4}, now=NOON)
        fail_step(run, "0/0/fit", "a score became NaN", now=NOON)
    found = status(tmp_path)
    assert [(step.name, str(step.status)) for step in found.steps] == [
        ("sample", "finished"),
        ("judge", "running"),
        ("fit", "failed"),
    ]
    shown = json.loads(json.dumps(found.to_json()))
    assert shown["steps"][2]["error"] == "a score became NaN"
    assert shown["seed"] == 3
