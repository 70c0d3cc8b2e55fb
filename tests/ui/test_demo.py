"""The whole recursion by one command, and what can be done with the run that it leaves."""

import io
import json
import sys
from pathlib import Path

import pytest

from tests.ui.tiny_runs import call, call_json, settings

Capsys = pytest.CaptureFixture[str]
FIGURES = {"rater": {"alone", "assistant", "assisted"}, "policy": {"base", "agent"}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a demo that has been played to its end."""
    from ui.cli import main

    folder = str(tmp_path_factory.mktemp("demo") / "run")
    with pytest.raises(SystemExit) as leaving:
        main(["demo", "--out", folder, "--seed", "3", *settings()])
    assert leaving.value.code == 0
    return folder


def test_the_report_has_the_names_that_programs_read(finished: str, capsys: Capsys) -> None:
    written = json.loads((Path(finished) / "report" / "report.json").read_text())
    assert written["seed"] == 3
    assert [level["level"] for level in written["levels"]] == [0, 1]
    for level in written["levels"]:
        assert set(level["rater"]) == FIGURES["rater"]
        assert {name: set(figures) for name, figures in level["policy"].items()} == {
            name: {"gold", "invented", "kl"} for name in FIGURES["policy"]
        }
        assert {"accuracy", "ece", "spread_error_spearman"} <= set(level["reward_model"])
    assert written["levels"][0]["rater"]["assisted"] is None
    assert call_json(capsys, "report", finished) == written


def test_the_demo_ends_with_a_table_the_files_and_what_to_do_next(finished: str, capsys: Capsys) -> None:
    said = call(capsys, "demo", "--out", finished, "--seed", "3", *settings())
    table, rest = said.split(f"\n{finished}\n")
    assert table.lstrip().startswith("level  ")
    assert {line.split()[0] for line in table.splitlines() if line.strip()} == {"level", "0", "1"}
    for name in ("run.toml", "run.db", "models", "report/report.html", "report/report.json"):
        assert f"\n  {name} " in f"\n{rest}"
        assert (Path(finished) / name).exists()
    assert f"open {finished}/report/report.html in a browser" in rest
    assert "rrm init runs/mine" in rest and "rrm round runs/mine" in rest


def test_a_finished_run_is_whole_and_over(finished: str, capsys: Capsys) -> None:
    assert "is whole" in call(capsys, "verify", finished)
    assert call_json(capsys, "round", finished)["over"] is True
    state = call_json(capsys, "status", finished)
    assert state["missing_judgements"] == 0
    assert {step["status"] for step in state["steps"]} == {"finished"}


def test_own_text_is_briefed(finished: str, tmp_path: Path, capsys: Capsys) -> None:
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("Day 1, early shift.\n#1 fire, pump 3. The crew was there.\n", encoding="utf-8")
    two.write_text("The Pumpe läuft wieder.\n", encoding="utf-8")
    arguments = ("generate", finished, "--level", "0", "--count", "2", str(one), str(two))
    first, second = call_json(capsys, *arguments)
    assert (first["source"], second["source"]) == (str(one), str(two))
    assert len(first["completions"]) == len(second["completions"]) == 2
    assert call_json(capsys, *arguments) == [first, second]
    assert f"{two}, written by {second['agent']}:\n\n{second['completions'][0]}" in call(capsys, *arguments)


def test_own_text_comes_from_standard_input(
    finished: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    text = "Day 1, early shift.\n#1 fire, pump 3. The crew was there.\n"
    (tmp_path / "one.txt").write_text(text, encoding="utf-8")
    (from_file,) = call_json(capsys, "generate", finished, "--level", "0", str(tmp_path / "one.txt"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    (piped,) = call_json(capsys, "generate", finished, "--level", "0")
    assert piped == from_file | {"source": "-"}


def test_briefs_of_own_text_are_scored(finished: str, tmp_path: Path, capsys: Capsys) -> None:
    for name, text in (("log", "#1 fire, pump 3. All safe.\n"), ("good", "#1 fire"), ("bad", "#2 explosion\n#3 fire")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    files = [str(tmp_path / name) for name in ("good", "bad")]
    arguments = ("score", finished, "--level", "0", "--document", str(tmp_path / "log"))
    good, bad = call_json(capsys, *arguments, *files)
    assert (good["source"], good["completion"]) == (files[0], "#1 fire")
    assert good["spread"] >= 0 and good["conservative"] <= good["mean"]
    # A score belongs to the completion, whatever stands beside it.
    assert call_json(capsys, *arguments, files[1])[0]["mean"] == pytest.approx(bad["mean"], abs=1e-4)
    assert call(capsys, *arguments, *files).splitlines()[1].startswith(files[0])


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"", "is empty"), (b" \n", "is empty"), (b"\xff\xfe", "is not UTF-8 text")]
)
def test_a_text_that_cannot_be_read_is_named(
    content: bytes, sentence: str, finished: str, tmp_path: Path, capsys: Capsys
) -> None:
    (tmp_path / "text").write_bytes(content)
    said = call(capsys, "generate", finished, "--level", "0", str(tmp_path / "text"), code=1)
    assert said.startswith(str(tmp_path / "text")) and sentence in said


def test_standard_input_is_read_once_only(finished: str, capsys: Capsys) -> None:
    said = call(capsys, "score", finished, "--level", "0", "--document", "-", "-", code=1)
    assert "once only" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "--nosuch"],
        ["demo", "--seed", "-1"],
        ["study", "--seeds", "0"],
        ["build-base", "--steps", "0"],
        ["generate", "run"],
        ["score", "run", "--level", "0", "text"],
    ],
)
def test_what_is_not_understood_leaves_with_2(arguments: list[str], capsys: Capsys) -> None:
    call(capsys, *arguments, code=2)


def test_a_study_of_one_level(tmp_path: Path, capsys: Capsys) -> None:
    folder = tmp_path / "study"
    said = call(
        capsys, "study", "--out", str(folder), "--seeds", "1", "--workers", "1", *settings("run.levels=1")
    ).splitlines()
    rows = json.loads((folder / "study.json").read_text())
    assert {row["arm"] for row in rows} == {"alone", "assistant", "assisted", "assisted-untrained", "gold"}
    assert all({"arm", "level", "label_accuracy", "agent_gold", "pgr"} <= set(row) for row in rows)
    assert said[0].split()[:2] == ["arm", "level"]
    assert said[-1].startswith(f"Wrote {folder / 'study.json'} and ")
