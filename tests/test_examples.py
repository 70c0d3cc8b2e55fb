"""The examples run as they stand."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_whole_loop(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = load(repository / "examples" / "whole_loop.py")
    utilities = example.main(logs=12, steps=10)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("24 judgements")
    assert said[1].startswith("step 10: reward")
    assert [line.split(":")[0] for line in said[2:]] == ["base", "agent"]
    # No brief can be worth more than the best one.
    assert set(utilities) == {"base", "agent"}
    assert max(utilities.values()) <= 1.0
