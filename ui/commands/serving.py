"""The reward model of a run, served to trainers that run elsewhere."""

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from ui.commands.shared import Level, RunFolder

TOKEN_VARIABLE = "RRM_TOKEN"
SHORTEST_TOKEN = 16


def register(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command(name="serve-reward")(serve)


def serve(
    folder: RunFolder,
    level: Level,
    host: Annotated[
        str,
        typer.Option(help="Where to listen. What it says is not encrypted: elsewhere, only in a network you trust."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Where to listen; 0 takes a free one.", min=0, max=65535)] = 8100,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Holds the token that requests must show; without it the environment variable RRM_TOKEN, and without "
            "that one is made and printed.",
            show_default=False,
        ),
    ] = None,
    end: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="A mark by which the policy's completions end, for OpenRLHF; the usual ones are known. May be "
            "repeated.",
        ),
    ] = None,
) -> None:
    """Serve the reward model of a level to other trainers: TRL, OpenRLHF, verl, or a program of your own.

    It is the model that `rrm score` uses: of the session that was made current in the page, else the last that a round
    fitted, as it is when the server starts. Rewards are those that agents are trained on, or that the session chose.
    Prompts are read as they come, without the sentences that the run's task puts around a document. Stop it with
    Ctrl+C.
    """
    import uvicorn

    from rrm.serving.queries import ENDS
    from rrm.serving.rewards import RunRewards
    from ui.page.listening import listen
    from ui.reward_server import Offered, make_app

    token, made = _token(token_file)
    listening = listen(host, port)
    found = RunRewards.open(folder, level=level)
    function = found.reward_function()
    ends = (*ENDS, *found.ends, *(end or ()))
    app = make_app(Offered(function, token=token, ends=ends, opening=found.opening))
    address = f"http://{host if ':' not in host else f'[{host}]'}:{listening.getsockname()[1]}/"
    typer.echo(
        f"{found.name} of {folder} ({found.members} members, `{function.conservative}` with {function.coefficient:g}): "
        f"{address}"
    )
    if made:
        typer.echo(f"Token, shown this once: {token}")
    typer.echo("Stop it with Ctrl+C.")
    # Without an access log: addresses may hold the token.
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2))
    server.run(sockets=[listening])


def _token(file: Path | None) -> tuple[str, bool]:
    """The token, and whether it was made here. Raises ConfigurationError for one that is easy to guess or to garble."""
    from rrm.errors import ConfigurationError

    try:
        given = file.read_text(encoding="utf-8") if file is not None else os.environ.get(TOKEN_VARIABLE)
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{file} holds bytes that are no text ({error}); name the file with the token, one line of ASCII."
        ) from error
    if given is None:
        return secrets.token_urlsafe(24), True
    token, source = given.strip(), f"{file}" if file is not None else f"the environment variable {TOKEN_VARIABLE}"
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(
            f"{source} holds no usable token; put at least {SHORTEST_TOKEN} characters of ASCII without blanks there, "
            "for example those that `openssl rand -hex 24` prints."
        )
    return token, False
