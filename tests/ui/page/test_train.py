"""The room Train in a real browser: start, watch, stop, resume, compare, choose; and what a rater may not do."""

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastapi
import gradio as gr
import pytest

from rrm.errors import ConfigurationError
from rrm.people.accounts import Role, add_account
from rrm.people.sign_ins import sign_in
from rrm.run_folder import RunFolder, open_run_folder
from rrm.sessions import (
    Session,
    SessionKind,
    SessionState,
    SessionStatus,
    create_session,
    request_stop,
    session,
    sessions,
    state_of,
)
from rrm.sessions.changes import FlipText
from rrm.sessions.current import current_model
from rrm.sessions.overview import Detail, SessionRow
from rrm.sessions.settings import checked_settings
from rrm.store import Run, utc_now
from rrm.store.waiting import asked_because
from tests.rrm.session_runs import SETTINGS, copy_of, ended, killed, until
from tests.rrm.test_sessions_changes import SOME
from tests.rrm.test_sessions_learning import judge
from tests.ui.page.browser import Served, open_page, serious_findings, serving
from tests.ui.page.filled_runs import people_run
from ui.page.context import Page
from ui.page.door import cookie_name
from ui.page.train import Room, render_session
from ui.page.train_form import shown_for

START = "Start a session"
IDLE_FOR_WHOLE_MODELS = ("features", "lora_rank", "lora_layers")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which half of the comparisons have been judged; only to be copied."""
    folder = people_run(tmp_path_factory.mktemp("judged") / "run", comparisons=120, documents=30)
    with open_run_folder(folder) as opened:
        judge(opened.run, 60)
    return folder


@pytest.fixture
def served(judged: Path, tmp_path: Path) -> Iterator[Served]:
    """A copy of that run, and its page."""
    with serving(copy_of(judged, tmp_path / "run")) as found:
        yield found


@pytest.fixture
def served_as_delivered(judged: Path, tmp_path: Path) -> Iterator[Served]:
    """The same, with workers that are Python processes of their own."""
    with serving(copy_of(judged, tmp_path / "run"), fresh_workers=True) as found:
        yield found


def room_of(opened: RunFolder) -> tuple[Page, Room]:
    """The room without a server. Gradio wants an event loop that runs, or makes one and leaves it open."""
    page = Page(folder=opened.run.folder, run=opened.run, task=opened.task, config=opened.config)

    async def furnish() -> Room:
        with gr.Blocks(analytics_enabled=False):
            return Room(page)

    # In a thread of its own, because the browser of other tests keeps a loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        return page, pool.submit(lambda: asyncio.run(furnish())).result()


def filled_in(room: Room, **changed: object) -> list[object]:
    """What the form sends: its defaults, and what somebody changed."""
    return [changed.get(name, control.value) for name, control in room.form.controls.items()]


def heading(page: Any, text: str) -> Any:
    return page.get_by_role("heading", name=re.compile(f"^{text}"))


def test_a_session_is_started_watched_and_made_current(served: Served, browser: Any) -> None:
    with open_page(browser, served, "/train") as watched, Run.open(served.folder) as run:
        page = watched.page
        page.get_by_text("Level 0: 48 judgements").wait_for()
        page.get_by_text("No session yet").wait_for()
        page.get_by_role("button", name=START).click()
        heading(page, "Session 1").wait_for()
        # Whatever becomes of the tab, the session goes on, and a visit shows how far it is.
        watched.settle()
        page.reload()
        heading(page, "Session 1").wait_for()
        heading(page, "What changed").wait_for()
        page.get_by_text("It agrees with").wait_for()
        page.get_by_role("img", name=re.compile("Agreement with unseen answers")).wait_for()
        assert ended(run, "session-1")[0] is SessionState.FINISHED
        assert current_model(run, 0) is None
        page.get_by_role("button", name="Make current").click()
        page.get_by_role("table").get_by_text("current", exact=True).wait_for()
        found = current_model(run, 0)
        assert found is not None and found.id == "session-1"
        assert {asked_because(run, one) for one in waiting(run)} == {"spread", "random"}
        assert serious_findings(page) == []


def test_two_sessions_side_by_side_and_what_flipped(served: Served, browser: Any) -> None:
    with open_page(browser, served, "/train", viewport={"width": 400, "height": 800}) as watched:
        page = watched.page
        page.get_by_role("button", name=START).click()
        page.get_by_role("button", name="Make current").click()
        with open_run_folder(served.folder) as opened:
            judge(opened.run, 60, shorter=False)
        page.get_by_role("button", name=START).click()
        heading(page, "Session 2").wait_for()
        page.get_by_text("predictions changed sides", exact=False).first.wait_for()
        page.get_by_text("It now agrees with").wait_for()
        page.get_by_text("Predictions that changed sides (").click()
        page.locator("article .text").first.wait_for()
        page.get_by_label("Compare it with").click()
        page.get_by_role("option", name="Session 1").click()
        table = page.get_by_role("region", name="Two sessions side by side")
        table.get_by_text("Judgements learnt from").wait_for()
        assert [cell.strip() for cell in table.get_by_role("row").nth(2).inner_text().split("\t")][1:] == ["96", "48"]
        # Nothing sticks out of a narrow window, and it is as readable in the dark.
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
    with open_page(browser, served, "/train?__theme=dark", viewport={"width": 400, "height": 800}) as watched:
        heading(watched.page, "What changed").wait_for()
        assert serious_findings(watched.page) == []


def test_a_look_that_was_on_its_way_does_not_undo_what_was_chosen(served: Served, browser: Any) -> None:
    with Run.open(served.folder) as run:
        stopped_session(run)
        stopped_session(run)
        with open_page(browser, served, "/train") as watched:
            page = watched.page
            late: list[Any] = []

            def hold_a_look(route: Any) -> None:
                is_look = (route.request.post_data_json or {}).get("data", [])[:1] == ["session-2"]
                late.append(route) if is_look and not late else route.continue_()

            page.route("**/queue/join*", hold_a_look)
            heading(page, "Session 2").wait_for()
            while not late:
                page.wait_for_timeout(50)
            page.get_by_label("Show session").click()
            page.get_by_role("option", name="Session 1").click()
            heading(page, "Session 1").wait_for()
            # What the late look finds is news, so it is shown; the one after it looks at what was chosen.
            stopped_session(run)
            late[0].continue_()
            page.get_by_role("rowheader", name="3").wait_for()
            heading(page, "Session 1").wait_for()
            assert page.get_by_label("Show session").input_value() == "Session 1 (level 0)"
            watched.settle()


def test_a_session_outlives_the_page_and_is_stopped_and_resumed(served_as_delivered: Served, browser: Any) -> None:
    served = served_as_delivered
    with open_page(browser, served, "/train") as watched, Run.open(served.folder) as run:
        page = watched.page
        page.get_by_role("button", name=START).click()
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("It was stopped. Resume it").wait_for()
        assert state_of(run, session(run, "session-1")) is SessionState.STOPPED
        page.get_by_role("button", name="Resume").click()
        until(lambda: state_of(run, session(run, "session-1")) is SessionState.RUNNING)
        killed(run, "session-1")
        page.get_by_text("Its process ended without a word").wait_for()
        page.get_by_role("button", name="Resume").click()
        until(lambda: state_of(run, session(run, "session-1")) is SessionState.RUNNING)
    served.kill()
    with Run.open(served.folder) as run:
        assert ended(run, "session-1")[0] is SessionState.FINISHED
        assert session(run, "session-1").attempts == 3
    served.restart()
    with open_page(browser, served, "/train") as watched:
        heading(watched.page, "What changed").wait_for()
        watched.page.get_by_text("in 3 attempts").wait_for()


def test_what_cannot_be_done_is_said_and_what_was_typed_is_kept(served: Served, browser: Any) -> None:
    with open_page(browser, served, "/train") as watched, Run.open(served.folder) as run:
        page = watched.page
        # Gradio may still be setting up a form that was only just shown, and what was typed before that is gone.
        watched.settle()
        page.get_by_role("button", name="Settings").click()
        watched.settle()
        page.get_by_label("Members of the ensemble").fill("7")
        page.get_by_label("Level 1: not judged yet").check()
        page.get_by_role("button", name=START).click()
        page.get_by_role("alert").get_by_text("needs at least 8: judge 8 more").wait_for()
        assert sessions(run) == []
        assert page.get_by_label("Members of the ensemble").input_value() == "7"
        # The reason stays while the page goes on looking at the store.
        with open_run_folder(served.folder) as opened:
            stopped = queued_session(opened.run)
        heading(page, "Session 1 queued").wait_for()
        assert page.get_by_role("alert").is_visible()
        request_stop(run, stopped.id, now=utc_now())
        page.get_by_label("Level 0: 48 judgements").check()
        page.get_by_role("button", name=START).click()
        page.get_by_text("Level 0; 7 heads").wait_for()
        assert page.get_by_role("alert").count() == 0
        assert ended(run, "session-2")[0] is SessionState.FINISHED


def test_the_form_shows_what_matters_for_what_is_chosen(served: Served, browser: Any) -> None:
    for width in (1280, 400):
        with open_page(browser, served, "/train", viewport={"width": width, "height": 900}) as watched:
            page = watched.page
            page.get_by_role("button", name="Settings").click()
            page.get_by_text("What heads read of a text").wait_for()
            page.get_by_text("How cautious: c").wait_for()
            page.get_by_role("button", name="Rarely changed").click()
            page.get_by_label("Questions that are drawn at random").wait_for()
            assert page.get_by_label("Rank of the adapters").count() == 0
            page.get_by_label("LoRA adapters on the base model").check()
            page.get_by_label("Rank of the adapters").wait_for()
            page.get_by_text("What heads read of a text").wait_for(state="detached")
            page.get_by_label("The reward that its members make").click()
            page.get_by_role("option", name="Lowest of the members").click()
            page.get_by_text("How cautious: c").wait_for(state="detached")
            assert serious_findings(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(
    ("chosen", "hidden"),
    [
        (("heads", "lower", "spread", 0.0), {"lora_rank", "lora_layers", "epochs"}),
        (
            ("full", "min", "random", None),
            {"features", "coefficient", "random_share", "diversity"} | {"lora_rank", "lora_layers"},
        ),
        (("lora", "uwo", "bald", 0.5), set()),
    ],
)
def test_a_choice_that_another_makes_idle_is_not_shown(chosen: tuple[Any, ...], hidden: set[str]) -> None:
    assert {name for name, shown in shown_for(*chosen).items() if not shown} == hidden


def test_what_is_filled_in_becomes_the_session_s_settings(tmp_path: Path) -> None:
    with open_run_folder(people_run(tmp_path / "run", comparisons=5, more=["reward.rater_error=0.07"])) as opened:
        _, room = room_of(opened)
        # Left alone, the form says what the run is configured for.
        assert checked_settings(room.form.settings(tuple(filled_in(room)))) == opened.config.reward
        changed = {"kind": "lora", "features": [], "rater_error": 20, "lora_layers": 100, "conservative": "min"}
        found = checked_settings(room.form.settings(tuple(filled_in(room, **changed))))
        assert (found.kind, found.features) == ("lora", opened.config.reward.features)
        assert (found.rater_error, found.lora_layers, found.conservative) == (0.2, 1.0, "min")
        with pytest.raises(ConfigurationError, match="The setting features"):
            checked_settings(room.form.settings(tuple(filled_in(room, features=[]))))
        with pytest.raises(ConfigurationError, match="The setting rater error"):
            checked_settings(room.form.settings(tuple(filled_in(room, rater_error=None))))


@pytest.mark.usefixtures("forked_workers")
def test_a_rater_sees_all_and_changes_nothing(tmp_path: Path) -> None:
    with open_run_folder(people_run(tmp_path / "run", comparisons=20)) as opened:
        page, room = room_of(opened)
        run = opened.run
        judge(run, 20)
        lead = add_account(run, name="Lea", password="correct horse", role=Role.LEAD, now=utc_now())
        rater = add_account(run, name="Rob", password="battery staple", role=Role.RATER, now=utc_now())
        asking, leading = (asked_by(page, sign_in(run, person, utc_now())) for person in (rater, lead))
        seen = room.on_visit(asking)
        assert "for leads" in seen[room.notice]
        assert seen[room.start]["interactive"] is False
        for refused in (
            room.on_start(asking, 0, *filled_in(room)),
            room.on_stop(None, "", asking),
            room.on_resume(None, "", asking),
            room.on_make_current(None, "", asking),
        ):
            assert "only a lead may" in refused[room.problem]
        assert sessions(run) == []
        assert "for leads" not in room.on_visit(leading)[room.notice]
        begun = room.on_start(leading, 0, *filled_in(room, members=3))
        assert "Session 1" in begun[room.session]
        assert ended(run, "session-1")[1].started_by == lead.rater_id
        # The rater sees what came of it, and no button that would change anything.
        seen = room.on_visit(asking)
        assert "What changed" in seen[room.session]
        assert [seen[button]["visible"] for button in (room.stop, room.resume, room.current)] == [False] * 3
        # A second look at the same changes nothing on the page.
        assert room.on_look(None, "", seen[room.seen], asking) == gr.skip()


def test_without_judgements_it_says_what_to_do_next(tmp_path: Path) -> None:
    with open_run_folder(people_run(tmp_path / "run", comparisons=5)) as opened:
        page, room = room_of(opened)
        seen = room.on_visit(asked_by(page, ""))
        assert "Judge some comparisons" in seen[room.notice]
        assert seen[room.start]["interactive"] is False
        assert "No session yet" in seen[room.sessions]


def test_texts_are_shown_and_run_nothing() -> None:
    hostile = '<img src=x onerror="alert(1)">'
    made = Session(
        id="session-1", kind=SessionKind.REWARD_MODEL, level=0, round=0, settings=SETTINGS,
        status=SessionStatus.FINISHED, stop_requested=False, attempts=1, message=hostile, done=0, total=None,
        started_by="x", created_at=utc_now(), started_at=None, heartbeat_at=None, finished_at=None, seconds=1.0,
        error=hostile, result=None,
    )  # fmt: skip
    for state in SessionState:
        row = SessionRow(made, state, hostile, False, 8, replace(SOME, flipped=1))
        shown = render_session(Detail(row, (), (hostile,), hostile, (FlipText(hostile, hostile, hostile, 0.4, 0.6),)))
        assert "<img" not in shown
        assert "&lt;img src=x" in shown


def stopped_session(run: Run) -> None:
    made = queued_session(run)
    request_stop(run, made.id, now=utc_now())


def queued_session(run: Run) -> Session:
    return create_session(
        run, kind=SessionKind.REWARD_MODEL, level=0, round=0, settings=SETTINGS, started_by="local", now=utc_now()
    )


def asked_by(page: Page, token: str) -> gr.Request:
    """A request of somebody who is signed in."""
    cookie = f"{cookie_name(page)}={token}".encode()
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": [(b"cookie", cookie)]}
    return gr.Request(request=fastapi.Request(scope))


def waiting(run: Run) -> list[str]:
    query = "SELECT comparison_id FROM waiting WHERE purpose = 'train' AND raters_missing > 0"
    return [str(row["comparison_id"]) for row in run.database.query(query)]
