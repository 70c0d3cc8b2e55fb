"""The room Rounds: the ladder, what is at work, what waits, and the buttons of the leads."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from reward_models.errors import RrmError
from rrm.errors import RunError
from rrm.people.accounts import Person
from rrm.playing import decide, pause, play
from rrm.store import utc_now
from ui.page.context import Page
from ui.page.rendering import render
from ui.page.rounds_form import AgentForm
from ui.page.rounds_view import View, view

EVERY = 2.0
"""Seconds between two looks at the store while the tab is visible."""


def build(page: Page, blocks: gr.Blocks) -> None:
    """The ladder on one side, the present round with its buttons on the other, steps and what is past below."""
    gr.HTML(render("rounds.html", {"rater": page.config.judging.rater}), padding=False)
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            ladder = gr.HTML(render("waiting.html", {}), padding=False)
        with gr.Column(scale=3, min_width=280):
            now = gr.HTML(padding=False)
            problem = gr.HTML(padding=False, visible=False)
            form = AgentForm(page.config.agent)
            climb = gr.Checkbox(label="Then play the rounds after it, too", visible=False)
            with gr.Row():
                start = gr.Button("Start the round", variant="primary", visible=False)
                stop = gr.Button("Pause", visible=False)
                approve = gr.Button("Approve the new agent", visible=False)
                refuse = gr.Button("Refuse it", visible=False)
            training = gr.HTML(padding=False)
    steps = gr.HTML(padding=False)
    decided = gr.HTML(padding=False)
    known = gr.State(None)
    parts = [ladder, now, training, steps, decided, climb, start, stop, approve, refuse, known, *form.parts]
    form.connect()

    def look(shown: View | None, request: gr.Request) -> object:
        found = view(page, page.person(request))
        return gr.skip() if found == shown else _parts(found, shown, form)

    def look_anew(request: gr.Request) -> object:
        return _parts(view(page, page.person(request)), None, form)

    # The request comes first: Gradio puts it where its name stands, and behind it there may be any number of settings.
    def on_start(request: gr.Request, shown: View, climbing: bool, *filled_in: Any) -> object:
        person = page.person(request)
        agent = form.settings(filled_in) if shown.choose else None
        said = _problem(lambda: play(page.run, page.config, by=person, climb=climbing, now=utc_now(), agent=agent))
        # What was filled in stays where it stands, whatever came of it.
        return said, *_parts(view(page, person), shown, form)

    def on_pause(request: gr.Request) -> object:
        person = page.person(request)
        said = _problem(lambda: pause(page.run, by=person, now=utc_now()))
        return said, *_parts(view(page, person), None, form)

    def on_approve(shown: View, request: gr.Request) -> object:
        person = page.person(request)
        return _problem(lambda: _decide(page, person, shown, promoted=True)), *_parts(view(page, person), None, form)

    def on_refuse(shown: View, request: gr.Request) -> object:
        person = page.person(request)
        return _problem(lambda: _decide(page, person, shown, promoted=False)), *_parts(view(page, person), None, form)

    _listen(blocks.load, look_anew, None, parts)
    _listen(gr.Timer(EVERY).tick, look, known, parts)
    _listen(start.click, on_start, [known, climb, *form.controls.values()], [problem, *parts])
    _listen(stop.click, on_pause, None, [problem, *parts])
    _listen(approve.click, on_approve, known, [problem, *parts])
    _listen(refuse.click, on_refuse, known, [problem, *parts])


def _listen(event: Callable[..., object], handler: Callable[..., object], inputs: object, outputs: object) -> None:
    event(handler, inputs, outputs, show_progress="hidden", api_visibility="private", concurrency_limit=None)


def _problem(act: Callable[[], object]) -> gr.HTML:
    """Do it; what stands in the way is shown as a sentence, and nothing where all went well."""
    try:
        act()
    except RrmError as error:
        return gr.HTML(render("problem.html", {"problem": str(error)}), visible=True)
    return gr.HTML("", visible=False)


def _decide(page: Page, person: Person, shown: View, *, promoted: bool) -> None:
    """Decide on what was on the screen, which need not be what waits now."""
    if shown.place is None:
        raise RunError("Every round is over, so no promotion waits for a decision.")
    decide(page.run, level=shown.place[0], round=shown.place[1], promoted=promoted, by=person, now=utc_now())


def _parts(found: View, shown: View | None, form: AgentForm) -> tuple[object, ...]:
    """What the components become; parts that look the same are left alone, so that nothing flickers."""
    texts = ("ladder", "now", "training", "steps", "decided")
    return (
        *(
            gr.skip() if shown and getattr(shown, name) == getattr(found, name) else getattr(found, name)
            for name in texts
        ),
        gr.Checkbox(visible=found.start is not None),
        gr.Button(found.start or "", visible=found.start is not None),
        gr.Button(visible=found.pause),
        gr.Button(visible=found.decide, variant="primary" if found.beats else "secondary"),
        gr.Button(visible=found.decide),
        found,
        *form.updates(found.agent if shown is None or found.agent != shown.agent else None, visible=found.choose),
    )
