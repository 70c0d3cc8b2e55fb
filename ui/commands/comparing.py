"""Comparing: every objective on one reward model of a run."""

from pathlib import Path
from typing import Annotated

import typer

from ui.commands.shared import AsJson, RunFolder, Settings, show
from ui.progress import RichProgress
from ui.tables import terminal_width, text_table

LEGEND = """\
Gold is the true utility of test documents, proxy the reward that was trained on: means over seeds [95% intervals].
What stands at the KL, or "there", is read off each training where it passed that KL; "seeds there" did so.
"over rloo" is the difference in gold there, seed by seed. A dash: there is no such figure."""


def register(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command()(compare)


def compare(
    folder: RunFolder,
    level: Annotated[int, typer.Option(help="The level whose reward model is taken.", min=0)] = 0,
    round_: Annotated[
        int | None, typer.Option("--round", help="The round of it; left out: the last that has one.", min=0)
    ] = None,
    objectives: Annotated[
        str, typer.Option(metavar="NAMES", help="Which to compare, with commas between them; left out: all.")
    ] = "",
    seeds: Annotated[int, typer.Option(help="Trainings of each objective.", min=1)] = 3,
    steps: Annotated[int, typer.Option(help="Steps of a training.", min=1)] = 60,
    kl: Annotated[
        float, typer.Option(metavar="NATS", help="KL to the base that all are steered to and compared at.")
    ] = 1.0,
    beta: Annotated[
        float | None, typer.Option(help="One fixed price of a nat for all, instead of steering.", min=0)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the results go; left out: `compare` in the run.")
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Compare objectives: train with each on one reward model, from the base, to one KL, over several seeds.

    A table says what each made of the same reward, by gold, on test documents; best-of-n and a quantilizer stand
    beside them. Writes compare.json and compare.png. The run is only read; the same command goes on where it stopped.
    """
    from rrm.contest.contest import NAMES, Terms
    from rrm.contest.contest import compare as compare_objectives
    from rrm.opening import open_workbench

    names = tuple(name.strip() for name in objectives.split(",") if name.strip()) or NAMES
    terms = Terms(objectives=names, seeds=seeds, steps=steps, kl=kl, beta=beta)
    with (
        RichProgress() as progress,
        open_workbench(folder, overrides=settings or [], progress=progress) as bench,
    ):
        found = compare_objectives(bench, terms, level=level, round=round_, out=out)
    table = text_table(found.table(), width=terminal_width())
    text = f"{table}\n\n{LEGEND}\n\nWrote {found.json_path} and {found.figure_path}."
    show(found.to_json(), as_json=as_json, text=text)
