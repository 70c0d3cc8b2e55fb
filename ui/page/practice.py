"""The room Practice: comparisons with a known answer, told at once and never stored."""

from functools import partial

import gradio as gr

from rrm.judging.practice import Feedback, Side, practice_item, practise
from ui.page.context import Page
from ui.page.rendering import render

SIDES: tuple[Side, Side] = ("left", "right")

Shown = tuple[str, dict[str, object], dict[str, object]]
"""The HTML, what becomes of the two answers, and what becomes of the button to go on."""


def build(page: Page, blocks: gr.Blocks) -> None:
    """An item, two answers, and a way to the next one."""
    place = gr.State(0)
    shown = gr.HTML(_html(page, 0), padding=False)
    with gr.Row(visible=practice_item(page.task, 0) is not None) as answers:
        left = gr.Button("Left is better", variant="primary")
        right = gr.Button("Right is better", variant="primary")
    following = gr.Button("Next", visible=False)
    outputs = [shown, answers, following]
    for button, side in zip((left, right), SIDES, strict=True):
        button.click(
            partial(answered, page, side), place, outputs, show_progress="hidden", queue=False, api_visibility="private"
        )
    following.click(
        partial(gone_on, page), place, [place, *outputs], show_progress="hidden", queue=False, api_visibility="private"
    )


def answered(page: Page, side: Side, place: int) -> Shown:
    """What is shown after an answer: the same item with the feedback; a wrong answer may be given anew."""
    feedback = practise(page.task, place, side)
    return _html(page, place, feedback), gr.update(visible=not feedback.right), gr.update(visible=feedback.right)


def gone_on(page: Page, place: int) -> tuple[int, str, dict[str, object], dict[str, object]]:
    """The next item, or the end."""
    more = practice_item(page.task, place + 1) is not None
    return place + 1, _html(page, place + 1), gr.update(visible=more), gr.update(visible=False)


def _html(page: Page, place: int, feedback: Feedback | None = None) -> str:
    return render(
        "practice.html",
        {
            "item": practice_item(page.task, place),
            "place": place,
            "total": len(page.task.practice()),
            "feedback": feedback,
        },
    )
