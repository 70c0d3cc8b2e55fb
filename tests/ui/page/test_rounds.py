"""The room Rounds: the ladder on the page, and a round started, judged, trained and decided from it."""

import asyncio
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from rrm.config import AgentSection
from rrm.people.accounts import LOCAL, Person, Role
from rrm.playing import play
from rrm.run_folder import open_run_folder
from rrm.rungs import RoundState
from rrm.sessions import SessionState, request_stop, running_session, sessions
from rrm.sessions.agent_settings import checked_agent
from rrm.standing import decision_on
from rrm.starting import start_run
from rrm.store import Run, begin_step, comparisons, utc_now
from tests.rrm.session_runs import copy_of, ended
from tests.rrm.small_runs import SMALL, climbed
from tests.rrm.test_ladder import PEOPLE, answer_all
from tests.ui.page.browser import open_page, serious_findings, serving
from ui.page.context import Page
from ui.page.rounds_form import AgentForm
from ui.page.rounds_view import View, view

ANN = Person("ann", "Ann", Role.RATER)


@contextmanager
def page_of(folder: Path) -> Iterator[Page]:
    with open_run_folder(folder) as opened:
        yield Page(folder, opened.run, opened.task, opened.config)


def seen(folder: Path, person: Person = LOCAL) -> View:
    with page_of(folder) as page:
        return view(page, person)


@pytest.fixture(scope="module")
def undecided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of people, played as a terminal would until its promotion waits; only to be looked at."""
    from rrm.opening import open_workbench
    from rrm.rounds import play_round

    folder = tmp_path_factory.mktemp("undecided") / "run"
    start_run(folder, PEOPLE)
    with open_workbench(folder) as bench:
        for _ in range(3):
            play_round(bench, level=0, round=0)
            answer_all(bench.run)
    return folder


def test_a_new_run_can_be_started_by_a_lead_only(tmp_path: Path) -> None:
    start_run(tmp_path / "run", PEOPLE)
    lead, rater = seen(tmp_path / "run"), seen(tmp_path / "run", ANN)
    assert (lead.start, lead.pause, lead.decide) == ("Start the round", False, False)
    assert (rater.start, rater.pause, rater.decide) == (None, False, False)
    assert "for leads" in rater.now and "for leads" not in lead.now
    assert lead.ladder == rater.ladder
    assert "waits" not in lead.ladder and lead.ladder.count("<li") == 2
    assert lead.training.count("<svg") == 0 and "<table" not in lead.decided


def test_a_finished_run_shows_training_and_promotions(tmp_path: Path) -> None:
    found = seen(climbed(tmp_path / "run", "run.levels=1"))
    assert "All rounds are over" in found.now
    assert "agent-0-0" in found.decided and "held-out judgements" in found.decided
    assert re.search(r"After 4 steps: reward −?\d\.\d\d", found.training) and found.training.count("<svg") == 2
    assert found.steps.count(">done<") == 10
    assert (found.start, found.pause, found.decide) == (None, False, False)


def test_the_evidence_stands_beside_the_decision(undecided: Path) -> None:
    lead, rater = seen(undecided), seen(undecided, ANN)
    assert (lead.start, lead.decide, rater.decide) == (None, True, False)
    assert re.search(r"agent-0-0 won \d+% of 8 held-out judgements against base \(95% interval", lead.now)
    assert "cannot be taken back" in lead.now and lead.now.count("<svg") == 1
    assert RoundState.WAITS_FOR_DECISION.value in lead.ladder


def test_a_round_is_started_from_the_page_and_judgements_wait(tmp_path: Path, browser: Any) -> None:
    folder = tmp_path / "run"
    start_run(folder, PEOPLE)
    with serving(folder) as served, open_page(browser, served, "/rounds") as watched:
        page = watched.page
        page.get_by_role("button", name="Start the round").click()
        page.get_by_text("waits for 42 judgements").wait_for()
        with Run.open(folder) as run:
            assert len(comparisons(run, level=0, round=0)) == 42
            assert [one.started_by for one in sessions(run)] == ["local"]
        assert page.get_by_role("button", name="Start the round").count() == 0
        page.get_by_role("link", name="Judge now").wait_for()
        assert page.locator(".rung[aria-current=step] h3").inner_text().startswith("Level 0")
        assert serious_findings(page) == []
        # When the judgements are there, the page says so by itself.
        with Run.open(folder) as run:
            answer_all(run)
        page.get_by_role("button", name="Go on").wait_for()


def test_a_round_is_paused_and_resumed_from_the_page(tmp_path: Path, browser: Any) -> None:
    folder = tmp_path / "run"
    start_run(folder, [*SMALL, "run.levels=1", "agent.steps=5000"])
    with serving(folder) as served, open_page(browser, served, "/rounds") as watched:
        page = watched.page
        page.get_by_text("In this run the simulated rater judges").wait_for()
        page.get_by_role("button", name="Start the round").click()
        # Training is watched live.
        page.get_by_text(re.compile(r"After \d+ steps: reward")).wait_for()
        watched.settle()
        page.reload()
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="Resume").wait_for()
        with Run.open(folder) as run:
            assert running_session(run) is None
        page.get_by_role("button", name="Resume").click()
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="Resume").wait_for()
        with Run.open(folder) as run:
            assert [one.attempts for one in sessions(run)] == [2]


def test_a_promotion_is_approved_on_the_page(undecided: Path, tmp_path: Path, browser: Any) -> None:
    folder = copy_of(undecided, tmp_path / "run")
    with serving(folder) as served, open_page(browser, served, "/rounds") as watched:
        page = watched.page
        page.get_by_text("agent-0-0 won").wait_for()
        assert serious_findings(page) == []
        page.get_by_role("button", name="Approve the new agent").click()
        page.get_by_text("agent-0-0 from level 0 helps to judge here").wait_for()
        page.get_by_role("button", name="Start the round").wait_for()
        with Run.open(folder) as run:
            decision = decision_on(run, level=0, round=0)
        assert decision is not None
        assert (decision.promoted, decision.record["decided_by"]) == (True, "local")
        assert page.get_by_role("row", name=re.compile("agent-0-0 base .* promoted You")).count() == 1


@pytest.mark.usefixtures("forked_workers")
def test_what_stands_in_the_way_is_said_as_a_sentence(tmp_path: Path, browser: Any) -> None:
    folder = tmp_path / "run"
    start_run(folder, [*SMALL, "run.levels=1", "agent.steps=5000"])
    with serving(folder) as served, open_page(browser, served, "/rounds") as watched:
        page = watched.page
        button = page.get_by_role("button", name="Start the round")
        button.wait_for()
        with open_run_folder(folder) as opened, opened.run.exclusive():
            button.click()
            page.get_by_role("alert").get_by_text("Something else works on this run already").wait_for()
        with open_run_folder(folder) as opened:
            made = play(opened.run, opened.config, by=LOCAL, climb=False, now=utc_now())
            page.get_by_role("button", name="Pause").wait_for()
            request_stop(opened.run, made.id, now=utc_now())
            ended(opened.run, made.id)


def test_what_the_agent_is_trained_with_is_chosen_on_the_page(tmp_path: Path, browser: Any) -> None:
    folder = tmp_path / "run"
    start_run(folder, [*PEOPLE, "agent.beta=0.3"])
    with serving(folder) as served:
        with open_page(browser, served, "/rounds", viewport={"width": 400, "height": 900}) as watched:
            page = watched.page
            page.get_by_text("Its agent: RLOO; a nat costs 0.3; 4 steps.").wait_for()
            watched.settle()
            page.get_by_role("button", name="How the agent learns").click()
            watched.settle()
            assert page.get_by_label("Price of a nat").input_value() == "0.3"
            assert page.get_by_label("The KL that it goes to").count() == 0
            page.get_by_label("Adaptive price").check()
            page.get_by_label("The KL that it goes to").fill("6")
            page.get_by_label("What it learns from").click()
            page.get_by_role("option", name="PPO").click()
            page.get_by_label("Price of a nat").fill("0")
            page.get_by_label("Hard budget of one completion").fill("12")
            assert page.evaluate("document.documentElement.scrollWidth") <= 400
            assert serious_findings(page) == []
            # What cannot be used is refused as a sentence, and what was filled in stays.
            page.get_by_role("button", name="Start the round").click()
            page.get_by_role("alert").get_by_text("it must begin above 0").wait_for()
            assert page.get_by_label("Hard budget of one completion").input_value() == "12"
            page.get_by_label("Price of a nat").fill("0.5")
            page.get_by_role("button", name="Start the round").click()
            page.get_by_text("waits for 42 judgements").wait_for()
        words = (
            "PPO; a nat costs at first 0.5, towards 6 nats a completion; never more than 12 nats a completion; 4 steps"
        )
        with open_page(browser, served, "/rounds?__theme=dark") as watched:
            watched.page.get_by_text(f"Its agent: {words}.").wait_for()
            # Nothing can be started now, so there is nothing to choose.
            assert watched.page.get_by_role("button", name="How the agent learns").count() == 0
    with open_run_folder(folder) as opened:
        stored = sessions(opened.run)[0].settings["agent"]
        wanted = {"objective": "ppo", "regularizer": "adaptive", "beta": 0.5, "kl_target": 6.0, "budget": 12.0}
        assert stored == opened.config.agent.model_dump(mode="json") | wanted


@pytest.mark.usefixtures("forked_workers")
def test_the_form_says_what_was_chosen_last_and_goes_when_training_has_begun(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    start_run(folder, PEOPLE)
    assert seen(folder).choose and not seen(folder, ANN).choose
    with page_of(folder) as page:
        made = play(page.run, page.config, by=LOCAL, climb=False, now=utc_now(), agent={"objective": "grpo"})
        assert ended(page.run, made.id)[0] is SessionState.FINISHED
        answer_all(page.run)
        found = view(page, LOCAL)
        assert (found.start, found.choose, found.agent.objective) == ("Go on", True, "grpo")
        begin_step(page.run, level=0, round=0, name="optimise", now=utc_now())
        found = view(page, LOCAL)
        assert (found.start, found.choose, found.agent.objective) == ("Resume", False, "grpo")


def test_what_is_filled_in_becomes_the_agent_s_settings(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    start_run(folder, [*PEOPLE, "agent.beta=0.3", "agent.kl_target=7.0", "agent.horizon=myopic"])
    with page_of(folder) as page:
        form, usual = furnished(lambda: AgentForm(page.config.agent)), page.config.agent

        def chosen(**changed: object) -> AgentSection:
            filled_in = [changed.get(name, control.value) for name, control in form.controls.items()]
            return checked_agent(page.config, form.settings(filled_in))

        assert chosen() == usual
        found = chosen(objective="grpo", regularizer="early_stop", kl_target=3, weights="lora", lora_rank=4, steps=9)
        assert (found.objective, found.regularizer, found.kl_target, found.steps) == ("grpo", "early_stop", 3.0, 9)
        assert (found.weights, found.lora_rank, found.horizon) == ("lora", 4, "myopic")
        # What is not shown was not chosen: the KL is idle at a fixed price, and a horizon for imitation.
        found = chosen(objective="supervised", beta=0.7, kl_target=99.0, lora_rank=99)
        assert (found.beta, found.kl_target, found.horizon, found.lora_rank) == (0.7, 7.0, "completion", 8)
        shown, *rest = form.updates(found, visible=True)
        by_name = dict(zip(form.controls, rest, strict=True))
        assert shown["visible"] and by_name["objective"]["value"] == "supervised"
        assert not by_name["horizon"]["visible"] and by_name["budget"]["visible"]
        assert form.updates(None, visible=False)[1:] == [gr.skip()] * len(form.controls)


def furnished(make: Callable[[], AgentForm]) -> AgentForm:
    """A form without a server. Gradio wants an event loop that runs, or makes one and leaves it open."""

    async def furnish() -> AgentForm:
        with gr.Blocks(analytics_enabled=False):
            return make()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(furnish())).result()
