"""The room People: who judges and how well, what leads settle, the guidelines, and the accounts."""

from typing import Any

import gradio as gr

from rrm.judging.guidelines import guidelines_now
from rrm.people.accounts import Person, has_accounts
from rrm.watching.memory import Memory
from ui.page import people_controls as controls
from ui.page.context import Page
from ui.page.people_views import PeopleRoom, visible
from ui.page.rendering import render


def build(page: Page, blocks: gr.Blocks) -> None:
    """Figures for everybody; what only leads use is shown to leads, and refused to others whatever is shown."""
    room = PeopleRoom(page, Memory(page.run))
    figures = gr.HTML(render("waiting.html", {}), padding=False)
    with gr.Column(visible=False) as for_leads:
        who = controls.accounts(room, figures)
        settled = controls.settling(room, figures)
        remarked = gr.HTML(padding=False)
    guidelines = gr.HTML(room.guidelines(), padding=False)
    with gr.Column(visible=False) as editing:
        text = controls.editing(room, guidelines)
    with gr.Column(visible=False) as own:
        controls.own_password(room)
    outputs = [figures, for_leads, editing, own, who, *settled, remarked, guidelines, text]

    # A closure, since Gradio does not see the request among the parameters of a partial.
    def opened(request: gr.Request) -> list[Any]:
        return _open(room, page.person(request))

    blocks.load(opened, None, outputs, show_progress="hidden", queue=False, api_visibility="private")


def _open(room: PeopleRoom, person: Person) -> list[Any]:
    """Everything as this person may see it."""
    lead = person.is_lead
    own = visible(has_accounts(room.page.run))
    seen = [room.figures(person), visible(lead), visible(lead), own, room.choices(person)]
    if not lead:
        return [*seen, None, "", visible(False), "", room.guidelines(), ""]
    text = guidelines_now(room.page.run, room.page.task).text
    return [*seen, *room.disputed(person), room.remarks(person), room.guidelines(), text]
