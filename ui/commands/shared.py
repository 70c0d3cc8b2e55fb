"""Options that several commands have, and how results are shown."""

import json
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of the run.", show_default=False)]

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Lay a setting on top of run.toml, for example `--set agent.steps=40`; may be repeated.",
    ),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value for a program to read.")]

Level = Annotated[int, typer.Option(help="The level whose agent or reward model is meant.", min=0, show_default=False)]


def show(value: Any, *, as_json: bool, text: str) -> None:
    """Print the result: `value` as JSON for a program, or `text` for a person."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False) if as_json else text)


def program() -> str:
    """How this person calls this program: `rrm` where that is found, else its path (as in a clone's `.venv`)."""
    called = Path(sys.argv[0])
    return "rrm" if called.name != "rrm" or shutil.which("rrm") else str(called)
