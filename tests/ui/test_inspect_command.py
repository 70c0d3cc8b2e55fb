"""The command `rrm inspect`: colours on a terminal, numbers elsewhere, a page and JSON."""

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from rrm.opening import open_workbench
from rrm.rounds import play_round
from rrm.starting import start_run
from rrm.transcripts import Token, Transcript
from tests.ui.tiny_runs import TINY, call
from ui.commands import inspecting

ESCAPE = "\x1b"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny run, played just so far that it has an agent."""
    made = tmp_path_factory.mktemp("inspected") / "run"
    start_run(made, [*TINY, "run.levels=1", "agent.steps=3", "agent.learning_rate=0.05"])
    with open_workbench(made) as bench:
        play_round(bench, level=0, round=0, until="optimise")
    return str(made)


def hostile() -> Transcript:
    pieces = ("[bold]#1[/bold]", " \x1b[2Jfire", "\n", "")
    tokens = tuple(
        Token(piece, piece or "<end>", cost, -0.1, -1.0, 0.2)
        for piece, cost in zip(pieces, (0.0, 0.5, 0.15, 2.0), strict=True)
    )
    return Transcript("agent-0-0", "log", "".join(pieces), tokens, 4.0)


def printed(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, colour: bool = True) -> str:
    """What the command prints of a transcript, on a terminal or not."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=terminal, highlight=False, markup=False, emoji=False, soft_wrap=True, width=200
    )
    inspecting.print_transcript(console, hostile(), heading="one", table=False)
    return out.getvalue()


def test_without_a_terminal_costly_tokens_have_their_nats_behind_them(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = call(capsys, "inspect", folder, "--samples", "2")
    assert ESCAPE not in said
    assert said.count("agent-0-0, completion") == 2 and "completion 2 of 2" in said
    found = json.loads(call(capsys, "inspect", folder, "--samples", "2", "--json"))["transcripts"]
    dear = [token["kl"] for one in found for token in one["tokens"] if token["kl"] >= 0.3]
    assert dear, "an agent this eager must have turned from the base somewhere"
    text, legend = said.split("⟨1.23⟩: ")
    assert legend.startswith("the nats of the token before it, from 0.3.")
    assert [float(one) for one in re.findall(r"⟨(\d+\.\d\d)⟩", text)] == [round(one, 2) for one in dear]
    assert all(f"{one['total']:.2f} nats over" in said for one in found)
    for one in found:
        assert one["running"][-1] == pytest.approx(sum(token["kl"] for token in one["tokens"]))
        assert "".join(token["piece"] for token in one["tokens"]) == one["text"]


def test_every_token_in_a_table(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(call(capsys, "inspect", folder, "agent-0-0", "--document", "2", "--json"))["transcripts"][0]
    lines = call(capsys, "inspect", folder, "agent-0-0", "--document", "2", "--table").splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("token "))
    assert lines[start].split() == ["token", "nats", "so", "far", "probability", "base", "entropy"]
    rows = lines[start + 1 : start + 1 + len(found["tokens"])]
    assert [row.split()[-5] for row in rows] == [f"{token['kl']:.3f}" for token in found["tokens"]]


def test_a_page_is_written(folder: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "agent.html"
    assert f"Wrote {page}." in call(capsys, "inspect", folder, "base", "--prompt", "#1 fire", "--html", str(page))
    text = page.read_text("utf-8")
    assert text.startswith("<!doctype html>") and "Where base spends its nats" in text
    assert list(tmp_path.iterdir()) == [page]


def test_colours_on_a_terminal_and_nothing_that_the_text_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    said = printed(monkeypatch, terminal=True)
    assert "\x1b[1;31m" in said and "⟨0.50⟩" not in said
    assert "\x1b[2J" not in said and "␛[2Jfire" in said
    assert "[bold]#1[/bold]" in said
    plain = printed(monkeypatch, terminal=False)
    assert ESCAPE not in plain and "␛[2Jfire⟨0.50⟩↵\n⟨<end>⟩⟨2.00⟩" in plain
    without = printed(monkeypatch, terminal=True, colour=False)
    assert "\x1b[1;31m" not in without and "fire⟨0.50⟩" in without


def test_what_does_not_go_together_is_a_sentence(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "excludes" in call(capsys, "inspect", folder, "--prompt", "x", "--level", "0", code=2)
    assert "There is no agent 'x'" in call(capsys, "inspect", folder, "x", code=1)
