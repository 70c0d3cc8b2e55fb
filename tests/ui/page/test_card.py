"""The labeling card in a real browser: keys, the outbox, aids, history, and text that must never run."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rrm.run_folder import open_run_folder
from rrm.starting import start_run
from rrm.store import (
    Choice,
    Judgement,
    Purpose,
    Run,
    Stage,
    StoredAid,
    StoredComparison,
    StoredCompletion,
    StoredDocument,
    live_judgements,
    put_aids,
    put_comparisons,
    put_completions,
    put_documents,
    verify,
)
from rrm.store.leases import leased
from tests.ui.page.browser import SECONDS, Served, open_page, serious_findings, serving
from tests.ui.page.filled_runs import PEOPLE, people_run

EVIL = (
    '<img src=x onerror="window.hacked=1">',
    "<script>window.hacked=1</script>",
    "![](http://198.51.100.7/leak.png)",
    "{{value}} ${window.hacked=1} `",
    "שלום עולם",
    "x" * 3000,
)
CARD = "[data-lease]"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A run with many comparisons, for tests that only judge."""
    with serving(people_run(tmp_path_factory.mktemp("shared") / "run", comparisons=250)) as served:
        yield served


@pytest.fixture(scope="module")
def aided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(people_run(tmp_path_factory.mktemp("aided") / "run", comparisons=100, level=1)) as served:
        yield served


@contextmanager
def card_page(browser: Any, served: Served, **options: Any) -> Iterator[Any]:
    """The page with a comparison in it; at the end nothing was asked elsewhere and nothing failed."""
    with open_page(browser, served, "/", **options) as watched:
        watched.page.locator(CARD).wait_for()
        yield watched.page


def eventually(condition: Callable[[], bool], page: Any = None) -> None:
    """Wait until something holds; the page goes on meanwhile."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came to hold"
        page.wait_for_timeout(20) if page else time.sleep(0.02)


def judged(served: Served) -> list[Judgement]:
    with Run.open(served.folder) as run:
        return live_judgements(run, repeats=True)


def lease_of(page: Any) -> str:
    return str(page.locator(CARD).get_attribute("data-lease"))


def saving(page: Any) -> str:
    return str(page.locator("[data-part=saving]").text_content())


def all_saved(page: Any) -> None:
    page.wait_for_function("/^\\d+ saved$/.test(document.querySelector('[data-part=saving]').textContent)")


def text_of(page: Any, part: str) -> str:
    lines = page.locator(f"[data-part={part}] .line").all_text_contents()
    return "\n".join(lines)


def test_six_presses_are_six_answers_to_what_was_shown(browser: Any, shared: Served) -> None:
    with card_page(browser, shared) as page:
        # All six in one go, faster than any hand: each belongs to the comparison that was on the screen just then.
        shown = page.evaluate("""() => ["1", "2", "3", "4", "0", "s"].map((key) => {
            const card = document.querySelector("[data-lease]");
            const lines = [...card.querySelectorAll("[data-part=left] .line")];
            const left = lines.map((line) => line.textContent).join("\\n");
            const code = /\\d/.test(key) ? `Digit${key}` : "KeyS";
            document.body.dispatchEvent(new KeyboardEvent("keydown", { key, code, bubbles: true, cancelable: true }));
            return [card.dataset.lease ? left : "", key];
        })""")
        all_saved(page)
        assert saving(page) == "6 saved"
        stored = judged(shared)[-6:]
        assert len({each.lease_id for each in stored}) == 6
        assert [each.choice for each in stored[2:]] == [Choice.TIE, Choice.BOTH_BAD, Choice.CANNOT_TELL, Choice.SKIP]
        with Run.open(shared.folder) as run:
            for each, (left, key) in zip(stored[:2], shown[:2], strict=True):
                lease = leased(run, [each.lease_id])[0]
                texts = {Choice.FIRST: lease.first_text, Choice.SECOND: lease.second_text}
                assert (texts[each.choice].rstrip("\n") == left) == (key == "1")


@pytest.mark.parametrize(
    ("key", "choice"),
    [("ArrowLeft", "left"), ("t", "tie"), ("b", "both_bad"), ("x", "cannot_tell"), ("T", None), ("Shift+1", "left")],
)
def test_every_key_has_its_answer(browser: Any, shared: Served, key: str, choice: str | None) -> None:
    with card_page(browser, shared) as page:
        lease = lease_of(page)
        page.keyboard.press(key if key != "T" else "Shift+T")
        if choice is None:
            assert lease_of(page) == lease
            return
        all_saved(page)
        stored = judged(shared)[-1]
        assert stored.lease_id == lease
        assert stored.details.get("strength") == (2 if key.startswith("Shift") else None)
        if choice != "left":
            assert stored.choice.value == choice


def test_keys_are_words_while_typing_and_an_empty_box_closes(browser: Any, shared: Served) -> None:
    with card_page(browser, shared) as page:
        lease = lease_of(page)
        page.keyboard.press("c")
        page.keyboard.type("1 2 3 4 0 t b s u x")
        assert lease_of(page) == lease
        page.keyboard.press("Escape")
        page.keyboard.press("Control+1")
        page.keyboard.press("Alt+2")
        page.keyboard.press("f")
        assert page.locator("[data-do=flag]").get_attribute("aria-pressed") == "true"
        assert lease_of(page) == lease
        page.keyboard.press("2")
        all_saved(page)
        stored = judged(shared)[-1]
        assert (stored.lease_id, stored.comment) == (lease, "1 2 3 4 0 t b s u x")
        assert stored.details["flagged"] is True
        assert page.locator("[data-part=comment]").is_hidden()
        assert page.locator("[data-do=flag]").get_attribute("aria-pressed") == "false"


@pytest.mark.parametrize(("width", "height"), [(1280, 700), (400, 760)])
def test_the_comment_is_not_typed_behind_the_answer_bar(browser: Any, aided: Served, width: int, height: int) -> None:
    with card_page(browser, aided, viewport={"width": width, "height": height}) as page:
        page.keyboard.press("c")
        page.wait_for_function("document.activeElement.tagName === 'TEXTAREA'")
        covered = """() => {
            const box = document.activeElement.getBoundingClientRect();
            return box.bottom > document.querySelector(".answerbar").getBoundingClientRect().top || box.top < 0;
        }"""
        eventually(lambda: not page.evaluate(covered), page)


def test_no_key_answers_behind_an_open_panel(browser: Any, shared: Served) -> None:
    with card_page(browser, shared) as page:
        lease = lease_of(page)
        page.keyboard.press("g")
        page.locator("[data-part=guidelines-text] li").first.wait_for()
        page.keyboard.press("1")
        page.keyboard.press("Escape")
        page.locator("dialog[open]").wait_for(state="detached")
        assert lease_of(page) == lease
        assert saving(page) == ""


def test_a_comment_that_is_too_long_keeps_the_answer_back_and_the_text(browser: Any, shared: Served) -> None:
    with card_page(browser, shared) as page:
        lease = lease_of(page)
        page.keyboard.press("c")
        page.locator("textarea[data-part=text]").fill("y" * 5010)
        page.keyboard.press("Escape")
        page.keyboard.press("1")
        assert "10 characters too many" in page.locator("[data-part=problem]").inner_text()
        assert lease_of(page) == lease
        assert page.locator("textarea[data-part=text]").input_value() == "y" * 5010


def test_a_draft_and_the_same_comparison_are_there_after_a_reload(browser: Any, shared: Served) -> None:
    with card_page(browser, shared) as page:
        page.keyboard.press("1")
        lease = lease_of(page)
        page.keyboard.press("c")
        page.keyboard.type("half a thou")
        page.reload()
        page.locator(CARD).wait_for()
        assert lease_of(page) == lease
        assert page.locator("textarea[data-part=text]").input_value() == "half a thou"


def test_two_tabs_of_one_rater_never_show_the_same(browser: Any, shared: Served) -> None:
    with card_page(browser, shared) as one:
        other = one.context.new_page()
        other.goto(shared.url)
        other.locator(CARD).wait_for()
        for _ in range(12):
            for page in (one, other):
                page.locator(CARD).wait_for()
                page.keyboard.press("3")
        all_saved(one)
        all_saved(other)
        assert [saving(page) for page in (one, other)] == ["12 saved", "12 saved"]
        stored = judged(shared)
        assert len({each.lease_id for each in stored}) == len(stored)


def test_undo_goes_back_through_this_load_and_beyond_it(browser: Any, shared: Served) -> None:
    with card_page(browser, shared) as page:
        first = lease_of(page)
        page.keyboard.press("1")
        second = lease_of(page)
        all_saved(page)
        before = len(judged(shared))
        page.reload()
        page.locator(CARD).wait_for()
        assert lease_of(page) == second
        page.keyboard.press("2")
        page.keyboard.press("u")
        assert lease_of(page) == second
        page.keyboard.press("u")
        page.locator(f'[data-lease="{first}"]').wait_for()
        all_saved(page)
        assert len(judged(shared)) == before - 1
        page.keyboard.press("3")
        assert lease_of(page) == second
        all_saved(page)
        assert [each.choice for each in judged(shared) if each.lease_id == first] == [Choice.TIE]


def test_the_outbox_outlives_the_server_and_the_tab(browser: Any, tmp_path: Path) -> None:
    with serving(people_run(tmp_path / "run", comparisons=30)) as served, open_page(browser, served, "/") as watched:
        page = watched.page
        page.locator(CARD).wait_for()
        page.keyboard.press("1")
        all_saved(page)
        served.kill()
        leases = []
        for _ in range(4):
            leases.append(lease_of(page))
            page.keyboard.press("3")
        page.locator(".saving.trouble").wait_for()
        assert "4 answers are kept here" in saving(page)
        served.restart()
        all_saved(page)
        assert saving(page) == "5 saved"
        served.kill()
        leases.append(lease_of(page))
        page.keyboard.press("3")
        page.locator(".saving.trouble").wait_for()
        page.close()
        served.restart()
        later = watched.page.context.new_page()
        later.goto(served.url)
        later.locator(CARD).wait_for()
        eventually(lambda: len(judged(served)) == 6, later)
        stored = judged(served)
        assert [each.lease_id for each in stored[1:]] == leases
        assert {each.choice for each in stored[1:]} == {Choice.TIE}
        assert verify(served.folder) == []
        # What the killed server could not answer is on the console as it should be, and nothing else is.
        watched.errors[:] = [said for said in watched.errors if "net::ERR_" not in said]


def test_a_clock_that_is_set_back_changes_the_order_of_nothing(browser: Any, tmp_path: Path) -> None:
    with serving(people_run(tmp_path / "run", comparisons=30)) as served, open_page(browser, served, "/") as watched:
        page = watched.page
        page.locator(CARD).wait_for()
        lease = lease_of(page)
        served.kill()
        page.keyboard.press("3")
        page.evaluate("() => { const now = Date.now; Date.now = () => now() - 60000; }")
        page.keyboard.press("u")
        page.keyboard.press("4")
        page.locator(".saving.trouble").wait_for()
        page.close()
        served.restart()
        later = watched.page.context.new_page()
        later.goto(served.url)
        later.locator(CARD).wait_for()
        eventually(lambda: saving(later) == "3 saved", later)
        assert [(each.lease_id, each.choice) for each in judged(served)] == [(lease, Choice.BOTH_BAD)]
        watched.errors[:] = [said for said in watched.errors if "net::ERR_" not in said]


def test_a_refused_answer_is_shown_until_it_is_dismissed(browser: Any, shared: Served) -> None:
    with card_page(browser, shared) as page:
        lease = lease_of(page)
        given = {"id": "given-elsewhere", "lease_id": lease, "choice": "tie", "comment": "from elsewhere"}
        page.request.post(f"{shared.url}/api/answer", data={"answers": [given]})
        page.keyboard.press("4")
        refusal = page.locator(".refusal")
        refusal.wait_for()
        assert "answered this comparison already (tie)" in refusal.inner_text()
        page.reload()
        page.locator(CARD).wait_for()
        assert refusal.count() == 1
        refusal.get_by_role("button", name="Dismiss").click()
        assert refusal.count() == 0
        page.reload()
        page.locator(CARD).wait_for()
        assert refusal.count() == 0
        assert [each.choice for each in judged(shared) if each.lease_id == lease] == [Choice.TIE]


def test_alone_first_then_the_aids_then_the_final_answer(browser: Any, aided: Served) -> None:
    with card_page(browser, aided) as page:
        lease = lease_of(page)
        aids = page.locator("[data-part=aids]")
        assert aids.is_hidden()
        assert "on your own" in page.locator(".ask").inner_text()
        page.keyboard.press("1")
        aids.wait_for()
        assert lease_of(page) == lease
        assert "Final answer" in page.locator(".ask").inner_text()
        assert aids.locator(".pill").all_text_contents()[:2] == ["in the source", "not in the source"]
        assert page.locator("[data-part=source] .cited").count() == 3
        aids.locator(".aid").first.get_by_role("button", name="invalid", exact=True).click()
        page.keyboard.press("Shift+2")
        assert aids.is_hidden()
        assert lease_of(page) != lease
        all_saved(page)
        alone, final = judged(aided)[-2:]
        assert (alone.stage, final.stage) == (Stage.ALONE, Stage.AIDED)
        assert list(dict(final.details["aid_marks"]).values()) == ["invalid"]  # type: ignore[call-overload]
        assert final.details["strength"] == 2
        page.keyboard.press("u")
        aids.wait_for()
        assert lease_of(page) == lease
        pressed = aids.locator('[aria-pressed="true"]')
        assert pressed.all_text_contents() == ["invalid"]
        page.keyboard.press("u")
        assert aids.is_hidden()
        assert "on your own" in page.locator(".ask").inner_text()
        all_saved(page)
        assert [each.lease_id for each in judged(aided) if each.lease_id == lease] == []


def test_a_skip_before_the_aids_is_taken_back_at_once(browser: Any, aided: Served) -> None:
    with card_page(browser, aided) as page:
        lease = lease_of(page)
        page.keyboard.press("s")
        page.keyboard.press("u")
        assert lease_of(page) == lease
        page.keyboard.press("1")
        page.locator("[data-part=aids]").wait_for()
        assert [each.choice for each in judged(aided) if each.lease_id == lease] != [Choice.SKIP]
        assert page.locator(".refusal").count() == 0


def test_a_skip_asks_no_second_time_and_a_reload_between_the_answers_keeps_the_aids(
    browser: Any, aided: Served
) -> None:
    with card_page(browser, aided) as page:
        lease = lease_of(page)
        page.keyboard.press("s")
        assert lease_of(page) != lease
        second = lease_of(page)
        page.keyboard.press("2")
        page.locator("[data-part=aids]").wait_for()
        page.reload()
        page.locator("[data-part=aids]").wait_for()
        assert lease_of(page) == second
        assert page.locator("[data-part=source] .cited").count() == 3


def test_a_first_answer_that_a_killed_server_never_got_still_brings_its_aids(browser: Any, tmp_path: Path) -> None:
    folder = people_run(tmp_path / "run", comparisons=4, level=1)
    with serving(folder) as served, open_page(browser, served, "/") as watched:
        page = watched.page
        page.locator(CARD).wait_for()
        lease = lease_of(page)
        served.kill()
        page.keyboard.press("1")
        page.locator(".saving.trouble").wait_for()
        assert "being saved" in page.locator(".ask").inner_text()
        page.keyboard.press("2")
        served.restart()
        page.locator("[data-part=aids]").wait_for()
        page.keyboard.press("u")
        assert page.locator("[data-part=aids]").is_hidden()
        all_saved(page)
        served.kill()
        page.keyboard.press("3")
        page.locator(".saving.trouble").wait_for()
        served.restart()
        page.reload()
        page.locator("[data-part=aids]").wait_for()
        assert lease_of(page) == lease
        page.keyboard.press("4")
        all_saved(page)
        assert [each.choice for each in judged(served)] == [Choice.TIE, Choice.BOTH_BAD]
        watched.errors[:] = [said for said in watched.errors if "net::ERR_" not in said]


def test_history_reveals_and_changes(browser: Any, shared: Served) -> None:
    with card_page(browser, shared) as page:
        lease = lease_of(page)
        page.keyboard.press("c")
        page.keyboard.type("my reason")
        page.keyboard.press("Escape")
        page.keyboard.press("3")
        page.keyboard.press("i")
        told = page.locator("[data-part=who] [data-told]")
        told.wait_for()
        assert "base (before any training)" in told.inner_text()
        page.keyboard.press("Escape")
        page.keyboard.press("h")
        entry = page.locator(".entry").first
        entry.get_by_role("button", name="Open").click()
        assert "my reason" in entry.inner_text()
        entry.locator("[data-told]").wait_for()
        entry.get_by_role("button", name="Both bad").click()
        page.locator(".entry .pill.bad").wait_for()
        assert "changed after you saw who wrote it" in page.locator(".entry").first.inner_text()
        stored = [each for each in judged(shared) if each.lease_id == lease]
        assert [(each.choice, each.comment, each.details["unblinded"]) for each in stored] == [
            (Choice.BOTH_BAD, "my reason", True)
        ]


def evil_run(folder: Path) -> Path:
    """One comparison whose every text would run, leak or turn around if it were more than text."""
    start_run(folder, PEOPLE)
    evil = "\n".join(EVIL)
    with open_run_folder(folder) as opened:
        run = opened.run
        put_documents(run, [StoredDocument("d", "evil", 1, "train", 0, EVIL[0], evil)])
        put_completions(run, [StoredCompletion(f"c{n}", "d", 1, 0, EVIL[0], f"{n}\n{evil}") for n in (1, 2)])
        put_comparisons(
            run, [StoredComparison("p", 1, 0, Purpose.TRAIN, "d", evil, "c1", "c2", EVIL[0], 0, aids_planned=True)]
        )
        put_aids(run, [StoredAid("a", 1, 0, EVIL[0], "critique", evil, comparison_id="p")])
    return folder


def test_no_text_runs_or_loads_anything(browser: Any, tmp_path: Path) -> None:
    with serving(evil_run(tmp_path / "run")) as served, card_page(browser, served) as page:
        evil = "\n".join(EVIL)
        assert text_of(page, "source") == evil
        assert {text_of(page, "left"), text_of(page, "right")} == {f"1\n{evil}", f"2\n{evil}"}
        page.keyboard.press("1")
        page.locator("[data-part=aids]").wait_for()
        assert text_of(page, "aidlist") == evil
        page.keyboard.press("c")
        page.locator("textarea[data-part=text]").fill(evil)
        page.keyboard.press("Escape")
        page.keyboard.press("2")
        all_saved(page)
        page.keyboard.press("h")
        page.locator(".entry").get_by_role("button", name="Open").click()
        page.locator(".opened .answers").wait_for()
        page.locator(".entry").get_by_role("button", name="Who wrote what").click()
        page.locator(".entry [data-told]").wait_for()
        assert EVIL[0] in page.locator(".entry [data-told]").inner_text()
        assert page.locator(".label img, .label script").count() == 0
        assert page.evaluate("window.hacked") is None
        hebrew = page.locator("[data-part=history] .side .line").filter(has_text="שלום").first
        assert hebrew.evaluate("(line) => getComputedStyle(line).direction") == "rtl"
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_serious_in_light_and_dark_on_wide_and_narrow(browser: Any, aided: Served, width: int) -> None:
    for scheme in ("light", "dark"):
        with card_page(browser, aided, viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
            assert serious_findings(page) == []
            page.keyboard.press("1")
            page.locator("[data-part=aids]").wait_for()
            assert serious_findings(page) == []
            page.keyboard.press("h")
            page.wait_for_function("!/Loading/.test(document.querySelector('[data-part=history-status]').textContent)")
            assert serious_findings(page) == []
            page.keyboard.press("Escape")
            bar = page.locator(".answerbar").bounding_box()
            assert bar["y"] + bar["height"] <= 801
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_keyboard_alone_reaches_every_button(browser: Any, aided: Served) -> None:
    with card_page(browser, aided) as page:
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.dataset.do ?? ''"))
        wanted = set(page.locator(".label [data-do]:visible").evaluate_all("(all) => all.map((one) => one.dataset.do)"))
        assert wanted <= reached
        page.locator("[data-do=tie]").focus()
        page.keyboard.press("Enter")
        page.locator("[data-part=aids]").wait_for()
        assert page.evaluate("document.activeElement.dataset.do") == "tie"


def test_an_empty_run_says_what_to_do(browser: Any, tmp_path: Path) -> None:
    start_run(tmp_path / "run", PEOPLE)
    with serving(tmp_path / "run") as served, open_page(browser, served, "/") as watched:
        page = watched.page
        page.get_by_text("Start a round").wait_for()
        assert page.locator("[data-room=rounds]").get_attribute("href") == "/rounds"
        page.keyboard.press("1")
        page.keyboard.press("u")
        page.locator(".refusal").wait_for()
        assert "left to take back" in page.locator(".refusal").inner_text()


def test_what_another_window_holds_can_be_brought_here(browser: Any, tmp_path: Path) -> None:
    with serving(people_run(tmp_path / "run", comparisons=3)) as served, card_page(browser, served) as one:
        other = one.context.new_page()
        other.goto(served.url)
        other.get_by_role("button", name="Bring it here").click()
        other.locator(CARD).wait_for()
        one.locator("[data-part=bring]").wait_for()
        assert one.locator(CARD).count() == 0
        # Without a comparison there is nothing to answer.
        assert not one.locator("[data-part=work]").is_visible()
        assert not one.get_by_role("button", name="Tie").is_visible()


def test_a_duplicated_tab_is_another_tab(browser: Any, shared: Served) -> None:
    with card_page(browser, shared) as page:
        stored = page.evaluate("Object.keys(sessionStorage).filter((key) => key.startsWith('rrm:tab')).length")
        assert stored == 0
