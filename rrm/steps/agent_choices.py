"""From the names in the configuration to what an agent is trained with, and how it acts afterwards."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from agents.hard_budget import HardBudget
from agents.limits import AbstractLimit
from agents.objectives.actor_critic import ActorCritic
from agents.objectives.distribution_matching import DistributionMatching
from agents.objectives.dpo import DPO
from agents.objectives.grpo import GRPO
from agents.objectives.natural_gradient import NaturalGradient
from agents.objectives.objective import AbstractObjective
from agents.objectives.ppo import PPO
from agents.objectives.reinforce import REINFORCE
from agents.objectives.reward_conditioned import RewardConditioned
from agents.objectives.rloo import RLOO
from agents.objectives.supervised import Supervised
from agents.objectives.trpo import TRPO
from agents.policy import Policy
from agents.regularizer import AbstractRegularizer, AdaptivePenalty, EarlyStop, FixedPenalty
from agents.total_variation_limit import TotalVariationLimit
from rrm.config import CONDITION_BUCKETS, AgentSection

OBJECTIVES: Mapping[str, Callable[[], AbstractObjective]] = MappingProxyType(
    {
        "rloo": RLOO,
        "reinforce": REINFORCE,
        "actor_critic": ActorCritic,
        "ppo": PPO,
        "grpo": GRPO,
        "natural_gradient": NaturalGradient,
        "trpo": TRPO,
        "dpo": DPO,
        "online_dpo": DPO,
        "distribution_matching": DistributionMatching,
        "supervised": Supervised,
        "reward_conditioned": lambda: RewardConditioned(buckets=CONDITION_BUCKETS),
    }
)
"""By the names of the configuration; `dpo` and `online_dpo` differ in where their pairs come from."""


def objective_of(settings: AgentSection) -> AbstractObjective:
    """The objective, with its own defaults."""
    return OBJECTIVES[settings.objective]()


def regularizer_of(settings: AgentSection) -> AbstractRegularizer:
    """What sets the price of a nat."""
    match settings.regularizer:
        case "fixed":
            return FixedPenalty(settings.beta)
        case "adaptive":
            return AdaptivePenalty(settings.beta, settings.kl_target)
        case "early_stop":
            return EarlyStop(settings.beta, settings.kl_target)


def limit_of(settings: AgentSection) -> AbstractLimit | None:
    """The hard limit of an episode, if there is one."""
    if settings.budget:
        return HardBudget(settings.budget)
    if settings.total_variation:
        return TotalVariationLimit(settings.total_variation)
    return None


def with_adapters(policy: Policy, settings: AgentSection, *, generator: torch.Generator) -> Policy:
    """A policy that acts as this one, of which only LoRA adapters are trained, as the settings have them."""
    return policy.with_lora(
        settings.lora_rank,
        generator=generator,
        alpha=settings.lora_alpha or None,
        targets=settings.lora_targets or None,
    )


def as_it_acts(policy: Policy, *, base: Policy, settings: AgentSection) -> Policy:
    """The weights of a trained agent as it was trained to act: behind its condition, within its limit."""
    if settings.objective == "reward_conditioned":
        policy = policy.conditioned(RewardConditioned(buckets=CONDITION_BUCKETS).top)
    limit = limit_of(settings)
    return policy if limit is None else policy.within(limit, base)
