"""Real runs that are as small as they can be, played through the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from ui.cli import main

TINY = (
    "run.threads=1",
    "run.levels=2",
    "sampling.train_documents=6",
    "sampling.validation_documents=6",
    "sampling.test_documents=6",
    "sampling.completions_per_document=3",
    "sampling.max_new_tokens=24",
    "judging.judgements_per_round=12",
    "judging.validation_judgements=6",
    "judging.promotion_judgements=6",
    "agent.steps=2",
    "agent.prompts_per_step=2",
    "agent.group=2",
)


def settings(*more: str) -> list[str]:
    """The flags of a tiny run, with further settings on top."""
    return [word for setting in (*TINY, *more) for word in ("--set", setting)]


def call(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """What a command says: on standard output if it succeeds, on standard error if it must fail with `code`."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    said = capsys.readouterr()
    assert leaving.value.code == code, said.err
    assert "Traceback" not in said.err
    return said.out if code == 0 else said.err


def call_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What a command prints with `--json`."""
    return json.loads(call(capsys, *arguments, "--json"))


def start(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> str:
    """Begin a tiny run and return its folder as a word of a command line."""
    call(capsys, "init", str(folder), *settings(*more))
    return str(folder)
