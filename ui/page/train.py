"""The room Train: start a session, watch it, see what it changed, choose the one that is current.

All that is shown comes from the store at each visit and each look, so a reload, a closed tab or a restart of the page
changes nothing. What a person chose (a session, settings) is in their browser.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import gradio as gr
from markupsafe import Markup

from reward_models.errors import RrmError
from rrm.people.accounts import require_lead
from rrm.sessions.choices import settings_in_words
from rrm.sessions.current import make_current
from rrm.sessions.curve_figure import curve_pictures
from rrm.sessions.launching import launch
from rrm.sessions.overview import Detail, Overview, SessionRow, detail, overview, side_by_side
from rrm.sessions.records import SessionState
from rrm.sessions.settings import (
    FEWEST_JUDGEMENTS,
    Judged,
    judged_levels,
    start_reward_model,
    suggested_level,
)
from rrm.sessions.store import request_stop
from rrm.store import utc_now
from ui.page.context import Page
from ui.page.rendering import render
from ui.page.train_form import Form

EVERY = 2.0
"""Seconds between two looks at the store while the tab is seen."""

PILLS = {
    SessionState.RUNNING: "running",
    SessionState.STOPPING: "waiting",
    SessionState.FINISHED: "good",
    SessionState.FAILED: "bad",
    SessionState.INTERRUPTED: "waiting",
    SessionState.STOPPED: "",
    SessionState.QUEUED: "waiting",
}
WORDS = {state: state.value for state in SessionState} | {
    SessionState.RUNNING: "at work",
    SessionState.QUEUED: "queued",
}

NOTHING = ("Nothing", "")
"""The choice of no other session."""

Outputs = dict[Any, Any]


class Room:
    """The controls of the room, in the order in which they stand, and what happens when they are used."""

    def __init__(self, page: Page) -> None:
        """Lay the controls out; what they show comes with the first look."""
        self.page = page
        found = overview(page.run)
        gr.HTML(render("train.html", {}), padding=False)
        self.notice = gr.HTML(padding=False)
        levels = [(f"Level {level}", level) for level in range(page.config.run.levels)]
        self.level = gr.Radio(levels, value=0, label="Level")
        self.form = Form(page.config.reward)
        with gr.Row():
            self.start = gr.Button("Start a session", variant="primary", scale=0, min_width=180)
        self.problem = gr.HTML(padding=False)
        self.session = gr.HTML(padding=False)
        with gr.Row():
            self.stop = gr.Button("Stop", visible=False, scale=0, min_width=180)
            self.resume = gr.Button("Resume", visible=False, scale=0, min_width=180)
            self.current = gr.Button("Make current", visible=False, scale=0, min_width=180)
        self.sessions = gr.HTML(padding=False)
        with gr.Row():
            self.chosen = gr.Dropdown(_choices(found), label="Show session", value=None, visible=False)
            self.other = gr.Dropdown([NOTHING], label="Compare it with", value=NOTHING[1], visible=False)
        self.comparison = gr.HTML(padding=False)
        self.seen = gr.State("")

    def connect(self, blocks: gr.Blocks) -> None:
        """Let the controls do something."""
        shown = [
            self.notice, self.level, self.start, self.session, self.stop, self.resume, self.current, self.sessions,
            self.chosen, self.other, self.comparison, self.seen,
        ]  # fmt: skip
        # What went wrong stays until the next thing is done; a look does not wipe it away.
        told = [*shown, self.problem]
        chosen = [self.chosen, self.other]
        settings = [self.level, *self.form.controls.values()]
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
        self.form.connect()
        blocks.load(self.on_visit, None, told, **quiet)
        gr.Timer(EVERY).tick(self.on_look, [*chosen, self.seen], shown, **quiet)
        self.chosen.input(self.on_look, [*chosen, self.seen], shown, **quiet)
        self.other.input(self.on_look, [*chosen, self.seen], shown, **quiet)
        self.start.click(self.on_start, settings, told, **quiet)
        self.stop.click(self.on_stop, chosen, told, **quiet)
        self.resume.click(self.on_resume, chosen, told, **quiet)
        self.current.click(self.on_make_current, chosen, told, **quiet)

    def on_visit(self, request: gr.Request) -> Outputs:
        """Show everything anew, with the level that has something to learn from."""
        judged = judged_levels(self.page.run)
        levels = gr.update(choices=_levels(self.page, judged), value=suggested_level(judged))
        return {**self._shown(request), self.problem: "", self.level: levels}

    def on_look(self, chosen: str | None, other: str | None, seen: str, request: gr.Request) -> Outputs:
        """Show what changed since the last look."""
        shown = self._shown(request, chosen=chosen, other=other)
        skipped: Outputs = gr.skip()
        return skipped if shown[self.seen] == seen else shown

    # The request comes first: Gradio puts it where its name stands, and behind it there may be any number of settings.
    def on_start(self, request: gr.Request, level: int, *filled_in: Any) -> Outputs:
        """Start a session and show it."""
        settings = self.form.settings(filled_in)
        person = self.page.person(request)
        problem = ""
        try:
            require_lead(person, "start a session")
            start_reward_model(self.page.run, level=level, settings=settings, started_by=person.rater_id, now=utc_now())
        except RrmError as error:
            problem = _problem(error)
        levels = gr.update(choices=_levels(self.page, judged_levels(self.page.run)))
        return {**self._shown(request), self.problem: problem, self.level: levels}

    def on_stop(self, chosen: str | None, other: str | None, request: gr.Request) -> Outputs:
        """Ask the session to stop."""
        return self._done(
            lambda session_id, _: request_stop(self.page.run, session_id, now=utc_now()),
            "stop a session",
            chosen,
            other,
            request,
        )

    def on_resume(self, chosen: str | None, other: str | None, request: gr.Request) -> Outputs:
        """Launch the session again."""
        return self._done(
            lambda session_id, _: launch(self.page.run, session_id), "resume a session", chosen, other, request
        )

    def on_make_current(self, chosen: str | None, other: str | None, request: gr.Request) -> Outputs:
        """Let the session's reward model be the current one."""
        return self._done(
            lambda session_id, by: make_current(self.page.run, session_id, by=by, now=utc_now()),
            "choose the current session",
            chosen,
            other,
            request,
        )

    def _done(
        self,
        work: Callable[[str, str], object],
        what: str,
        chosen: str | None,
        other: str | None,
        request: gr.Request,
    ) -> Outputs:
        """Do something with the session that is shown, if the person may, and show what came of it."""
        person = self.page.person(request)
        problem = ""
        try:
            require_lead(person, what)
            row = overview(self.page.run).row(chosen)
            if row is not None:
                work(row.session.id, person.rater_id)
        except RrmError as error:
            problem = _problem(error)
        return {**self._shown(request, chosen=chosen, other=other), self.problem: problem}

    def _shown(self, request: gr.Request, *, chosen: str | None = None, other: str | None = None) -> Outputs:
        """All that the room shows now, and a digest of it, by which the next look sees whether anything changed.

        A choice that was sent is not sent back: while this was on its way, somebody may have chosen another session.
        """
        found = overview(self.page.run)
        person = self.page.person(request)
        lead = person.is_lead
        row = found.row(chosen)
        shown = detail(self.page.run, row, to=person, now=utc_now()) if row is not None else None
        parts: Outputs = {
            self.notice: _notice(found, lead=lead),
            self.session: render_session(shown) if shown is not None else "",
            self.sessions: render("train_sessions.html", {"rows": found.rows, "pills": PILLS, "words": WORDS}),
            self.comparison: _comparison(found, row, other),
        }
        controls: dict[Any, dict[str, Any]] = {
            self.start: {"interactive": lead and found.busy is None and found.anything_judged},
            self.stop: {"visible": lead and row is not None and row.may_stop},
            self.resume: {"visible": lead and row is not None and row.may_resume},
            self.current: {"visible": lead and row is not None and row.may_be_current},
            self.chosen: {
                "choices": _choices(found),
                "visible": len(found.rows) > 1,
                **({} if row is not None and row.session.id == chosen else {"value": row and row.session.id}),
            },
            self.other: {"choices": [NOTHING, *_choices(found, without=row)], "visible": len(found.rows) > 1},
        }
        digest = sha256(repr([*parts.values(), *controls.values()]).encode()).hexdigest()
        return {**parts, **{control: gr.update(**values) for control, values in controls.items()}, self.seen: digest}


def build(page: Page, blocks: gr.Blocks) -> None:
    """Lay out the room and connect it to the store."""
    Room(page).connect(blocks)


def _notice(found: Overview, *, lead: bool) -> str:
    data = {"lead": lead, "judged": found.anything_judged, "busy": found.busy, "fewest": FEWEST_JUDGEMENTS}
    return render("train_notice.html", data)


def _problem(error: RrmError) -> str:
    """Why something could not be done, as a sentence."""
    text = str(error)
    return render("train_problem.html", {"sentence": f"{text[:1].upper()}{text[1:].rstrip('.')}."})


def render_session(whole: Detail) -> str:
    """One session in full."""
    return render(
        "train_session.html",
        {
            "detail": whole,
            "settings": settings_in_words(whole.row.settings),
            "pictures": [Markup(one) for one in curve_pictures(whole.points)] if len(whole.points) > 1 else [],
            "pills": PILLS,
            "words": WORDS,
        },
    )


def _comparison(found: Overview, row: SessionRow | None, other: str | None) -> str:
    against = [each for each in found.rows if each.session.id == other]
    if row is None or not against or against[0].session.id == row.session.id:
        return ""
    data = {
        "lines": side_by_side(row, against[0]),
        "one": row.session.number,
        "other": against[0].session.number,
    }
    return render("train_comparison.html", data)


def _levels(page: Page, judged: Mapping[int, Judged]) -> list[tuple[str, int]]:
    counts = {level: judged[level].judgements if level in judged else 0 for level in range(page.config.run.levels)}
    return [
        (f"Level {level}: {count:,} judgements" if count else f"Level {level}: not judged yet", level)
        for level, count in counts.items()
    ]


def _choices(found: Overview, *, without: SessionRow | None = None) -> list[tuple[str, str]]:
    return [
        (f"Session {row.session.number} (level {row.session.level})", row.session.id)
        for row in found.rows
        if without is None or row.session.id != without.session.id
    ]
