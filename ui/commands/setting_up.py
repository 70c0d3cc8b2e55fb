"""Before a run: its folder and its configuration, and the model and text that it brings."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ui.commands.shared import AsJson, RunFolder, Settings, show
from ui.progress import RichProgress

if TYPE_CHECKING:
    from rrm.starting_own import Started


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command()(init)


def init(
    folder: RunFolder,
    model: Annotated[
        str | None,
        typer.Option(help="Your model: a local folder, or a name on the Hugging Face hub.", show_default=False),
    ] = None,
    documents: Annotated[
        str | None,
        typer.Option(
            help="Your text, to be briefed part by part: a folder, a Markdown, text, HTML or PDF file, or a data set.",
            show_default=False,
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="Your prompts, without recursion: a text file (one a line) or a data set.", show_default=False
        ),
    ] = None,
    preferences: Annotated[
        str | None,
        typer.Option(help="Judgements that you have already: their prompts, and the answers.", show_default=False),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help="The column of a data set that holds the documents or prompts.", show_default=False),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Of text files that are not UTF-8, such as latin-1.", show_default=False)
    ] = None,
    guidelines: Annotated[
        Path | None, typer.Option(help="A Markdown file with what raters are told.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Every random choice of the run follows from this number.")] = 0,
    levels: Annotated[
        int | None, typer.Option(help="How many levels the recursion climbs; left out: 3, and 1 of prompts.")
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Start a run: make its folder and write run.toml, where each setting is explained.

    Without `--model` the run is on the embedded task, and nothing is computed yet. With it, give `--documents`,
    `--prompts` or `--preferences` as well: model and text are read once, and what cannot be used is named. Change what
    you like in run.toml, then go on with `rrm round RUN`.
    """
    from rrm.config import FILE_NAME
    from rrm.starting import start_run

    own = {"documents": documents, "prompts": prompts, "preferences": preferences}
    overrides = [f"run.seed={seed}", *([] if levels is None else [f"run.levels={levels}"]), *(settings or [])]
    path = folder / FILE_NAME
    if model is None and not any(own.values()):
        config = start_run(folder, overrides, guidelines=guidelines)
        show(
            {"folder": str(folder), "configuration": str(path), "settings": config.model_dump(mode="json")},
            as_json=as_json,
            text=f"Wrote {path}. Change what you like in it, then: rrm round {folder}",
        )
        return
    if model is None:
        raise typer.BadParameter("your own text needs your own model: give --model, a folder or a name on the hub")
    reading = {"column": column, "encoding": encoding}
    started = _start_own(folder, model, own | reading, guidelines=guidelines, overrides=overrides)
    value = {
        "folder": str(folder),
        "configuration": str(path),
        "settings": started.config.model_dump(mode="json"),
        "parameters": started.parameters,
        "documents": started.prepared.sizes,
        "imported": None if started.imported is None else started.imported.to_json(),
    }
    show(value, as_json=as_json, text=_own_text(folder, path, started))


def _start_own(
    folder: Path,
    model: str,
    own: dict[str, str | None],
    *,
    guidelines: Path | None,
    overrides: list[str],
) -> "Started":
    from rrm.starting_own import OwnMaterial, start_own_run

    material = OwnMaterial(model=model, guidelines=guidelines, **own)
    with RichProgress() as progress:
        return start_own_run(folder, material, overrides, progress=progress)


def _own_text(folder: Path, path: Path, started: "Started") -> str:
    agent = started.config.agent
    trained = "all of them are trained" if agent.weights == "full" else f"LoRA adapters of rank {agent.lora_rank} are"
    lines = [
        f"The model has {started.parameters:,} parameters; {trained}.",
        started.prepared.text(),
        *([] if started.imported is None else [started.imported.text()]),
        f"Wrote {path}. Change what you like in it, then: rrm round {folder}",
        f"People judge in the page: rrm ui {folder}",
    ]
    return "\n".join(lines)
