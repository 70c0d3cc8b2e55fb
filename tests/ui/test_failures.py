"""Whatever goes wrong, a person reads one sentence, a program gets a code, and nobody sees a traceback."""

import errno
import json
from pathlib import Path

import pytest
import typer

from reward_models.errors import InvalidInput
from rrm.errors import DiskFull, RunMissing
from ui import cli, failures


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        cli.main(arguments)
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """An application with one command that raises what the test puts into this list."""
    raised: list[BaseException] = []
    application = typer.Typer(pretty_exceptions_enable=False)

    @application.command()
    def fail() -> None:
        raise raised[0]

    monkeypatch.setattr(cli, "app", application)
    return raised


def test_help_and_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    assert "rrm init" in capsys.readouterr().out
    assert run("init", "--help") == 0
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["nosuchcommand"], ["init"], ["init", "x", "--nosuch"], ["init", "x", "--seed", "a"]]
)
def test_what_is_not_understood_leaves_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_init_writes_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("init", str(tmp_path / "run"), "--seed", "7", "--set", "agent.steps=9", "--json") == 0
    written = json.loads(capsys.readouterr().out)
    assert written["settings"]["run"]["seed"] == 7
    assert written["settings"]["agent"]["steps"] == 9
    assert Path(written["configuration"]).is_file()


def test_a_refused_setting_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("init", str(tmp_path / "run"), "--set", "agent.step=9") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "in the flags: unknown key agent.step; did you mean agent.steps?\n"


def test_our_errors_become_their_sentence(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(RunMissing("there is no run in runs/x;\n make one with `rrm init runs/x`"))
    assert run() == 1
    assert capsys.readouterr().err == "there is no run in runs/x; make one with `rrm init runs/x`.\n"
    failing[0] = InvalidInput("")
    assert run() == 1
    assert capsys.readouterr().err == "The command failed without a reason.\n"


def chained(outer: Exception, cause: Exception) -> Exception:
    outer.__cause__ = cause
    return outer


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        DiskFull("while writing run.db"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        chained(ValueError("could not save"), OSError(errno.ENOSPC, "No space left on device")),
        chained(RuntimeError("write"), RuntimeError("database or disk is full")),
    ],
)
def test_a_full_disk_is_recognised(
    error: Exception, failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(error)
    assert run() == 1
    said = capsys.readouterr().err
    assert said.startswith(failures.DISK_FULL_SENTENCE)
    assert said.count("\n") == 1


def test_an_interrupt_says_how_to_go_on(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(KeyboardInterrupt())
    assert run() == 130
    assert capsys.readouterr().err.strip() == failures.INTERRUPTED_SENTENCE


def test_a_missing_file_is_named(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(FileNotFoundError(errno.ENOENT, "No such file or directory", "notes.txt"))
    assert run() == 1
    assert capsys.readouterr().err == "notes.txt: No such file or directory.\n"


def test_an_unexpected_error_leaves_its_traceback_in_a_file(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures.tempfile, "tempdir", str(tmp_path))
    failing.append(ZeroDivisionError("division\nby zero"))
    assert run() == 70
    said = capsys.readouterr().err
    (path,) = tmp_path.iterdir()
    assert said.count("\n") == 1
    assert "ZeroDivisionError: division by zero" in said
    assert str(path) in said
    assert "Traceback (most recent call last)" in path.read_text()


def test_an_unexpected_error_without_room_for_its_traceback(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures.tempfile, "tempdir", str(tmp_path / "missing"))
    failing.append(ZeroDivisionError("x" * 1000))
    assert run() == 70
    said = capsys.readouterr().err
    assert "could not be written" in said
    assert len(said) < 500
