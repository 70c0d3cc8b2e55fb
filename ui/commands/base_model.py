"""The base model of the embedded task, rebuilt from its seed."""

from pathlib import Path
from typing import Annotated

import typer

from ui.commands.shared import AsJson, show
from ui.progress import RichProgress


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(name="build-base")(build_base)


def build_base(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder that the model is written to.")] = Path("runs/base"),
    seed: Annotated[
        int, typer.Option(help="Tokenizer, demonstrations and weights follow from this number.", min=0)
    ] = 0,
    steps: Annotated[
        int | None, typer.Option(help="Training steps; left out: as many as the shipped model had.", min=1)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train the base model of the embedded task again, by imitation of its demonstrators (under an hour on two cores).

    Writes a Hugging Face folder with a model card (README.md) that states how the model behaves at each level. Runs use
    the model that ships with the package; this one shows where that comes from.
    """
    from rrm.tasks.shiftlog.build import build_base as build

    with RichProgress() as progress:
        if steps is None:
            card = build(out, seed=seed, progress=progress)
        else:
            card = build(out, seed=seed, progress=progress, steps=steps)
    text = f"Wrote the base model to {out}. Its measured behaviour stands in {out / 'README.md'}."
    show(card.to_json(), as_json=as_json, text=text)
