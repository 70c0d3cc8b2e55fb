"""The room Label: the comparison card, which lives in the browser and speaks to `/api/` by itself.

It is one component of plain HTML, CSS and JavaScript, because a key must show the next comparison without waiting for
any server. Nothing of a comparison is in the page that is delivered; all text comes as JSON and is put in as text.
"""

from pathlib import Path

import gradio as gr

from ui.page.context import Page

CARD = Path(__file__).parent / "card"
SCRIPTS = (
    "server.js",
    "storage.js",
    "drafts.js",
    "clock.js",
    "keys.js",
    "outbox.js",
    "hand.js",
    "view.js",
    "panels.js",
    "card.js",
)
"""In this order: they share one scope, that of the component."""


def build(page: Page, blocks: gr.Blocks) -> None:
    """Put the card into the room."""
    gr.HTML(
        html_template=_read("card.html"),
        css_template=_read("card.css"),
        js_on_load="\n".join(['"use strict";', *(_read(name) for name in SCRIPTS)]),
        apply_default_css=False,
        padding=False,
    )


def _read(name: str) -> str:
    return (CARD / name).read_text(encoding="utf-8")
