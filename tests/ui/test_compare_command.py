"""`rrm compare`: a table for a person, JSON for a program, one sentence where it cannot be."""

from pathlib import Path

import pytest

from tests.ui.tiny_runs import call, call_json, start


@pytest.fixture
def fitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """A tiny run up to its first reward model."""
    folder = start(capsys, tmp_path / "run")
    call(capsys, "fit", folder)
    return folder


def test_a_comparison_from_the_command_line(fitted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("compare", fitted, "--objectives", "rloo,", "--seeds", "1", "--steps", "2", "--kl", "0.1")
    text = call(capsys, *asked, "--out", str(tmp_path / "out"))
    assert "gold at 0.1 nats" in text and "best of 2" in text and "quantilizer" in text
    assert '"over rloo" is the difference in gold there' in text
    assert str(tmp_path / "out" / "compare.json") in text
    assert (tmp_path / "out" / "compare.png").is_file()
    found = call_json(capsys, *asked)
    assert [standing["name"] for standing in found["standings"]] == ["rloo", "best of 2", "quantilizer"]
    assert found["setting"]["steps"] == 2


def test_what_cannot_be_compared_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = start(capsys, tmp_path / "run")
    said = call(capsys, "compare", folder, "--objectives", "rloo,magic", code=1)
    assert said.startswith("No objective is called 'magic'; choose of rloo") and said.count("\n") == 1
    said = call(capsys, "compare", folder, "--objectives", "rloo", code=1)
    assert "No reward model is fitted at level 0 of" in said and said.count("\n") == 1
    said = call(capsys, "compare", str(tmp_path / "nowhere"), code=1)
    assert "There is no run in" in said
