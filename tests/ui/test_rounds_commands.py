"""The commands that work on a run: a round, and its parts."""

from pathlib import Path

import pytest

from tests.ui.tiny_runs import call, call_json, start

Capsys = pytest.CaptureFixture[str]


def test_a_round_step_by_step(tmp_path: Path, capsys: Capsys) -> None:
    folder = start(capsys, tmp_path / "run", "run.levels=1")
    finished: list[str] = []
    for command, last in (("sample", "select"), ("fit", "fit"), ("train", "optimise"), ("round", "promote")):
        said = call_json(capsys, command, folder)
        (played,) = said["rounds"]
        assert (played["level"], played["round"], played["waiting"]) == (0, 0, 0)
        assert list(played["steps"])[: len(finished)] == finished
        assert played["finished"] is (last == "promote")
        finished = list(played["steps"])
        assert finished[-1] == last
    assert said["over"] is True
    assert call_json(capsys, "round", folder) == {"folder": folder, "over": True, "rounds": []}
    assert call(capsys, "train", folder).startswith("Every round of this run is over")


def test_the_same_command_again_changes_nothing(tmp_path: Path, capsys: Capsys) -> None:
    folder = start(capsys, tmp_path / "run")
    first = call_json(capsys, "fit", folder)
    assert call_json(capsys, "fit", folder) == first
    assert call(capsys, "sample", folder) == (
        f"Level 0, round 0: done so far are sample, select, assist, judge, fit. Go on with: rrm round {folder}\n"
    )


def test_people_are_waited_for(tmp_path: Path, capsys: Capsys) -> None:
    folder = start(capsys, tmp_path / "run", "judging.rater=people")
    (played,) = call_json(capsys, "round", folder)["rounds"]
    assert list(played["steps"]) == ["sample", "select", "assist"]
    needed = sum(count["needed"] for count in call_json(capsys, "status", folder)["judgements"])
    assert played["waiting"] == needed > 0
    assert f"waits for {needed} judgements. Go on when they are given" in call(capsys, "round", folder, "--all")
    assert "waits for" in call(capsys, "status", folder).splitlines()[-1]


def test_a_person_decides_on_a_promotion(tmp_path: Path, capsys: Capsys) -> None:
    folder = start(capsys, tmp_path / "run", "rounds.promotion=ask")
    assert "waits for a decision" not in call(capsys, "train", folder)
    assert "No promotion" in call(capsys, "round", folder, "--approve", code=1)
    said = call(capsys, "round", folder)
    assert "Level 0, round 0 waits for a decision: the new agent won" in said
    assert call_json(capsys, "round", folder)["rounds"][0]["waiting_for_decision"] is True
    assert call_json(capsys, "round", folder, "--approve") == {
        "folder": folder,
        "level": 0,
        "round": 0,
        "promoted": True,
        "over": False,
    }
    (following,) = call_json(capsys, "sample", folder)["rounds"]
    assert (following["level"], following["round"]) == (1, 0)


def test_levels_come_in_their_order(tmp_path: Path, capsys: Capsys) -> None:
    folder = start(capsys, tmp_path / "run")
    assert "stands on round 0 of level 0, which is not over" in call(capsys, "sample", folder, "--level", "1", code=1)
    assert "There is no round 0 at level 2" in call(capsys, "sample", folder, "--level", "2", code=1)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--all", "--approve"],
        ["--refuse", "--level", "0"],
        ["--all", "--level", "0"],
        ["--round", "1"],
        ["--level", "-1"],
        ["--nosuch"],
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], tmp_path: Path, capsys: Capsys) -> None:
    call(capsys, "round", str(tmp_path), *arguments, code=2)


@pytest.mark.parametrize("command", ["round", "sample", "fit", "train", "report"])
def test_a_missing_run_is_one_sentence(command: str, tmp_path: Path, capsys: Capsys) -> None:
    said = call(capsys, command, str(tmp_path / "nothing"), code=1)
    assert said.count("\n") == 1
    assert "rrm init" in said
