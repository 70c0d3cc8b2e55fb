"""Every way of training an agent, in a run: from the configuration to an agent that acts as it was trained to."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import pytest
import torch

from agents.rollout import rollout
from reward_models.estimate import RewardEstimate
from rrm.config import Objective, RewardSection
from rrm.opening import open_workbench
from rrm.rewards.conservative import conservative
from rrm.rewards.prefixes import token_rewards
from rrm.rounds import play_round
from rrm.starting import start_run
from rrm.store import artifact
from rrm.tasks.task import Split
from rrm.workbench import ADAPTER, Workbench
from tests.rrm.small_runs import SMALL


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has its first reward model and no agent."""
    folder = tmp_path_factory.mktemp("fitted") / "run"
    start_run(folder, [*SMALL, "run.levels=1", "agent.steps=2", "agent.group=4"])
    with open_workbench(folder) as bench:
        play_round(bench, level=0, round=0, until="fit")
    return folder


@contextmanager
def trained(fitted: Path, folder: Path, *overrides: str) -> Iterator[tuple[Workbench, str]]:
    """A copy of that run with an agent that was trained with other settings, and the agent's id."""
    copy = shutil.copytree(fitted, folder / "run")
    with open_workbench(copy, overrides=overrides) as bench:
        result = play_round(bench, level=0, round=0, until="optimise").steps["optimise"]
        yield bench, str(result["agent"])


@pytest.mark.parametrize("objective", get_args(Objective))
def test_every_objective_trains_an_agent_that_acts(fitted: Path, tmp_path: Path, objective: str) -> None:
    with trained(fitted, tmp_path, f"agent.objective={objective}") as (bench, agent):
        assert artifact(bench.run, agent).settings["objective"] == objective
        policy = bench.policy(agent)
        assert (policy.condition != "") == (objective == "reward_conditioned")
        before, after = bench.base.model.state_dict(), policy.model.state_dict()
        assert max(float((before[name] - after[name]).abs().max()) for name in before) > 1e-6
        # The same agent starts the next round without its condition.
        assert bench.weights(agent).condition == ""


def test_an_agent_keeps_its_budget_after_training(fitted: Path, tmp_path: Path) -> None:
    with trained(fitted, tmp_path, "agent.budget=0.05", "agent.learning_rate=0.01") as (bench, agent):
        prompts = [bench.task.prompt(one) for one in bench.documents(split=Split.TEST, level=0, count=6)]
        spent = {}
        for name, policy in {"acting": bench.policy(agent), "weights": bench.weights(agent)}.items():
            generator = torch.Generator().manual_seed(0)
            written = rollout(policy, bench.base, prompts, group=4, max_new_tokens=40, generator=generator)
            spent[name] = written.kl.sum(dim=1)
        assert float(spent["acting"].max()) <= 0.05
        assert float(spent["weights"].max()) > 0.06  # what it would spend without


def test_adapters_are_stored_as_adapters_on_the_base(fitted: Path, tmp_path: Path) -> None:
    with trained(fitted, tmp_path, "agent.weights=lora", "agent.lora_rank=2") as (bench, agent):
        folder = bench.run.folder / artifact(bench.run, agent).folder
        assert (folder / ADAPTER).exists() and not (folder / "model.safetensors").exists()
        assert str(tmp_path) not in (folder / ADAPTER).read_text("utf-8")
        prompts = [bench.task.prompt(one) for one in bench.documents(split=Split.TEST, level=0, count=2)]
        generator = torch.Generator().manual_seed(0)
        written = rollout(bench.policy(agent), bench.base, prompts, group=2, max_new_tokens=40, generator=generator)
        assert 0 < float(written.kl.sum()) < 50


def test_rewards_of_tokens_add_up_to_that_of_the_completion(fitted: Path, tmp_path: Path) -> None:
    with trained(fitted, tmp_path, "agent.horizon=myopic") as (bench, agent):
        rewards = bench.rewards(bench.reward_model(0, 0))
        settings = RewardSection(conservative="min")
        prompts = [bench.task.prompt(one) for one in bench.documents(split=Split.TEST, level=0, count=2)]
        generator = torch.Generator().manual_seed(0)
        written = rollout(bench.policy(agent), bench.base, prompts, group=3, max_new_tokens=20, generator=generator)
        each = token_rewards(rewards, written, settings)
        whole = conservative(RewardEstimate(rewards.scores_of_rollouts(written)), settings)
        torch.testing.assert_close(each.sum(dim=1), whole, atol=1e-4, rtol=1e-4)
        assert not bool(each[~written.samples.mask].any())
        assert float(each.abs().max(dim=1).values.min()) > 0


def test_every_agent_leaves_a_gap_and_its_training_on_record(fitted: Path, tmp_path: Path) -> None:
    with trained(fitted, tmp_path) as (bench, _):
        result = play_round(bench, level=0, round=0, until="optimise").steps["optimise"]
        gap = result["gap"]
        assert isinstance(gap, dict)
        assert gap["best"] >= gap["own"] and gap["gap"] == pytest.approx(gap["best"] - gap["own"])
        assert result["steps"] == 2
