"""The settings of the ensemble of reward models, and what it is used for."""

from typing import Annotated, Literal

from pydantic import Field, Strict, field_validator, model_validator

from rrm.config_section import Section

Feature = Literal["likelihood_statistics", "summed_hidden", "mean_hidden", "last_hidden"]
"""What a reward head can read of a completion's pass through the base model."""

Kind = Literal["heads", "lora", "full"]
"""What a member of a reward ensemble is."""

Acquisition = Literal["random", "spread", "bald", "double_thompson"]
"""How questions are chosen, as `reward_models.acquisition` calls it."""

Conservative = Literal["mean", "min", "lower", "entropic", "uwo"]
"""How the scores of the members become the one reward that an agent is trained on."""


class RewardSection(Section):
    """The ensemble of reward models, and what it is used for."""

    kind: Kind = Field(
        default="heads",
        description="What a member is: heads (on what the base reads anyway), lora (adapters), full (a base each).",
    )
    members: int = Field(
        default=5, ge=1, le=64, description="Members of the ensemble; their spread is the uncertainty."
    )
    features: Annotated[tuple[Feature, ...], Strict(False)] = Field(
        default=("likelihood_statistics", "summed_hidden"),
        min_length=1,
        description="What heads read of it: likelihood_statistics, summed_hidden, mean_hidden, last_hidden.",
    )
    lora_rank: int = Field(default=8, ge=1, le=256, description="Where members are lora: the rank of their adapters.")
    lora_layers: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="Where members are lora: the share of the layers, from the top, with adapters.",
    )
    epochs: int = Field(
        default=3, ge=1, le=100, description="Where members are lora or full: the most passes over the judgements."
    )
    rater_error: float = Field(
        default=0.1, ge=0, lt=1, description="Assumed share of blind answers: a label p is read as (1 - e) p + e / 2."
    )
    conservative: Conservative = Field(
        default="lower",
        description="How members become one training reward: mean, min, lower (mean - c spread), entropic, uwo.",
    )
    coefficient: float = Field(
        default=0.5, ge=0, description="The c of lower, the b of entropic, the lambda of uwo; mean and min have none."
    )
    acquisition: Acquisition = Field(
        default="random",
        description="What is asked once there is a reward model: what its members disagree about (spread), expect to "
        "learn from (bald), or choose differently when drawn (double_thompson); or random.",
    )
    random_share: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="Share of the questions that is drawn at random all the same, to measure what choosing gains.",
    )
    diversity: float = Field(
        default=0.0, ge=0, description="How much questions that resemble ones already chosen lose; 0: nothing."
    )

    @field_validator("features")
    @classmethod
    def _each_once(cls, features: tuple[Feature, ...]) -> tuple[Feature, ...]:
        if len(set(features)) != len(features):
            raise ValueError("name each feature once")
        return features

    @model_validator(mode="after")
    def _entropic_needs_a_coefficient(self) -> "RewardSection":
        if self.conservative == "entropic" and self.coefficient == 0:
            raise ValueError("'entropic' divides by its coefficient, so that must be above 0; 'mean' is its limit at 0")
        return self

    @model_validator(mode="after")
    def _thompson_needs_two(self) -> "RewardSection":
        if self.acquisition == "double_thompson" and self.members < 2:
            raise ValueError("'double_thompson' draws two different members, so there must be at least two")
        return self
