"""Judgements, completions and models into a run and out of it."""

from pathlib import Path
from typing import Annotated

import typer

from ui.commands.shared import AsJson, RunFolder, show
from ui.progress import RichProgress


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(name="import")(import_)
    app.command()(export)


def import_(
    folder: RunFolder,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Preference data: a file, a folder, or a name on the Hugging Face hub.",
            show_default=False,
        ),
    ],
    level: Annotated[int, typer.Option(help="The level whose reward models learn from it.", min=0)] = 0,
    split: Annotated[str | None, typer.Option(help="The split of a data set.", show_default=False)] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Of text files that are not UTF-8, such as latin-1.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring judgements that were given elsewhere into a run: several raters of a pair stay apart.

    Read are prompt, chosen and rejected; first, second and label; and lists of votes, in JSONL, CSV, TSV or Parquet. A
    fifth of the prompts is held out. Every row that cannot be used is named and counted. Imported twice, nothing is
    there twice.
    """
    from rrm.importing import import_preferences, learning_round
    from rrm.run_folder import open_run_folder
    from rrm.store import utc_now

    with open_run_folder(folder) as opened, RichProgress() as progress:
        learns = learning_round(opened, level=level)
        found = import_preferences(
            opened.run,
            opened.task,
            source,
            now=utc_now(),
            progress=progress,
            level=level,
            split=split,
            encoding=encoding,
        )
    show(found.to_json(), as_json=as_json, text=f"{found.text()}\n{_what_learns(folder, level, learns)}")


def _what_learns(folder: Path, level: int, round_: int | None) -> str:
    if round_ is None:
        return f"Level {level} is fitted already: a session learns from them, on the page Train of rrm ui {folder}"
    place = f" --level {level} --round {round_}" if level or round_ else ""
    return f"Fit a reward model to them: rrm fit {folder}{place}"


def export(
    folder: RunFolder,
    to: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder.", show_default=False)],
    models: Annotated[bool, typer.Option(help="Write reward models and agents as well.")] = True,
    as_json: AsJson = False,
) -> None:
    """Take a run away: preferences, every answer, a database for Datasette, and models with their cards."""
    from rrm.opening import open_workbench
    from rrm.taking_away.export import export_run

    with RichProgress() as progress, open_workbench(folder, progress=progress, exclusive=False) as bench:
        found = export_run(bench, to, models=models)
    lines = [
        f"Wrote {found.answers.preferences} preferences and {found.answers.ties} ties, every answer, and the database "
        f"to {to}.",
        *(f"  {one.folder}: {one.what}" for one in found.models),
        f"What is where: {to / 'README.md'}",
    ]
    show(found.to_json(), as_json=as_json, text="\n".join(lines))
