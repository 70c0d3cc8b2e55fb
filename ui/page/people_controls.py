"""The forms of the room People, and what they are wired to."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import gradio as gr

from rrm.people.accounts import Role
from rrm.store import Choice
from ui.page import people_forms as forms
from ui.page.people_views import WORDS, PeopleRoom, heading

SETTLING = (Choice.FIRST, Choice.SECOND, Choice.TIE, Choice.BOTH_BAD, Choice.CANNOT_TELL)
ROLES = [("Rater", Role.RATER.value), ("Lead", Role.LEAD.value)]


def accounts(room: PeopleRoom, figures: gr.HTML) -> gr.Dropdown:
    """Adding and changing people; returns the choice of whom."""
    gr.HTML(heading("Accounts", "A rater judges and looks. A lead also decides, starts what computes, and sees all."))
    said = gr.HTML(padding=False)
    with gr.Accordion("Add somebody", open=False):
        name = gr.Textbox(label="Name", max_lines=1, info="As others see it, 1 to 40 characters.")
        password = gr.Textbox(label="Password", type="password", info="At least 8 characters; you tell it to them.")
        role = gr.Radio(ROLES, value=Role.RATER.value, label="Role", info="The first account must be a lead.")
        adding = gr.Button("Add", variant="primary")
    with gr.Accordion("Change somebody", open=False):
        who = gr.Dropdown([], label="Who", interactive=True)
        do = partial(_do, room, said, figures, who)
        _changes(do, who)
    do(adding, forms.add, {"name": name, "password": password, "role": role})
    return who


def _changes(do: Callable[..., None], who: gr.Dropdown) -> None:
    password = gr.Textbox(label="New password", type="password")
    do(gr.Button("Set password"), forms.reset_password, {"rater_id": who, "password": password})
    role = gr.Radio(ROLES, value=Role.RATER.value, label="New role")
    do(gr.Button("Set role"), forms.change_role, {"rater_id": who, "role": role})
    with gr.Row():
        do(gr.Button("Close the account"), partial(forms.open_or_close, active=False), {"rater_id": who})
        do(gr.Button("Open it again"), partial(forms.open_or_close, active=True), {"rater_id": who})
    reason = gr.Textbox(label="Reason", info="Why their answers are left out, or count again; it is kept for good.")
    given = {"rater_id": who, "reason": reason}
    with gr.Row():
        do(gr.Button("Leave their answers out"), partial(forms.leave_out_or_take_in, left_out=True), given)
        do(gr.Button("Take them in again"), partial(forms.leave_out_or_take_in, left_out=False), given)


def settling(room: PeopleRoom, figures: gr.HTML) -> tuple[gr.State, gr.HTML, gr.Column]:
    """The comparison to settle next, and the answers to it."""
    comparison = gr.State(None)
    shown = gr.HTML(padding=False)
    said = gr.HTML(padding=False)
    with gr.Column() as answers:
        comment = gr.Textbox(label="Comment", info="Why, if that helps others later.")
        with gr.Row():
            buttons = [gr.Button(WORDS[choice.value], min_width=120) for choice in SETTLING]
        later = gr.Button("Another one first")
    outputs = [comparison, shown, answers]

    def settle_as(choice: Choice) -> Callable[..., list[Any]]:
        def settled(request: gr.Request, comparison_id: str | None, words: str) -> list[Any]:
            person = room.page.person(request)
            told, done = forms.settle(room.page, person, comparison_id=comparison_id, choice=choice, comment=words)
            if not done:
                return [told, *[gr.skip()] * 5]
            return [told, "", room.figures(person), *room.disputed(person)]

        return settled

    def skipped(request: gr.Request, comparison_id: str | None) -> list[Any]:
        return ["", *room.disputed(room.page.person(request), after=comparison_id)]

    for button, choice in zip(buttons, SETTLING, strict=True):
        _click(button, settle_as(choice), [comparison, comment], [said, comment, figures, *outputs])
    _click(later, skipped, [comparison], [said, *outputs])
    return comparison, shown, answers


def editing(room: PeopleRoom, guidelines: gr.HTML) -> gr.Textbox:
    """The text of the guidelines, for leads to change."""
    with gr.Accordion("Edit the guidelines", open=False):
        text = gr.Textbox(label="Guidelines", lines=10, max_lines=30, info="Plain text, as raters read it.")
        saving = gr.Button("Save", variant="primary")
        said = gr.HTML(padding=False)

    def saved(request: gr.Request, written: str) -> list[Any]:
        told, _ = forms.write_guidelines(room.page, room.page.person(request), text=written)
        return [told, room.guidelines()]

    _click(saving, saved, [text], [said, guidelines])
    return text


def own_password(room: PeopleRoom) -> None:
    """The password of whoever looks at the page."""
    with gr.Accordion("Change your password", open=False):
        old = gr.Textbox(label="Your password now", type="password")
        new = gr.Textbox(label="Your next password", type="password", info="At least 8 characters.")
        changing = gr.Button("Change")
        said = gr.HTML(padding=False)

    def changed(request: gr.Request, before: str, after: str) -> list[Any]:
        told, done = forms.change_own_password(room.page, room.page.person(request), old=before, new=after)
        return [told, *(["", ""] if done else [gr.skip(), gr.skip()])]

    _click(changing, changed, [old, new], [said, old, new])


def _do(
    room: PeopleRoom,
    said: gr.HTML,
    figures: gr.HTML,
    who: gr.Dropdown,
    button: gr.Button,
    form: Callable[..., forms.Said],
    given: Mapping[str, Any],
) -> None:
    """Let a button send its fields; those that were typed into are emptied if it was done, and kept if refused."""
    typed = [field for field in given.values() if isinstance(field, gr.Textbox)]

    def clicked(request: gr.Request, *values: Any) -> list[Any]:
        person = room.page.person(request)
        told, done = form(room.page, person, **dict(zip(given, values, strict=True)))
        emptied = ["" if done else gr.skip() for _ in typed]
        return [told, room.figures(person), room.choices(person), *emptied]

    _click(button, clicked, list(given.values()), [said, figures, who, *typed])


def _click(button: gr.Button, work: Callable[..., list[Any]], inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    button.click(work, list(inputs), list(outputs), show_progress="hidden", queue=False, api_visibility="private")
