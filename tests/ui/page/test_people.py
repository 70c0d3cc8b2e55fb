"""The room People: its forms, what each person may see, and the real page in a browser."""

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from reward_models.errors import RrmError
from rrm.judging.adjudication import disputed_ids
from rrm.judging.guidelines import guidelines_now
from rrm.judging.practice import practise
from rrm.judging.queue import answer, draw_any
from rrm.judging.reliability import reliability_and_by_rater
from rrm.people.accounts import LOCAL, Person, Role, accounts, add_account, check_password
from rrm.people.exclusions import left_out
from rrm.people.overview import overview
from rrm.people.sign_ins import sign_in, who
from rrm.run_folder import RunFolder, open_run_folder
from rrm.store import Choice, Stage, utc_now
from rrm.watching.memory import Memory
from tests.ui.page.browser import chromium, open_page, serious_findings, serving
from tests.ui.page.filled_runs import people_run
from tests.ui.tiny_runs import call
from ui.page import people_forms as forms
from ui.page import practice
from ui.page.context import Page
from ui.page.people_views import PeopleRoom

PASSWORD = "correct horse"
EVIL = '<img src=x onerror="alert(1)">'


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[RunFolder]:
    with open_run_folder(people_run(tmp_path / "run", comparisons=4, raters=2)) as opened:
        yield opened


def page_of(opened: RunFolder) -> Page:
    return Page(folder=opened.run.folder, run=opened.run, task=opened.task, config=opened.config)


def room_of(opened: RunFolder) -> PeopleRoom:
    return PeopleRoom(page_of(opened), Memory(opened.run))


def person(opened: RunFolder, name: str, role: Role = Role.RATER) -> Person:
    return add_account(opened.run, name=name, password=PASSWORD, role=role, now=utc_now())


def team(opened: RunFolder) -> tuple[Person, Person, Person]:
    """A lead and two raters, who disagree about the first of two comparisons; their names and comments are hostile."""
    dana, erik, gila = person(opened, "Dana", Role.LEAD), person(opened, f"Erik {EVIL}"), person(opened, "Gila")
    for rater, choices in ((erik, (Choice.FIRST, Choice.FIRST)), (gila, (Choice.SECOND, Choice.FIRST))):
        for choice in choices:
            leased = draw_any(opened.run, rater_id=rater.rater_id, count=1, now=utc_now())[0]
            answer(
                opened.run,
                leased.lease_id,
                stage=Stage.ALONE,
                choice=choice,
                now=utc_now(),
                comment=f"{rater.name} thinks {EVIL}",
                details={"flagged": True},
            )
    return dana, erik, gila


def test_the_first_lead_is_added_from_the_machine_itself(opened: RunFolder) -> None:
    page = page_of(opened)
    told, done = forms.add(page, LOCAL, name="Dana", password=PASSWORD, role="rater")
    assert not done and "The first must be a lead" in told.replace("the first", "The first")
    told, done = forms.add(page, LOCAL, name="Dana", password=PASSWORD, role="lead")
    assert done and "./sign-in" in told, "from now on everybody signs in"
    assert [each.person.name for each in accounts(opened.run)] == ["Dana"]


def test_leads_look_after_people(opened: RunFolder) -> None:
    page, run = page_of(opened), opened.run
    dana, erik, _ = team(opened)
    assert forms.add(page, dana, name="Hugo", password=PASSWORD, role="rater")[1]
    assert forms.reset_password(page, dana, rater_id=erik.rater_id, password="another one")[1]
    assert check_password(run, erik.name, "another one") == erik
    assert forms.open_or_close(page, dana, rater_id=erik.rater_id, active=False)[1]
    assert check_password(run, erik.name, "another one") is None
    assert forms.open_or_close(page, dana, rater_id=erik.rater_id, active=True)[1]
    assert forms.change_role(page, dana, rater_id=erik.rater_id, role="lead")[1]
    assert check_password(run, erik.name, "another one") == Person(erik.rater_id, erik.name, Role.LEAD)
    assert forms.leave_out_or_take_in(page, dana, rater_id=erik.rater_id, left_out=True, reason="random")[1]
    assert left_out(run) == {erik.rater_id}
    assert forms.leave_out_or_take_in(page, dana, rater_id=erik.rater_id, left_out=False, reason="sorted out")[1]
    assert left_out(run) == frozenset()


def test_a_rater_may_do_none_of_it(opened: RunFolder) -> None:
    page, run = page_of(opened), opened.run
    dana, erik, _ = team(opened)
    before = accounts(run), guidelines_now(run, opened.task), disputed_ids(run), left_out(run)
    for told, done in (
        forms.add(page, erik, name="Hugo", password=PASSWORD, role="lead"),
        forms.reset_password(page, erik, rater_id=dana.rater_id, password=PASSWORD),
        forms.change_role(page, erik, rater_id=erik.rater_id, role="lead"),
        forms.open_or_close(page, erik, rater_id=dana.rater_id, active=False),
        forms.leave_out_or_take_in(page, erik, rater_id=dana.rater_id, left_out=True, reason="revenge"),
        forms.settle(page, erik, comparison_id=before[2][0], choice=Choice.FIRST, comment=""),
        forms.write_guidelines(page, erik, text="Prefer mine."),
    ):
        assert not done and "only a lead may" in told and EVIL not in told
    assert (accounts(run), guidelines_now(run, opened.task), disputed_ids(run), left_out(run)) == before


@pytest.mark.parametrize("chosen", [None, "", "person-unknown", LOCAL.rater_id])
def test_nobody_in_particular_cannot_be_changed(opened: RunFolder, chosen: str | None) -> None:
    page, (dana, _, _) = page_of(opened), team(opened)
    for told, done in (
        forms.reset_password(page, dana, rater_id=chosen, password=PASSWORD),
        forms.change_role(page, dana, rater_id=chosen, role="lead"),
        forms.open_or_close(page, dana, rater_id=chosen, active=False),
    ):
        assert not done and "error" in told
    assert not forms.settle(page, dana, comparison_id=None, choice=Choice.FIRST, comment="")[1]


def test_ones_own_password_needs_the_old_one(opened: RunFolder) -> None:
    page, (_, erik, gila) = page_of(opened), team(opened)
    token = sign_in(opened.run, gila, utc_now())
    assert not forms.change_own_password(page, gila, old="wrong", new="another one")[1]
    assert not forms.change_own_password(page, gila, old=PASSWORD, new="short")[1]
    assert who(opened.run, token, utc_now()) == gila
    assert forms.change_own_password(page, gila, old=PASSWORD, new="another one")[1]
    assert check_password(opened.run, "Gila", "another one") == gila and who(opened.run, token, utc_now()) is None
    assert check_password(opened.run, erik.name, PASSWORD) == erik


def test_a_rater_sees_their_own_figures_and_nobody_elses(opened: RunFolder) -> None:
    dana, erik, gila = team(opened)
    own = overview(opened.run, by=gila)
    assert [row.name for row in own.rows] == ["Gila"] and own.everybody is None
    everybody = overview(opened.run, by=dana)
    assert {row.name for row in everybody.rows} == {"Dana", erik.name, "Gila"} and everybody.everybody is not None
    assert own.rows[0] == next(row for row in everybody.rows if row.name == "Gila")
    room = room_of(opened)
    seen = room.figures(gila)
    assert "Gila" in seen and "Dana" not in seen and "Erik" not in seen and "Agreement</h2>" not in seen
    assert room.choices(gila)["choices"] == []
    for refused in (room.remarks, room.disputed):
        with pytest.raises(RrmError, match="only a lead"):
            refused(gila)


def test_leads_see_everything_and_nothing_of_it_runs(opened: RunFolder) -> None:
    room, (dana, _, _) = room_of(opened), team(opened)
    chosen, disputed, _ = room.disputed(dana)
    assert chosen == disputed_ids(opened.run)[0] and "Second is better" in disputed
    for html in (room.figures(dana), room.remarks(dana), disputed):
        assert "&lt;img" in html and "<img" not in html
    assert "50%" in room.figures(dana), "one of two comparisons was answered alike"


def test_settling_shows_the_next_one_and_another_one_can_come_first(opened: RunFolder) -> None:
    room, (dana, erik, gila) = room_of(opened), team(opened)
    for rater, choice in ((erik, Choice.FIRST), (gila, Choice.TIE)):
        leased = draw_any(opened.run, rater_id=rater.rater_id, count=1, now=utc_now())[0]
        answer(opened.run, leased.lease_id, stage=Stage.ALONE, choice=choice, now=utc_now())
    first, second = disputed_ids(opened.run)
    assert room.disputed(dana)[0] == first and room.disputed(dana, after=first)[0] == second
    assert room.disputed(dana, after=second)[0] == first
    assert forms.settle(room.page, dana, comparison_id=first, choice=Choice.SECOND, comment=" look at entry 3 ")[1]
    assert room.disputed(dana)[0] == second
    assert forms.settle(room.page, dana, comparison_id=second, choice=Choice.BOTH_BAD, comment="")[1]
    chosen, html, controls = room.disputed(dana)
    assert chosen is None and "Nothing waits" in html and controls["visible"] is False


def test_guidelines_are_shown_with_their_versions(opened: RunFolder) -> None:
    room, (dana, _, _) = room_of(opened), team(opened)
    assert "own text" in room.guidelines()
    assert forms.write_guidelines(room.page, dana, text=f"Prefer the truer one. {EVIL}")[1]
    html = room.guidelines()
    assert "Prefer the truer one." in html and "1 earlier version" in html and "<img" not in html
    told, done = forms.write_guidelines(room.page, dana, text="  ")
    assert not done and "guidelines of 0 characters" in told.lower()


def test_undefined_agreement_is_explained(opened: RunFolder) -> None:
    person(opened, "Dana", Role.LEAD)
    dana = accounts(opened.run)[0].person
    html = room_of(opened).figures(dana)
    assert "undefined" in html and "nan" not in html.lower().replace("finance", "")
    assert "fewer than two raters have answered" in html


def test_figures_given_are_those_computed(opened: RunFolder) -> None:
    dana, *_ = team(opened)
    figures = reliability_and_by_rater(opened.run)
    assert overview(opened.run, by=dana, figures=figures) == overview(opened.run, by=dana)


def test_practice_tells_at_once_and_stores_nothing(opened: RunFolder) -> None:
    page, before = page_of(opened), opened.run.database.execute("SELECT count(*) FROM judgements").fetchone()
    for place, item in enumerate(opened.task.practice()):
        right, wrong = ("left", "right") if item.answer == "first" else ("right", "left")
        html, answers, following = practice.answered(page, right, place)  # type: ignore[arg-type]
        assert "That is right." in html and answers["visible"] is False and following["visible"] is True
        html, answers, following = practice.answered(page, wrong, place)  # type: ignore[arg-type]
        assert "not the better one" in html and answers["visible"] is True and following["visible"] is False
        assert practise(opened.task, place, right).right  # type: ignore[arg-type]
    place, html, answers, following = practice.gone_on(page, len(opened.task.practice()) - 1)
    assert "That was the last of 4" in html and answers["visible"] is False and following["visible"] is False
    assert opened.run.database.execute("SELECT count(*) FROM judgements").fetchone() == before


def test_accounts_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(people_run(tmp_path / "run", comparisons=1))

    def given(password: str, *words: str, code: int = 0) -> str:
        monkeypatch.setattr("sys.stdin", StringIO(f"{password}\n"))
        return call(capsys, "people", folder, *words, "--password-stdin", code=code)

    assert "No accounts" in call(capsys, "people", folder)
    assert "the first must be a lead" in given(PASSWORD, "add", "Dana", code=1)
    assert "Added Dana (lead)" in given(PASSWORD, "add", "Dana", "--role", "lead")
    assert "at least 8" in given("short", "add", "Erik", code=1)
    given(PASSWORD, "add", "Erik")
    assert "signed out everywhere" in given("another one", "password", "erik")
    assert "is a lead now" in call(capsys, "people", folder, "role", "Erik", "--role", "lead")
    assert "cannot sign in" in call(capsys, "people", folder, "close", "Erik")
    assert "last lead" in call(capsys, "people", folder, "close", "Dana", code=1)
    listed = json.loads(call(capsys, "people", folder, "--json"))
    assert [(each["name"], each["role"], each["active"]) for each in listed] == [
        ("Dana", "lead", True),
        ("Erik", "lead", False),
    ]
    assert "(closed) Erik" in call(capsys, "people", folder) and PASSWORD not in json.dumps(listed)
    for wrong in (("role",), ("role", "Dana"), ("list", "Dana")):
        call(capsys, "people", folder, *wrong, code=2)
    with open_run_folder(Path(folder)) as opened:
        assert check_password(opened.run, "Dana", PASSWORD) is not None


def test_the_room_in_a_browser(opened: RunFolder) -> None:
    """From the first lead to a settled comparison, by the controls a person uses; nothing hostile runs."""
    folder = opened.run.folder
    with serving(folder) as served, chromium() as browser, open_page(browser, served, "/people") as seen:
        page = seen.page
        page.get_by_role("button", name="Add somebody").click()
        page.get_by_label("Name").fill(f"Dana {EVIL}")
        page.get_by_label("Password").fill("short")
        page.get_by_label("Lead").check()
        page.get_by_role("button", name="Add", exact=True).click()
        page.get_by_role("alert").filter(has_text="at least 8").wait_for()
        assert page.get_by_label("Name").input_value() == f"Dana {EVIL}", "what was typed is kept"
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Add", exact=True).click()
        page.get_by_role("link", name="Sign in").click()
        page.get_by_label("Name").fill(f"Dana {EVIL}")
        page.get_by_label("Password").fill(PASSWORD)
        assert serious_findings(page) == []
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/people")
        for name in ("Erik", "Gila"):
            person(opened, name)
        for rater, choice in zip(accounts(opened.run)[1:], (Choice.FIRST, Choice.SECOND), strict=True):
            leased = draw_any(opened.run, rater_id=rater.person.rater_id, count=1, now=utc_now())[0]
            answer(opened.run, leased.lease_id, stage=Stage.ALONE, choice=choice, now=utc_now(), comment=EVIL)
        seen.settle()
        page.reload()
        page.get_by_text("1 comparison waits").wait_for()
        assert serious_findings(page) == []
        page.get_by_role("button", name="Second is better").click()
        page.get_by_text("Nothing waits for a lead").wait_for()
        assert disputed_ids(opened.run) == []
        assert page.locator("img").count() == 0
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/sign-in**")
        assert served.process.is_alive()
