"""The main job in one command: the whole recursion on the embedded task, with simulated raters."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ui.commands.shared import AsJson, Settings, program, show
from ui.progress import RichProgress
from ui.tables import terminal_width, text_table

if TYPE_CHECKING:
    from rrm.report import Report

FILES = {
    "run.toml": "the settings, each with the sentence that explains it",
    "run.db": "everything that was asked, answered and decided: one SQLite file",
    "models": "reward models and agents, each traceable to the judgements that made it",
    "report/report.html": "the figures",
    "report/report.json": "the same for programs",
}
"""What lies in the folder of a run, in the order in which a person would look at it."""


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command()(demo)


def demo(
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the run; left out: runs/demo-SEED.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Every random choice of the run follows from this number.", min=0)] = 0,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Run the whole recursion offline: three levels of the embedded task, simulated raters, a report.

    It takes minutes and needs no GPU. Kill it at any moment: the same command goes on from there, to the same result.
    """
    from rrm.demo import demo as run_demo

    folder = out if out is not None else Path("runs") / f"demo-{seed}"
    with RichProgress() as progress:
        report = run_demo(folder, seed=seed, overrides=settings or [], progress=progress)
    show(report.to_json(), as_json=as_json, text=_demo_text(folder, report))


def _demo_text(folder: Path, report: "Report") -> str:
    return "\n".join(
        [
            "",
            text_table(report.table(), width=terminal_width()),
            "",
            *_files_lines(folder),
            "",
            f"To look at it, open {report.html_path} in a browser and {folder / 'run.db'} in any SQLite tool, for "
            f"example with `sqlite3 {folder / 'run.db'} .tables`.",
            f"`{program()} ui {folder}` opens its page: the ladder, the figures, and a place to judge.",
            f"To run it again on your own, `{program()} init runs/mine` writes settings that you can change, and "
            f"`{program()} round runs/mine` plays one round with them.",
        ]
    )


def _files_lines(folder: Path) -> list[str]:
    """The folder of a run and what lies in it, a line each."""
    found = {name: meaning for name, meaning in FILES.items() if (folder / name).exists()}
    width = max((len(name) for name in found), default=0)
    return [f"{folder}", *(f"  {name.ljust(width)}  {meaning}" for name, meaning in found.items())]
