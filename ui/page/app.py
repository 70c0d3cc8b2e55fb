"""The application: rooms, header, style, sign-in and the programs' interface, put together over one run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import fastapi
import gradio as gr
from gradio.components import Navbar

from rrm.people.accounts import Person, has_accounts
from rrm.run_folder import RunFolder
from ui.page import api, label, people, practice, rounds, signing_in, train, watch
from ui.page.context import Page
from ui.page.rendering import render

HERE = Path(__file__).parent

# The icon lies in the page itself, so that it holds behind a reverse proxy too.
HEAD = (
    '<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex">'
    "<link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Cpath d='M2 14V9h4V5h4V2h4v12z' fill='%231f5fbf'/%3E%3C/svg%3E\">"
)


@dataclass(frozen=True, slots=True)
class Room:
    """One room of the page."""

    title: str
    path: str
    """Its address below the page; empty for the main one."""
    build: Callable[[Page, gr.Blocks], None]

    @property
    def href(self) -> str:
        """Relative, so that it holds behind a reverse proxy too."""
        return f"./{self.path}"


ROOMS = (
    Room("Label", "", label.build),
    Room("Practice", "practice", practice.build),
    Room("Train", "train", train.build),
    Room("Rounds", "rounds", rounds.build),
    Room("Watch", "watch", watch.build),
    Room("People", "people", people.build),
)


def make_app(opened: RunFolder, *, root_path: str = "") -> fastapi.FastAPI:
    """The page over an open run, to be served by uvicorn or any other ASGI server.

    Args:
        opened: the run; it stays open as long as the application lives.
        root_path: the prefix under which a reverse proxy shows the page, such as `/rrm`; empty without one.
    """
    page = Page(folder=opened.run.folder, run=opened.run, task=opened.task, config=opened.config)
    # FastAPI's own documentation pages load their scripts from another host, and this page never asks another host.
    app = fastapi.FastAPI(title="rrm", docs_url=None, redoc_url=None)
    app.include_router(api.router(page))
    signing_in.install(app, page)
    blocks = _blocks(page)
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        root_path=root_path or None,
        auth_dependency=partial(_user, page),
        theme=_theme(),
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        head=HEAD,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
    )
    return app


def _blocks(page: Page) -> gr.Blocks:
    blocks: gr.Blocks
    title = f"{page.folder.resolve().name} · rrm"
    with gr.Blocks(title=title, analytics_enabled=False, fill_width=True) as blocks:
        _furnish(page, blocks, ROOMS[0])
    for room in ROOMS[1:]:
        with blocks.route(room.title, f"/{room.path}"):
            _furnish(page, blocks, room)
    return blocks


def _furnish(page: Page, blocks: gr.Blocks, room: Room) -> None:
    Navbar(visible=False)
    header = gr.HTML(_header(page, room, person=None), padding=False, elem_classes="rrm-header")

    # Gradio finds out by the annotation that this wants the request; a partial would hide it.
    def greet(request: gr.Request) -> str:
        return _header(page, room, person=page.person(request))

    blocks.load(
        greet,
        None,
        header,
        show_progress="hidden",
        queue=False,
        api_visibility="private",
    )
    room.build(page, blocks)


def _header(page: Page, room: Room, *, person: Person | None) -> str:
    return render(
        "header.html",
        {
            "run": page.folder.resolve().name,
            "rooms": ROOMS,
            "current": room.title,
            "person": person,
            "signed_in": has_accounts(page.run),
        },
    )


def _user(page: Page, request: fastapi.Request) -> str | None:
    person = signing_in.person_of(page, request)
    return person.rater_id if person is not None else None


def _theme() -> gr.themes.Base:
    return gr.themes.Base(
        primary_hue="blue",
        neutral_hue="slate",
        radius_size="sm",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
