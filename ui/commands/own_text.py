"""The agents and reward models of a run, put to work on one's own text."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from reward_models.errors import InvalidInput
from ui import failures
from ui.commands.shared import AsJson, Level, RunFolder, show
from ui.tables import terminal_width, text_table

STANDARD_INPUT = "-"


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command()(generate)
    app.command()(score)


def generate(
    folder: RunFolder,
    level: Level,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="Texts to write for, one document a file; none or `-`: standard input."),
    ] = None,
    count: Annotated[int, typer.Option(help="Completions for each text.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="The completions drawn follow from this number.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Let the agent of a level write for your own text.

    The agent that stands at the level is asked: the promoted one, or the base model if none was promoted.
    """
    from rrm.own_text import generate as ask

    sources = files or [STANDARD_INPUT]
    found = ask(folder, read_texts(sources), level=level, count=count, seed=seed)
    value = [
        {"source": source, "agent": one.agent, "completions": list(one.completions)}
        for source, one in zip(sources, found, strict=True)
    ]
    blocks = [
        f"{source}, written by {one.agent}:\n\n" + "\n\n".join(one.completions)
        for source, one in zip(sources, found, strict=True)
    ]
    show(value, as_json=as_json, text="\n\n".join(blocks))


def score(
    folder: RunFolder,
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Completions to score, one a file; `-`: standard input.")
    ],
    level: Level,
    document: Annotated[
        str,
        typer.Option(
            metavar="FILE", help="The text that they were written for; `-`: standard input.", show_default=False
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Score completions for your own text by the reward model of a level; higher is better.

    That is the model of the session that was made current in the page, else the last that a round fitted. Scores of one
    document compare with each other: a difference of d means that a rater prefers the higher one with probability
    1 / (1 + exp(-d)). `spread` is how far the members of the ensemble disagree, `conservative` is the reward that
    agents are trained on, or that the session chose.
    """
    from rrm.own_text import score as rate

    text, *completions = read_texts([document, *files])
    found = rate(folder, text, completions, level=level)
    rows = [
        {"source": source, "mean": one.mean, "spread": one.spread, "conservative": one.conservative}
        for source, one in zip(files, found, strict=True)
    ]
    value = [row | {"completion": asdict(one)["completion"]} for row, one in zip(rows, found, strict=True)]
    show(value, as_json=as_json, text=text_table(rows, width=terminal_width()))


def read_texts(sources: list[str]) -> list[str]:
    """The texts of files, in UTF-8; `-` is standard input, at most once.

    Raises InvalidInput for a file that is not UTF-8 text or has nothing in it, and OSError for one that cannot be read.
    """
    if sources.count(STANDARD_INPUT) > 1:
        raise InvalidInput("Standard input (`-`) can be read once only; give files for the other texts.")
    return [_read(source) for source in sources]


def _read(source: str) -> str:
    name = "standard input" if source == STANDARD_INPUT else source
    try:
        text = _standard_input() if source == STANDARD_INPUT else Path(source).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name} is not UTF-8 text (byte {error.start} is not); convert it first.") from error
    if not text.strip():
        raise InvalidInput(f"{name} is empty; give it the text that is meant.")
    return text


def _standard_input() -> str:
    if sys.stdin.isatty():
        failures.report("Type or paste the text; end it with Ctrl-D.")
    return sys.stdin.buffer.read().decode("utf-8")
