"""Measuring: the report of one run, and the study over arms and seeds."""

from pathlib import Path
from typing import Annotated

import typer

from ui.commands.shared import AsJson, RunFolder, Settings, show
from ui.progress import RichProgress
from ui.tables import terminal_width, text_table


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command()(report)
    app.command()(study)


def report(folder: RunFolder, as_json: AsJson = False) -> None:
    """Measure a run on its test documents and write report/report.html and report/report.json.

    How often a rater is right at each level, what the agent gained over the base model and at what KL, and how well
    the reward model predicts held-out judgements. Only reports know the truth of the embedded task.
    """
    from rrm.opening import open_workbench
    from rrm.report import write_report

    with RichProgress() as progress, open_workbench(folder, progress=progress) as bench:
        written = write_report(bench)
    table = text_table(written.table(), width=terminal_width())
    text = f"{table}\n\nWrote {written.html_path} and {written.json_path}."
    show(written.to_json(), as_json=as_json, text=text)


def study(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the study and of its runs.")] = Path("runs/study"),
    seeds: Annotated[
        int, typer.Option(help="How many seeds; each redraws documents, labels, heads and agent.", min=1)
    ] = 5,
    first_seed: Annotated[int, typer.Option(help="The first of them; the others follow it.", min=0)] = 0,
    workers: Annotated[
        int, typer.Option(help="Processes that work at once; 0 takes as many as the machine has cores.", min=0)
    ] = 0,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Measure whether mistakes add up: every arm at every level, over several seeds, with 95% intervals.

    The arms: the rater alone, the assistant alone, the rater assisted by the trained agent or by the untrained base,
    and labels from the truth. Writes study.json and the curve of error against depth. The same command resumes.
    """
    from rrm.study import study as run_study

    with RichProgress() as progress:
        found = run_study(
            out, seeds=seeds, first_seed=first_seed, overrides=settings or [], workers=workers, progress=progress
        )
    table = text_table(found.table(), width=terminal_width(), repeat=2)
    text = f"{table}\n\nWrote {found.json_path} and {found.figure_path}."
    show(found.to_json(), as_json=as_json, text=text)
