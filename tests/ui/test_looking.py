"""The commands that look at a run."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rrm.store.run import Run
from rrm.store.steps import begin_step, fail_step
from rrm.store.texts import put_text
from ui.cli import main

NOON = "2026-01-02T12:00:00Z"


def shown(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    said = capsys.readouterr()
    assert leaving.value.code == code, said.err
    return said.out if code == 0 else said.err


def test_status_of_a_configured_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "run")
    shown(capsys, "init", folder, "--seed", "5")
    assert "seed 5) and not started" in shown(capsys, "status", folder)
    assert json.loads(shown(capsys, "status", folder, "--json"))["started"] is False


def test_status_of_a_started_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Run.create(tmp_path, seed=3, configuration={}, now=NOON) as run:
        begin_step(run, level=1, round=0, name="sample", now=NOON)
        begin_step(run, level=1, round=0, name="fit", now=NOON)
        fail_step(run, "1/0/fit", "a score became NaN", now=NOON)
    text = shown(capsys, "status", str(tmp_path))
    assert "running (last sign of life 2026-01-02T12:00:00.000000Z)" in text
    assert "failed: a score became NaN" in text


def test_status_without_a_run_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = shown(capsys, "status", str(tmp_path), code=1)
    assert said.count("\n") == 1
    assert "there is no run" in said


def test_verify_names_the_first_wrong_thing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Run.create(tmp_path, seed=3, configuration={}, now=NOON) as run:
        key = put_text(run, "the pump leaks")
    assert "is whole" in shown(capsys, "verify", str(tmp_path))
    assert json.loads(shown(capsys, "verify", str(tmp_path), "--json")) == {"whole": True, "findings": []}
    with closing(sqlite3.connect(tmp_path / "run.db")) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE texts SET text = 'the pump is fine'")
        connection.commit()
    said = shown(capsys, "verify", str(tmp_path), code=1)
    assert said.startswith(f"{tmp_path} is not whole: text {key} was changed")
    with pytest.raises(SystemExit) as leaving:
        main(["verify", str(tmp_path), "--json"])
    assert leaving.value.code == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["kind"] == "text"
