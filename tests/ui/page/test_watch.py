"""The room Watch: the numbers of a run are on the page, in the templates and in a real browser."""

import html
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from rrm.run_folder import open_run_folder
from rrm.transcripts import Token, Transcript, in_words, stored_transcripts
from rrm.watching.room import Room, Show, Table, columns
from rrm.watching.rooms import judging_rooms
from rrm.watching.shares import share
from tests.ui.page.browser import open_page, serious_findings, serving
from tests.ui.page.filled_runs import people_run
from ui.page.watch import show_rooms, shown

AGENTS = ("agent-0-0", "agent-1-0")


@pytest.fixture(scope="module")
def climbed_run(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(finished, tmp_path_factory.mktemp("climbed") / "run"))


def test_cells_as_people_read_them() -> None:
    half = share(5, 10)
    assert half is not None
    cells = [
        (None, Show.PERCENT), ("undefined: no overlap", Show.FIGURE), (half, Show.FIGURE), (12000, Show.COUNT),
        (0.934, Show.PERCENT), (80.0, Show.SECONDS), (-0.5, Show.FIGURE), ("", Show.TEXT),
    ]  # fmt: skip
    assert [shown(cell, show) for cell, show in cells] == [
        "–", "undefined: no overlap", "50% (24% to 76%)", "12\u202f000", "93%", "1 min 20 s", "−0.50", "–",
    ]  # fmt: skip


def test_names_in_figures_and_tables_are_text() -> None:
    markup = "<img src=x onerror=alert(1)>"
    room = Room(
        key="a",
        title=markup,
        reading=markup,
        empty="",
        table=Table(columns(name=Show.TEXT), ((markup,),)),
        remarks=(markup,),
    )
    later = Room(key="b", title=markup, reading="", empty=markup)
    assert "<img" not in show_rooms([room, later])
    assert show_rooms([room, later]).count(html.escape(markup)) >= 6


def test_a_transcript_is_marked_and_no_text_of_a_model_runs() -> None:
    markup = "<img src=x onerror=alert(1)>"
    found = Transcript(markup, markup, markup, (Token(markup, markup, 0.5, -0.1, -2.0, 0.3),))
    room = Room("spending", "Nats", "", "", table=Table(columns(name=Show.TEXT), ((markup,),)), transcripts=(found,))
    page = show_rooms([room])
    assert "<img" not in page and 'class="kl3" title="0.50 nats; probability 90%, under the base 14%' in page
    assert page.count(html.escape(markup)) >= 4 and page.count('<span class="kl') == 1 + 5


def test_rooms_without_figures_come_last_with_what_to_do() -> None:
    there = Room("a", "There", "Read it so.", "", table=Table(columns(level=Show.COUNT), ((1,),)))
    page = show_rooms([Room("b", "Later", "", "Judge something first."), there])
    assert page.index("There") < page.index("Later") < page.index("Judge something first.")
    assert "<svg" not in page


def test_the_page_shows_the_numbers_of_a_climbed_run(climbed_run: Path, browser: Any) -> None:
    with open_run_folder(climbed_run) as opened:
        accuracy = next(room for room in judging_rooms(opened.run, opened.task) if room.key == "accuracy").table
    assert accuracy is not None
    with serving(climbed_run) as served, open_page(browser, served, "/watch") as watched:
        page = watched.page
        page.locator("#accuracy details summary").click()
        for row in accuracy.rows:
            cells = [shown(cell, column.show) for cell, column in zip(row, accuracy.columns, strict=True)]
            page.get_by_role("row", name=re.compile(re.escape(" ".join(cells[:4])))).first.wait_for()
            assert cells[-1] in page.locator("#accuracy").inner_text()
        assert page.locator("#accuracy svg[role=img]").count() == 1
        page.locator("#optimisation svg").wait_for()
        page.locator("#learning svg").wait_for()
        with open_run_folder(climbed_run) as opened:
            kept = [max(stored_transcripts(opened.run, one), key=lambda found: len(found.tokens)) for one in AGENTS]
        assert [one.inner_text() for one in page.locator("#spending .spent").all()] == [
            "".join(token.shown for token in one.tokens) for one in kept
        ]
        page.locator("#spending").get_by_text(in_words(kept[-1])).wait_for()
        assert page.get_by_role("heading", level=1).count() == 1
        # The other reward model is one choice away.
        assert "Level 1, round 0: 12 held-out judgements" in page.locator("#calibration").inner_text()
        page.get_by_role("combobox", name="Reward model").click()
        page.get_by_role("option", name="Level 0, round 0").click()
        page.get_by_text("Level 0, round 0: 12 held-out judgements").wait_for()
        assert serious_findings(page) == []


def test_it_fits_a_narrow_window_in_light_and_in_dark(climbed_run: Path, browser: Any) -> None:
    with serving(climbed_run) as served:
        for scheme in ("light", "dark"):
            path = f"/watch?__theme={scheme}"
            with open_page(browser, served, path, viewport={"width": 400, "height": 800}) as watched:
                page = watched.page
                page.locator("#optimisation svg").wait_for()
                for summary in page.locator("details summary").all():
                    summary.click()
                assert page.evaluate("document.documentElement.scrollWidth") <= 400
                assert serious_findings(page) == []


def test_an_empty_run_says_what_to_do(tmp_path: Path, browser: Any) -> None:
    folder = people_run(tmp_path / "run", comparisons=2)
    with serving(folder) as served, open_page(browser, served, "/watch") as watched:
        watched.page.get_by_text("Judge a few comparisons under Label").wait_for()
        watched.page.get_by_text("No agent has been trained yet.").wait_for()
        assert watched.page.locator("svg[role=img]").count() == 0
        assert serious_findings(watched.page) == []
