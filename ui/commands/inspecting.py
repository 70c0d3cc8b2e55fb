"""Looking into an agent: what it writes, and what each token of it costs."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ui.commands.shared import AsJson, RunFolder, show
from ui.tables import terminal_width, text_table

if TYPE_CHECKING:
    from rich.console import Console

    from rrm.transcripts import Transcript

STYLES = ("", "yellow", "bold yellow", "bold red", "bold reverse red")
"""How a token looks on a terminal, by its shade."""
LONGEST_NAME = 28
"""Letters of a token's name in a table; more would not fit beside the numbers on a narrow terminal."""
NUMBERED = 3
"""Shade from which a token has its nats behind it where there are no colours."""


def register(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command()(inspect)


def inspect(
    folder: RunFolder,
    agent: Annotated[
        str | None,
        typer.Argument(
            metavar="[AGENT]",
            help="An agent such as `agent-0-0`, or `base`; left out: the one that was trained last.",
            show_default=False,
        ),
    ] = None,
    level: Annotated[
        int | None, typer.Option(help="Brief a document of this level; left out: of the agent's own.", min=0)
    ] = None,
    document: Annotated[
        int | None, typer.Option(metavar="N", help="The place of the validation document; left out: 0.", min=0)
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Continue this text instead of a document.")
    ] = None,
    samples: Annotated[int, typer.Option(help="How many completions.", min=1, max=64)] = 1,
    table: Annotated[bool, typer.Option("--table", help="Print every token with its numbers.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one page that needs nothing else, with the marked text.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show where an agent spends its nats: a completion with the exact KL(agent || base) of every token.

    Costly tokens are coloured; for the costliest tenth it says what agent and base would rather have written. The same
    call shows the same completions, and the run is not changed.
    """
    if prompt is not None and (document is not None or level is not None):
        raise typer.BadParameter("--prompt stands instead of a document, so it excludes --document and --level.")
    from rrm.inspecting import inspect_agent

    found = inspect_agent(folder, agent=agent, level=level, document=document or 0, prompt=prompt, samples=samples)
    written = _write(html, found)
    if as_json:
        show({"folder": str(folder), "transcripts": [one.to_json() for one in found]}, as_json=True, text="")
        return
    from rich.console import Console

    from rrm.transcripts import SHADES

    # What a model wrote is no markup.
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)
    for number, one in enumerate(found, start=1):
        print_transcript(console, one, heading=f"{one.agent}, completion {number} of {len(found)}", table=table)
    limits = ", ".join(f"{limit:g}" for limit in SHADES)
    numbered = f"⟨1.23⟩: the nats of the token before it, from {SHADES[NUMBERED - 1]:g}."
    typer.echo(f"Colours change at {limits} nats." if _has_colours(console) else numbered)
    typer.echo(written or ("" if table else "Every token with its numbers: --table. ") + "A page to keep: --html FILE.")


def _write(html: Path | None, found: "Sequence[Transcript]") -> str:
    if html is None:
        return ""
    from rrm.transcript_page import write_page

    write_page(html, found, title=f"Where {found[0].agent} spends its nats")
    return f"Wrote {html}."


def print_transcript(console: "Console", found: "Transcript", *, heading: str, table: bool) -> None:
    """Print a completion: in colours where there are any, else with the nats behind its costly tokens."""
    from rich.text import Text

    from rrm.transcript_page import alternatives
    from rrm.transcripts import in_words

    coloured = _has_colours(console)
    text = Text()
    for token in found.tokens:
        number = f"⟨{token.kl:.2f}⟩" if token.shade >= NUMBERED and not coloured else ""
        shown, end = (token.shown[:-1], "\n") if token.shown.endswith("\n") else (token.shown, "")
        text.append(shown, style=STYLES[token.shade] if coloured else "").append(number + end)
    console.print(f"{heading}: {in_words(found)}\n")
    console.print(text)
    console.print()
    if table:
        console.print(_table(found) + "\n")
        return
    for name, agent, base in alternatives(found):
        console.print(f"{name}\n    the agent: {agent}\n    the base:  {base}")
    console.print()


def _has_colours(console: "Console") -> bool:
    return console.is_terminal and not console.no_color and console.color_system is not None


def _table(found: "Transcript") -> str:
    from rrm.transcript_page import token_rows

    # A token can be a whole sentence, which would tear the table apart.
    widths = {"nats": 7, "so far": 7, "probability": 11, "base": 7, "entropy": 7}
    rows = [
        {"token": name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 2]}…{name[-1]}"}
        | {head.rjust(width): cell.rjust(width) for (head, width), cell in zip(widths.items(), cells, strict=True)}
        for name, *cells in token_rows(found)
    ]
    return text_table(rows, width=terminal_width())
