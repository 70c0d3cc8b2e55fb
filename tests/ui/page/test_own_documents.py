"""Long stories that none of us wrote, as trees of three levels, from files to a report; people judge in the page."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from rrm.given_completions import give_completions
from rrm.judging.desk import Desk
from rrm.judging.details import GivenAnswer
from rrm.judging.sides import Side
from rrm.judging.taste import liked_words
from rrm.opening import open_workbench
from rrm.people.accounts import Person, Role
from rrm.progress import SilentProgress
from rrm.report import write_report
from rrm.rounds import play_round
from rrm.run_folder import open_run_folder
from rrm.starting_own import OwnMaterial, start_own_run
from rrm.store import Stage, comparisons, completions, live_judgements, utc_now
from rrm.store.part_briefs import part_briefs
from rrm.store.times import later
from rrm.tasks.own_text import OwnText
from rrm.tasks.task import Split
from rrm.workbench import Workbench
from tests.rrm.own_runs import preference_lines
from tests.ui.page.browser import serving
from tests.ui.page.test_card import CARD, all_saved, card_page, text_of

STORIES = 8
LIKES = ("ship", "captain", "planet", "earth", "space")
SETTINGS = (
    "run.threads=1",
    "text.fan_out=10",
    "judging.judgements_per_round=16",
    "judging.validation_judgements=6",
    "judging.promotion_judgements=4",
    "judging.repeat_share=0",
    "judging.unaided_share=0",
    "sampling.train_documents=6",
    "sampling.validation_documents=2",
    "sampling.test_documents=2",
    "sampling.completions_per_document=3",
    "sampling.max_new_tokens=32",
    "reward.members=2",
    "agent.steps=2",
    "agent.prompts_per_step=2",
    "agent.group=2",
    "agent.bf16=false",
)


@pytest.fixture(scope="module")
def stories(shared_data: Path) -> list[dict[str, Any]]:
    """Eight stories of about 5,000 words, hard-wrapped, without section marks, each with four written plots."""
    with gzip.open(shared_data / "documents" / "squality-dev.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for _, line in zip(range(STORIES), file, strict=False)]


def test_stories_are_briefed_from_their_parts_and_judged_in_the_page(
    browser: Any, shared_data: Path, stories: list[dict[str, Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    source = preference_lines([{"document": one["document"]} for one in stories], tmp_path / "stories.jsonl")
    material = OwnMaterial(model=str(shared_data / "models" / "stories260k"), documents=str(source))
    started = start_own_run(folder, material, SETTINGS, progress=SilentProgress())
    assert started.prepared.report.read == STORIES
    with open_run_folder(folder) as opened:
        _check_trees(opened.task, stories)
        plots: list[dict[str, object]] = [
            {"document": one["document"], "completion": answer["response_text"], "by": f"person {answer['worker_id']}"}
            for one in stories
            for answer in one["questions"][0]["responses"]
        ]
        given = give_completions(opened.run, opened.task, preference_lines(plots, tmp_path / "plots.jsonl"))
        assert given.stored == 4 * STORIES and dict(given.levels) == {2: 4 * STORIES}
    for level in range(3):
        with open_workbench(folder) as bench:
            play_round(bench, level=level, round=0)
            if level:
                _check_what_was_read(bench, level)
        if level == 2:
            _judge_in_the_page(browser, folder)
        _judge_the_rest(folder)
        with open_workbench(folder) as bench:
            play_round(bench, level=level, round=0)
        _judge_the_rest(folder)
        with open_workbench(folder) as bench:
            assert play_round(bench, level=level, round=0).finished
    with open_workbench(folder) as bench:
        written = write_report(bench)
        writers = {one.id: one.agent_id.split("-")[0] for one in completions(bench.run, level=2)}
        asked = comparisons(bench.run, level=2)
    pairs = [{writers[one.first_completion_id], writers[one.second_completion_id]} for one in asked]
    assert {"given"} in pairs, "plots by people are compared with each other"
    assert {"given", "base"} in pairs, "and with what the model wrote"
    assert [level.level for level in written.levels] == [0, 1, 2]
    assert all(level.kl is not None and level.policy["agent"] is None for level in written.levels)
    assert "gold" not in " ".join(written.table()[0])


def _check_trees(task: Any, stories: list[dict[str, Any]]) -> None:
    """Every word of every story is in its leaves, in order; each story is one tree of three levels."""
    assert isinstance(task, OwnText)
    roots = [
        task.document(split=split, level=2, index=place)
        for split in Split
        for place in range(task.size(split=split, level=2))
    ]
    assert len(roots) == STORIES
    words = {" ".join(one["document"].split()) for one in stories}
    assert {" ".join(" ".join(leaf.text for leaf in root.leaves()).split()) for root in roots} == words


def _check_what_was_read(bench: Workbench, level: int) -> None:
    """Nobody read a whole story: prompts are made of what the agent of the level below wrote of the parts."""
    for one in comparisons(bench.run, level=level):
        assert len(bench.base.encode_prompt(one.prompt)) < 512
        written = part_briefs(bench.run, one.document_id, bench.incumbent(level - 1))
        assert written and all(text.strip() in one.prompt for text in written)


def _judge_in_the_page(browser: Any, folder: Path) -> None:
    """The whole story stands there; the first answer is given alone, the second with what was written of its parts."""
    with serving(folder) as served, card_page(browser, served) as page:
        assert len(text_of(page, "source").split()) > 3000
        aids = page.locator("[data-part=aids]")
        assert aids.is_hidden()
        page.keyboard.press("1")
        aids.wait_for()
        assert "part 1 of" in aids.inner_text()
        # Nothing is known of this text, so that nothing is marked as true or false.
        assert aids.locator(".pill").count() == 0
        assert not page.locator("[data-part=checked]").is_visible()
        page.keyboard.press("2")
        page.wait_for_function("document.querySelector('[data-part=aids]').hidden")
        page.locator(CARD).wait_for()
        all_saved(page)
    with open_run_folder(folder) as opened:
        alone, final = live_judgements(opened.run)[-2:]
    assert (alone.stage, final.stage, final.aids_seen) == (Stage.ALONE, Stage.AIDED, True)
    assert alone.choice is not final.choice


def _judge_the_rest(folder: Path) -> None:
    """Somebody who likes space answers whatever waits, by the functions that the page calls."""
    with open_run_folder(folder) as opened:
        person = Person("ann", "Ann", Role.RATER)
        desk = Desk(run=opened.run, task=opened.task, config=opened.config, person=person, tab="tab")
        # What the page took beforehand comes back to the queue when its time has run out.
        now = later(utc_now(), 3600.0)
        while cards := desk.next_cards(count=5, now=now).cards:
            for card in cards:
                lead = liked_words(card.left, LIKES) - liked_words(card.right, LIKES)
                side = Side.TIE if lead == 0 else Side.LEFT if lead > 0 else Side.RIGHT
                answers = [
                    GivenAnswer(f"{stage.value}-{card.lease_id}", card.lease_id, stage, side)
                    for stage in ((Stage.ALONE, Stage.AIDED) if card.aids_planned else (Stage.ALONE,))
                ]
                assert all(outcome.saved for outcome in desk.answer(answers, now=now))
