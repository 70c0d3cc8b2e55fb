"""The page: where people judge, and from where sessions and rounds are started and watched."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ui.commands.shared import RunFolder, Settings

if TYPE_CHECKING:
    from rrm.run_folder import RunFolder as OpenedRun

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def register(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command(name="ui")(serve)


def serve(
    folder: RunFolder,
    host: Annotated[
        str, typer.Option(help="Where to listen. Anything but this machine (127.0.0.1) needs accounts: `rrm people`.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Where to listen; 0 takes a free one.", min=0, max=65535)] = 7860,
    root_path: Annotated[
        str, typer.Option(help="Behind a reverse proxy: the prefix under which it shows the page, such as /rrm.")
    ] = "",
    settings: Settings = None,
) -> None:
    """Open the page of a run in a browser: judge comparisons, train in sessions, run rounds, watch what comes of it.

    Stop it with Ctrl+C whenever you like: every answer that the page shows as saved is on disk, training goes on in a
    process of its own, and the next start goes on from there.
    """
    from rrm.run_folder import open_run_folder

    # Nothing of this page calls out; this keeps Gradio from it as well, and must be set before it is imported.
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1")
    os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), *LOOPBACK]))
    with open_run_folder(folder, overrides=settings or []) as opened:
        _refuse_strangers(opened, host, folder)
        _serve(opened, host=host, port=port, root_path=root_path)


def _refuse_strangers(opened: "OpenedRun", host: str, folder: Path) -> None:
    """Without accounts whoever can reach the page may judge, train and read: that is for one's own machine only."""
    from rrm.errors import ConfigurationError
    from rrm.people.accounts import has_accounts

    if host not in LOOPBACK and not has_accounts(opened.run):
        raise ConfigurationError(
            f"This run has no accounts yet, so the page is for this machine only and does not listen on {host}. "
            f"Add a lead first: rrm people {folder} add NAME --role lead"
        )


def _serve(opened: "OpenedRun", *, host: str, port: int, root_path: str) -> None:
    import uvicorn

    from rrm.people.accounts import has_accounts
    from ui.page.app import make_app
    from ui.page.listening import listen

    listening = listen(host, port)
    app = make_app(opened, root_path=root_path.rstrip("/"))
    address = f"http://{host if ':' not in host else f'[{host}]'}:{listening.getsockname()[1]}/"
    typer.echo(f"The page of {opened.run.folder}: {address}")
    if not has_accounts(opened.run):
        typer.echo("No accounts: it listens on this machine only, and whoever uses it is 'You', a lead.")
    typer.echo("Stop it with Ctrl+C.")
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", root_path=root_path.rstrip("/"), timeout_graceful_shutdown=2)
    )
    server.run(sockets=[listening])
