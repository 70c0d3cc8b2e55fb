"""The settings of an agent and its training: what it maximises, and what holds it to the base."""

from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from rrm.config_section import Section

Objective = Literal[
    "rloo",
    "reinforce",
    "actor_critic",
    "ppo",
    "grpo",
    "natural_gradient",
    "trpo",
    "dpo",
    "online_dpo",
    "distribution_matching",
    "supervised",
    "reward_conditioned",
]
"""How an agent learns, a file each in `agents.objectives`."""

WHOLE_COMPLETIONS = frozenset({"dpo", "online_dpo", "distribution_matching", "supervised", "reward_conditioned"})
"""Objectives to which a completion is one choice, so that none of its tokens can be credited alone."""

POSTERIOR_ONLY = frozenset({"dpo", "online_dpo", "distribution_matching"})
"""Objectives whose aim is pi0 exp(reward / beta), which is nothing where beta is 0."""

CONDITION_BUCKETS = 4
"""Into how many shares by reward reward_conditioned divides the completions of a document."""

RegularizerName = Literal["fixed", "adaptive", "early_stop"]
"""What sets the price of a nat."""


class AgentSection(Section):
    """The agent and its training: what it maximises, and what holds it to the base."""

    objective: Objective = Field(
        default="rloo",
        description="How the agent learns from the reward; a page of the documentation each. dpo learns from the "
        "round's judgements without a reward model, online_dpo from pairs of its own completions.",
    )
    regularizer: RegularizerName = Field(
        default="fixed",
        description="What sets the price of a nat: it is fixed, adaptive (towards kl_target), or fixed with early_stop "
        "(training ends at kl_target).",
    )
    kl_target: float = Field(
        default=4.0, gt=0, description="Nats a completion that adaptive steers to and early_stop ends at."
    )
    budget: float = Field(
        default=0.0,
        ge=0,
        description="Hard limit of the exact KL of one completion, in nats, never overdrawn; 0: none.",
    )
    total_variation: float = Field(
        default=0.0,
        ge=0,
        description="Hard limit of the total variation of one completion, summed over its tokens; 0: none.",
    )
    horizon: Literal["completion", "myopic"] = Field(
        default="completion",
        description="Whether a token is credited with all that follows, or only with what it adds itself.",
    )
    weights: Literal["full", "lora"] = Field(
        default="full", description="What is trained: the whole model, or LoRA adapters on it."
    )
    lora_rank: int = Field(default=8, ge=1, le=256, description="Where weights are lora: the rank of the adapters.")
    lora_alpha: int = Field(
        default=0,
        ge=0,
        le=4096,
        description="Where weights are lora: adapters are scaled by this / rank; 0: twice the rank.",
    )
    lora_targets: Annotated[tuple[str, ...], Strict(False)] = Field(
        default=(),
        description="Where weights are lora: names of the linear layers with adapters; none: all but the output layer.",
    )
    steps: int = Field(default=60, ge=1, description="Optimisation steps of one agent.")
    prompts_per_step: int = Field(default=8, ge=1, description="Documents in one step.")
    group: int = Field(
        default=8, ge=2, le=256, description="Completions per document in a step; each is compared with the others."
    )
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="Step size of AdamW.")
    beta: float = Field(
        default=0.1,
        ge=0,
        description="Price of one nat of KL(agent || base), at the start where it is adaptive; higher keeps the agent "
        "nearer to the base.",
    )
    checkpoint_every: int = Field(
        default=10, ge=1, description="Steps between checkpoints, the most that a kill can cost."
    )
    bf16: bool = Field(
        default=True, description="Compute the networks in bfloat16 while training; weights and losses stay float32."
    )

    @model_validator(mode="after")
    def _objective_fits(self) -> "AgentSection":
        if self.horizon == "myopic" and self.objective in WHOLE_COMPLETIONS:
            raise ValueError(f"'{self.objective}' weighs whole completions, so its horizon is 'completion'")
        if self.beta == 0 and self.objective in POSTERIOR_ONLY:
            raise ValueError(f"'{self.objective}' aims at base × exp(reward / beta), so beta must be above 0")
        if self.objective == "reward_conditioned" and self.group % CONDITION_BUCKETS:
            raise ValueError(f"'reward_conditioned' needs a group that is a multiple of {CONDITION_BUCKETS}")
        return self

    @model_validator(mode="after")
    def _one_limit(self) -> "AgentSection":
        if self.budget and self.total_variation:
            raise ValueError("choose one hard limit, 'budget' or 'total_variation'; the other stays 0")
        return self
