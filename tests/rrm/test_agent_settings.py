"""What people choose for the agent of a round: in words, checked, stored, and what it is then trained with."""

from pathlib import Path
from typing import get_args

import pytest

from rrm.agent_words import (
    HORIZONS,
    OBJECTIVES,
    REGULARIZERS,
    WEIGHTS,
    agent_in_words,
    matters,
)
from rrm.config import AgentSection, Configuration, Objective, RegularizerName, RewardSection
from rrm.errors import ConfigurationError, RunError
from rrm.judging.queue import answer, draw_any
from rrm.ladder import last_session
from rrm.opening import open_workbench
from rrm.people.accounts import LOCAL
from rrm.playing import agent_settings, play, training_has_begun
from rrm.run_folder import open_run_folder
from rrm.sessions import SessionKind, session
from rrm.sessions.agent_settings import checked_agent, with_agent
from rrm.sessions.round import work_on_round
from rrm.starting import start_run
from rrm.store import Choice, Rater, RaterKind, Stage, artifact, begin_step, put_rater, utc_now
from tests.rrm.session_runs import ended, queued
from tests.rrm.small_runs import SMALL
from tests.rrm.watched_runs import NOW

USUAL = Configuration()
PEOPLE = (*SMALL, "run.levels=1", "judging.rater=people", "judging.planted_share=0", "judging.repeat_share=0")


def test_every_choice_of_the_configuration_has_words() -> None:
    assert {name for _, name in OBJECTIVES} == set(get_args(Objective))
    assert {name for _, name in REGULARIZERS} == set(get_args(RegularizerName))
    for choices, field in ((HORIZONS, "horizon"), (WEIGHTS, "weights")):
        assert {name for _, name in choices} == set(get_args(AgentSection.model_fields[field].annotation))
    words = [said.partition(":")[0] for said, _ in OBJECTIVES]
    assert len(set(words)) == len(words)


def test_an_agent_in_words() -> None:
    assert agent_in_words(AgentSection()) == "RLOO; a nat costs 0.1; 60 steps"
    found = AgentSection(objective="trpo", regularizer="adaptive", beta=0.5, kl_target=6, budget=12, weights="lora")
    assert agent_in_words(found) == (
        "TRPO; a nat costs at first 0.5, towards 6 nats a completion; never more than 12 nats a completion; "
        "LoRA adapters of rank 8; 60 steps"
    )
    found = AgentSection(objective="supervised", regularizer="early_stop", total_variation=0.5, steps=9)
    assert agent_in_words(found) == (
        "Supervised; a nat costs 0.1; it ends at 4 nats a completion; "
        "never more than 0.5 of total variation a completion; 9 steps"
    )
    assert "each token for what it adds itself" in agent_in_words(AgentSection(horizon="myopic"))


@pytest.mark.parametrize(
    ("objective", "regularizer", "weights", "hidden"),
    [
        ("rloo", "fixed", "full", {"kl_target", "lora_rank"}),
        ("online_dpo", "adaptive", "lora", {"horizon"}),
        ("supervised", "early_stop", "full", {"horizon", "lora_rank"}),
    ],
)
def test_a_choice_that_another_makes_idle_does_not_matter(
    objective: str, regularizer: str, weights: str, hidden: set[str]
) -> None:
    found = matters(objective=objective, regularizer=regularizer, weights=weights)
    assert {name for name, shown in found.items() if not shown} == hidden


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"beta": None}, "The setting beta cannot be used"),
        ({"steps": 0}, "The setting steps cannot be used"),
        ({"objective": "magic"}, "The setting objective cannot be used"),
        ({"colour": 1}, "The setting colour cannot be used"),
        ({"budget": 3.0, "total_variation": 0.5}, "choose one hard limit"),
        ({"objective": "dpo", "beta": 0.0}, "These settings cannot be used: 'dpo' aims at .* above 0"),
        ({"objective": "distribution_matching", "beta": 0.0}, "'distribution_matching' aims at"),
        ({"regularizer": "adaptive", "beta": 0.0}, "must begin above 0"),
        ({"objective": "online_dpo", "horizon": "myopic"}, "'online_dpo' weighs whole completions"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        checked_agent(USUAL, given)
    assert str(refused.value).count("\n") == 0


def test_what_is_not_chosen_is_as_the_run_is_configured() -> None:
    config = USUAL.model_copy(update={"agent": AgentSection(steps=7, beta=0.4)})
    assert checked_agent(config, {"objective": "ppo"}) == AgentSection(objective="ppo", steps=7, beta=0.4)
    assert with_agent(config, None) is config
    assert with_agent(config, {"steps": 9}).agent.steps == 9
    # A reward that cannot see single tokens has nothing to tell a myopic agent.
    texts = USUAL.model_copy(update={"reward": RewardSection(kind="lora")})
    with pytest.raises(ConfigurationError, match=r"cannot be used in this run: .*needs reward\.kind 'heads'"):
        checked_agent(texts, {"horizon": "myopic"})


def test_what_is_chosen_is_stored_and_what_the_agent_is_trained_with(tmp_path: Path) -> None:
    start_run(tmp_path / "run", [*SMALL, "run.levels=1"])
    with open_workbench(tmp_path / "run") as bench:
        chosen = checked_agent(bench.config, {"steps": 2, "beta": 0.7, "learning_rate": 5e-4})
        made = queued(bench.run, SessionKind.ROUND, agent=chosen.model_dump(mode="json"))
        work_on_round(bench, session(bench.run, made))
        assert artifact(bench.run, "agent-0-0").settings == chosen.model_dump(mode="json")
        assert agent_settings(bench.run, bench.config, level=0, round=0) == chosen
        # The run itself stays as it was configured.
        assert bench.config.agent.steps == 4


@pytest.mark.usefixtures("forked_workers")
def test_choices_reach_the_worker_and_last_until_others_are_made(tmp_path: Path) -> None:
    start_run(tmp_path / "run", PEOPLE)
    with open_run_folder(tmp_path / "run") as found:
        run, config = found.run, found.config
        with pytest.raises(ConfigurationError):
            play(run, config, by=LOCAL, climb=False, now=utc_now(), agent={"beta": -1.0})
        assert last_session(run, level=0, round=0) is None
        made = play(run, config, by=LOCAL, climb=False, now=utc_now(), agent={"objective": "grpo", "budget": 9.0})
        wanted = config.agent.model_copy(update={"objective": "grpo", "budget": 9.0})
        assert made.settings == {"climb": False, "agent": wanted.model_dump(mode="json")}
        ended(run, made.id)
        assert agent_settings(run, config, level=0, round=0) == wanted
        put_rater(run, Rater("ann", "Ann", RaterKind.PERSON))
        while leased := draw_any(run, rater_id="ann", count=50, now=utc_now()):
            for lease in leased:
                answer(run, lease.lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=utc_now())
        # Training has begun: its settings stay what they were.
        begin_step(run, level=0, round=0, name="optimise", now=NOW)
        assert training_has_begun(run, level=0, round=0) and not training_has_begun(run, level=0, round=1)
        with pytest.raises(RunError, match=r"agent-0-0 has begun with other settings \(GRPO; .* 9 nats"):
            play(run, config, by=LOCAL, climb=False, now=utc_now(), agent={})


def test_a_stored_choice_of_another_version_counts_as_none(tmp_path: Path) -> None:
    start_run(tmp_path / "run", PEOPLE)
    with open_run_folder(tmp_path / "run") as found:
        queued(found.run, SessionKind.ROUND, climb=False, agent={"objective": "of-the-future"})
        assert agent_settings(found.run, found.config, level=0, round=0) == found.config.agent
