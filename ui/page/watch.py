"""The room Watch: figures about judging, reward models and agents."""

from collections.abc import Sequence
from functools import partial

import gradio as gr

from reward_models.errors import RrmError
from rrm.tasks.task import AbstractKnownTask
from rrm.transcript_page import legend, marked, token_rows
from rrm.transcripts import in_words
from rrm.watching.memory import Memory
from rrm.watching.room import Cell, Room, Show
from rrm.watching.rooms import judging_rooms, reward_model_names, training_rooms
from rrm.watching.shares import Share
from ui.page import rendering
from ui.page.context import Page
from ui.page.rendering import render


def build(page: Page, blocks: gr.Blocks) -> None:
    """A heading, the rooms about judging, and those about training with a choice of the reward model."""
    memory: Memory[tuple[Room, ...]] = Memory(page.run)
    gr.HTML(render("watch.html", {}), padding=False)
    judging = gr.HTML(render("waiting.html", {}), padding=False)
    chosen = gr.Dropdown(label="Reward model", visible=False, interactive=True, elem_classes="rrm-choice")
    training = gr.HTML(padding=False)
    load = partial(blocks.load, show_progress="hidden", api_visibility="private", concurrency_limit=None)
    load(partial(_judging, page, memory), None, judging)
    load(partial(_choices, page), None, chosen)
    load(partial(_training, page, memory), None, training)
    chosen.input(
        partial(_training, page, memory),
        chosen,
        training,
        show_progress="hidden",
        api_visibility="private",
        concurrency_limit=None,
    )


def _judging(page: Page, memory: Memory[tuple[Room, ...]]) -> str:
    try:
        return show_rooms(memory.recall("judging", lambda: judging_rooms(page.run, page.task)))
    except RrmError as problem:
        return render("problem.html", {"problem": str(problem)})


def _training(page: Page, memory: Memory[tuple[Room, ...]], name: str | None = None) -> str:
    try:
        gold = isinstance(page.task, AbstractKnownTask)
        found = memory.recall(f"training {name}", lambda: training_rooms(page.run, reward_model=name, gold=gold))
        return show_rooms(found)
    except RrmError as problem:
        return render("problem.html", {"problem": str(problem)})


def _choices(page: Page) -> gr.Dropdown:
    names = reward_model_names(page.run)
    return gr.Dropdown(choices=names, value=names[-1] if names else None, visible=len(names) > 1)


def show_rooms(rooms: Sequence[Room]) -> str:
    """Rooms as HTML: those with figures first, then what is still to come."""
    return render(
        "watch_rooms.html",
        {
            "rooms": rooms,
            "shown": shown,
            "zip": partial(zip, strict=True),
            "in_words": in_words,
            "legend": legend(),
            "marked": marked,
            "token_rows": token_rows,
        },
    )


def shown(cell: Cell, show: Show) -> str:
    """A cell as people read it."""
    if isinstance(cell, Share):
        return f"{rendering.percent(cell.value)} ({rendering.percent(cell.low)} to {rendering.percent(cell.high)})"
    if cell is None or isinstance(cell, str):
        return cell or rendering.NOTHING
    match show:
        case Show.COUNT:
            return rendering.count(int(cell))
        case Show.PERCENT | Show.INTERVAL:
            return rendering.percent(cell)
        case Show.SECONDS:
            return rendering.duration(cell)
        case _:
            return rendering.figure(cell)
