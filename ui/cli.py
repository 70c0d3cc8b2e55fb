"""The command `rrm`: the commands put together, and the one place where failures become sentences."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from ui import failures
from ui.commands import (
    base_model,
    comparing,
    demonstration,
    inspecting,
    looking,
    measuring,
    moving,
    own_text,
    page,
    people,
    rounds,
    serving,
    setting_up,
)

app = typer.Typer(
    name="rrm",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help=(
        "Recursive reward modeling: people judge pairs of texts, an ensemble of reward models learns from them, an "
        "agent is trained on that reward, and then helps people to judge harder work.\n\n"
        "Start with `rrm demo`. For a run of your own: `rrm init`, then `rrm round` as often as you like."
    ),
    epilog="Exit codes: 0 done, 1 not possible (it says why), 2 not understood, 70 internal error, 130 interrupted.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"rrm {version('rrm')}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Options that stand before a command."""


for commands in (
    demonstration,
    setting_up,
    page,
    people,
    rounds,
    looking,
    inspecting,
    measuring,
    comparing,
    own_text,
    moving,
    serving,
    base_model,
):
    commands.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line (default: this process's) and leave with its exit code; see `ui.failures` for the codes."""
    # The progress of a command is the only bar on the screen; libraries that load weights would draw theirs into it.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        app(list(arguments) if arguments is not None else None, prog_name="rrm")
    except SystemExit as leaving:
        if leaving.code == failures.INTERRUPTED:
            failures.report(failures.INTERRUPTED_SENTENCE)
        raise
    except KeyboardInterrupt:
        failures.report(failures.INTERRUPTED_SENTENCE)
        sys.exit(failures.INTERRUPTED)
    except Exception as error:
        sentence, code = failures.explain(error)
        failures.report(sentence)
        sys.exit(code)


if __name__ == "__main__":
    main()
