"""Every room as it is delivered: usable by everybody, quiet, and deaf to text that wants to be a program."""

from pathlib import Path
from typing import Any

import pytest

from rrm.judging.guidelines import edit_guidelines
from rrm.judging.queue import answer, draw_any
from rrm.people.accounts import Person, Role, add_account
from rrm.people.exclusions import leave_out
from rrm.run_folder import open_run_folder
from rrm.sessions.records import SessionKind, SessionStatus
from rrm.sessions.store import begin_attempt, create_session, end_session
from rrm.store import Choice, Run, Stage, StoredAid, comparisons, put_aids, utc_now
from tests.ui.page.browser import Served, open_page, serious_findings, serving
from tests.ui.page.filled_runs import people_run

HOSTILE = (
    '<img src=x onerror="window.ran=1"><script>window.ran=1</script> ![seen](http://example.org/seen.png) '
    "[link](javascript:window.ran=1) {{value}} ${value} \u202eyawa ssorc \u05e9\u05dc\u05d5\u05dd " + "overlong" * 60
)
NAME = "<b onclick=ran()>Zoë</b>"
PASSWORD = "a long enough password"
ROOMS = ("/", "/practice", "/train", "/rounds", "/watch", "/people")


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which everything that a model or a rater can write wants to be a program."""
    folder = people_run(
        tmp_path_factory.mktemp("hostile") / "run",
        comparisons=60,
        documents=12,
        level=1,
        raters=2,
        texts=(HOSTILE, HOSTILE + "!"),
    )
    with open_run_folder(folder) as opened:
        run, now = opened.run, utc_now()
        lead = add_account(run, name=NAME, password=PASSWORD, role=Role.LEAD, now=now)
        rater = add_account(run, name="Ben", password=PASSWORD, role=Role.RATER, now=now)
        _aid(run)
        _answers(run, lead, Choice.FIRST, count=3)
        _answers(run, rater, Choice.SECOND, count=3)
        leave_out(run, rater_id=rater.rater_id, left_out=True, reason=HOSTILE[:200], by=lead, now=now)
        leave_out(run, rater_id=rater.rater_id, left_out=False, reason=HOSTILE[:200], by=lead, now=now)
        edit_guidelines(run, opened.task, text=HOSTILE, by=lead, now=now)
        _failed_session(run, lead)
    return folder


def _aid(run: Run) -> None:
    first = comparisons(run)[0]
    put_aids(run, [StoredAid("hostile", 1, 0, "agent-0-0", "part-briefs", HOSTILE, comparison_id=first.id)])


def _answers(run: Run, person: Person, choice: Choice, *, count: int) -> None:
    for number, drawn in enumerate(draw_any(run, rater_id=person.rater_id, count=count, now=utc_now())):
        details = {"flagged": True} if number == 0 else {}
        for stage in Stage:
            answer(run, drawn.lease_id, stage=stage, choice=choice, comment=HOSTILE, details=details, now=utc_now())


def _failed_session(run: Run, person: Person) -> None:
    made = create_session(
        run,
        kind=SessionKind.REWARD_MODEL,
        level=1,
        round=0,
        settings={"members": 5, "features": ["last_hidden"], "rater_error": 0.1},
        started_by=person.rater_id,
        now=utc_now(),
    )
    begin_attempt(run, made.id, now=utc_now())
    end_session(run, made.id, status=SessionStatus.FAILED, seconds=1.0, now=utc_now(), error=HOSTILE)


def sign_in(page: Any, served: Served, name: str) -> None:
    page.goto(f"{served.url}/sign-in")
    page.fill("input[name=name]", name)
    page.fill("input[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{served.url}/")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 400)])
def test_every_room_is_quiet_and_open_to_everybody(hostile_run: Path, scheme: str, width: int, browser: Any) -> None:
    viewport = {"width": width, "height": 800}
    with (
        serving(hostile_run) as served,
        open_page(browser, served, "/sign-in", color_scheme=scheme, viewport=viewport, reduced_motion="reduce") as one,
    ):
        page = one.page
        assert serious_findings(page) == []
        sign_in(page, served, NAME)
        one.settle()
        for room in ROOMS:
            page.goto(served.url + room)
            page.locator("h1").first.wait_for()
            page.locator("header.top", has_text="Zoë").wait_for()
            one.settle()
            assert page.get_by_text("Reading the figures").count() == 0
            assert (room, serious_findings(page)) == (room, [])
            assert page.locator("h1").count() == 1
            assert page.evaluate("document.documentElement.scrollWidth") <= width, room
            assert page.evaluate("window.ran") is None, room
            # A look at the store may have begun meanwhile, and it must not be torn off.
            one.settle()
        assert page.locator("img[src=x]").count() == 0


def test_hostile_text_is_there_to_be_read(hostile_run: Path, browser: Any) -> None:
    with serving(hostile_run) as served, open_page(browser, served, "/sign-in") as one:
        page = one.page
        sign_in(page, served, NAME)
        page.goto(served.url + "/people")
        page.get_by_text("![seen](http://example.org/seen.png)").first.wait_for()
        one.settle()
        page.goto(served.url + "/train")
        page.get_by_text("{{value}} ${value}").first.wait_for()
        one.settle()
        page.goto(served.url)
        page.locator("[data-lease]").first.wait_for()
        page.keyboard.press("g")
        page.locator("dialog[open]").get_by_text("[link](javascript:window.ran=1)").first.wait_for()
        page.keyboard.press("Escape")
        page.keyboard.press("h")
        page.get_by_role("button", name="Open").first.click()
        page.locator("dialog[open]").get_by_text("yawa ssorc").first.wait_for()
        assert page.evaluate("window.ran") is None
