"""Before a run: its folder and its configuration."""

from typing import Annotated

import typer

from ui.commands.shared import AsJson, RunFolder, Settings, show


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command()(init)


def init(
    folder: RunFolder,
    seed: Annotated[int, typer.Option(help="Every random choice of the run follows from this number.")] = 0,
    levels: Annotated[int, typer.Option(help="How many levels the recursion climbs.")] = 3,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Start a run: make its folder and write run.toml, where each setting is explained.

    Nothing is computed yet. Change what you like in run.toml, then go on with `rrm round RUN`.
    """
    from rrm.config import FILE_NAME
    from rrm.starting import start_run

    config = start_run(folder, [f"run.seed={seed}", f"run.levels={levels}", *(settings or [])])
    path = folder / FILE_NAME
    show(
        {"folder": str(folder), "configuration": str(path), "settings": config.model_dump(mode="json")},
        as_json=as_json,
        text=f"Wrote {path}. Change what you like in it, then: rrm round {folder}",
    )
