"""Names in the configuration become what an agent is trained with, and how it acts afterwards."""

from typing import get_args

import pytest

from rrm.config import AgentSection, Configuration, Objective
from rrm.steps.agent_choices import OBJECTIVES, limit_of, objective_of, regularizer_of


def test_every_name_has_an_objective_of_its_own() -> None:
    assert set(OBJECTIVES) == set(get_args(Objective))
    made = {name: objective_of(AgentSection(objective=name)) for name in OBJECTIVES}
    assert len({type(one) for one in made.values()}) == len(made) - 1  # the two DPOs differ in their pairs only


def test_the_regularizer_has_the_numbers_of_the_section() -> None:
    fixed = regularizer_of(AgentSection(beta=0.3))
    assert fixed.coefficient([1.0, 50.0]) == 0.3
    adaptive = regularizer_of(AgentSection(regularizer="adaptive", beta=0.3, kl_target=2.0))
    assert adaptive.coefficient([]) == 0.3
    assert adaptive.coefficient([9.0]) > 0.3 > adaptive.coefficient([0.1])
    stopping = regularizer_of(AgentSection(regularizer="early_stop", beta=0.3, kl_target=2.0))
    assert (stopping.finished([1.0]), stopping.finished([1.0, 2.5])) == (False, True)


def test_a_limit_is_there_if_it_is_asked_for() -> None:
    assert limit_of(AgentSection()) is None
    budget, variation = limit_of(AgentSection(budget=10.0)), limit_of(AgentSection(total_variation=0.5))
    assert budget is not None and variation is not None
    assert (budget.allowance, variation.allowance) == (10.0, 0.5)
    with pytest.raises(ValueError, match="choose one hard limit"):
        AgentSection(budget=1.0, total_variation=0.5)


def test_a_myopic_agent_needs_a_reward_for_each_token() -> None:
    with pytest.raises(ValueError, match=r"needs reward\.kind 'heads'"):
        Configuration.model_validate({"agent": {"horizon": "myopic"}, "reward": {"kind": "lora"}})
