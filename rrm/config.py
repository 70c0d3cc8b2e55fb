"""One validated configuration: `run.toml` in the run folder, flags on top.

Each section is a frozen model and each key has one sentence that says what it does; the commented `run.toml` and the
page `docs/configuration.md` are both written from these sentences. An unknown key is refused, never ignored.
"""

from typing import Annotated, Literal

from pydantic import Field, Strict, field_validator, model_validator

from rrm.config_agent import CONDITION_BUCKETS as CONDITION_BUCKETS
from rrm.config_agent import POSTERIOR_ONLY as POSTERIOR_ONLY
from rrm.config_agent import WHOLE_COMPLETIONS as WHOLE_COMPLETIONS
from rrm.config_agent import AgentSection as AgentSection
from rrm.config_agent import Objective as Objective
from rrm.config_agent import RegularizerName as RegularizerName
from rrm.config_reward import Acquisition as Acquisition
from rrm.config_reward import Conservative as Conservative
from rrm.config_reward import Feature as Feature
from rrm.config_reward import Kind as Kind
from rrm.config_reward import RewardSection as RewardSection
from rrm.config_section import Section as Section
from rrm.errors import ConfigurationError

FILE_NAME = "run.toml"
"""Name of the configuration inside a run folder."""

TaskName = Literal["shiftlog", "documents", "prompts"]
"""What a run is about."""


class RunSection(Section):
    """The run as a whole."""

    seed: int = Field(default=0, ge=0, lt=2**32, description="Every random choice of the run follows from this number.")
    task: TaskName = Field(
        default="shiftlog",
        description="What is worked on: shiftlog (the embedded task), documents (your own texts, part by part), or "
        "prompts (your own, without recursion).",
    )
    levels: int = Field(
        default=3, ge=1, le=8, description="How many levels the recursion climbs; level 0 is judged without help."
    )
    threads: int = Field(
        default=0, ge=0, le=1024, description="Threads that torch may use; 0 takes as many as the machine offers."
    )


class ModelSection(Section):
    """The language model that agents start from and are held to."""

    base: str = Field(
        default="",
        description="A local folder, or a name on the Hugging Face hub, of a causal language model; empty: the one "
        "that comes with the task.",
    )
    chat: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Whether a prompt is what a user says, in the model's own chat template; auto: where it has one.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="Precision of the weights; auto: float32 where they are trained whole or on a CPU, else bfloat16.",
    )
    device: str = Field(
        default="auto",
        min_length=1,
        description="Where it computes, such as cpu or cuda:1; auto: a GPU if there is one.",
    )


class TextSection(Section):
    """Your own text, where run.task is documents or prompts."""

    source: str = Field(
        default="",
        description="A folder, a Markdown, text, HTML or PDF file, or a data set; read once, into the run's folder.",
    )
    column: str = Field(default="", description="Where the source is a data set: the column that holds the text.")
    encoding: str = Field(
        default="",
        description="Of text files that are not UTF-8, such as latin-1; empty: UTF-8, or what a mark at the beginning "
        "of the file says.",
    )
    template: str = Field(
        default="",
        description="What the model reads, {text} standing for the text or for what was written of its parts; empty: "
        "the text and a request for a summary (documents), or the text as it stands (prompts).",
    )
    leaf_tokens: int = Field(
        default=0,
        ge=0,
        description="Where documents are cut: the longest part at level 0, in tokens; 0: what fits the model, and a "
        "person reads in a minute or two.",
    )
    fan_out: int = Field(default=4, ge=2, le=64, description="The most parts that a document falls into at each level.")
    guidelines: str = Field(
        default="",
        description="A Markdown file in the run's folder with what raters are told; empty: a sentence or two.",
    )

    @field_validator("template")
    @classmethod
    def _holds_the_text(cls, template: str) -> str:
        if template and template.count("{text}") != 1:
            raise ValueError("a template must hold {text} exactly once")
        return template


class SamplingSection(Section):
    """Documents and the completions sampled for them, at each level."""

    train_documents: int = Field(
        default=250, ge=2, description="Documents that agents are trained on and that training comparisons come from."
    )
    validation_documents: int = Field(
        default=60, ge=2, description="Documents kept for held-out judgements; none is ever trained on."
    )
    test_documents: int = Field(default=200, ge=2, description="Documents that only reports use.")
    completions_per_document: int = Field(
        default=4, ge=2, le=64, description="Completions sampled for a document; comparisons are pairs of them."
    )
    max_new_tokens: int = Field(default=40, ge=1, le=4096, description="Longest completion, in tokens.")


class JudgingSection(Section):
    """Who judges, how much, and with what help."""

    rater: Literal["simulated", "people", "assistant", "taste"] = Field(
        default="simulated",
        description="Who answers: people when they come; at once the simulated reader of the embedded task, or taste, "
        "which likes certain words; or (a control) the aids alone.",
    )
    taste: Annotated[tuple[str, ...], Strict(False)] = Field(
        default=(),
        description="Where the rater is taste: words that it likes; the completion with more of them is better to it.",
    )
    judgements_per_round: int = Field(
        default=800, ge=4, description="Judged comparisons that a round's reward model is fitted on."
    )
    validation_judgements: int = Field(
        default=120, ge=2, description="Held-out judgements for temperature and for choices inside a round."
    )
    promotion_judgements: int = Field(
        default=120, ge=2, description="Held-out judgements between a new agent and the one before it."
    )
    reading_budget: int | None = Field(
        default=None,
        ge=1,
        description="Words that the simulated rater can read for one comparison; left out: the task's.",
    )
    aid: Literal["part-briefs", "none"] = Field(
        default="part-briefs", description="What the assistant of the level below shows to the rater from level 1 on."
    )
    assistant: Literal["trained", "base"] = Field(
        default="trained",
        description="Who helps: the agent that stands a level below, or (a control) the untrained base.",
    )
    raters_per_comparison: int = Field(
        default=1, ge=1, le=100, description="How many people judge the same comparison; agreement needs at least 2."
    )
    repeat_share: float = Field(
        default=0.05, ge=0, le=0.5, description="Where people judge: share of comparisons that silently come again."
    )
    planted_share: float = Field(
        default=0.05, ge=0, le=0.5, description="Where people judge: share of comparisons with a known answer."
    )
    unaided_share: float = Field(
        default=0.1, ge=0, le=1, description="Where people judge with aids: share that silently comes without any."
    )


class RoundsSection(Section):
    """How rounds follow each other."""

    rounds_per_level: int = Field(default=1, ge=1, le=64, description="Rounds at a level before the next level starts.")
    promotion: Literal["automatic", "ask"] = Field(
        default="automatic",
        description="Whether held-out judgements alone promote an agent, or a person is asked as well.",
    )


class Configuration(Section):
    """Everything that can be set for a run."""

    run: RunSection = RunSection()
    model: ModelSection = ModelSection()
    text: TextSection = TextSection()
    sampling: SamplingSection = SamplingSection()
    judging: JudgingSection = JudgingSection()
    reward: RewardSection = RewardSection()
    agent: AgentSection = AgentSection()
    rounds: RoundsSection = RoundsSection()

    @model_validator(mode="after")
    def _own_text_has_a_source(self) -> "Configuration":
        if self.run.task == "shiftlog":
            return self
        if not self.text.source:
            raise ValueError(f"run.task '{self.run.task}' is your own text, so text.source must say where it is")
        if not self.model.base:
            raise ValueError(f"run.task '{self.run.task}' comes with no model, so model.base must name one")
        if self.judging.rater in ("simulated", "assistant"):
            raise ValueError(
                f"judging.rater '{self.judging.rater}' reads the embedded task only; of your own text, people judge, "
                "or 'taste'"
            )
        if self.run.task == "prompts" and self.run.levels != 1:
            raise ValueError("run.task 'prompts' has no parts to recur on, so run.levels must be 1")
        return self

    @model_validator(mode="after")
    def _taste_has_words(self) -> "Configuration":
        if (self.judging.rater == "taste") != bool(self.judging.taste):
            raise ValueError("judging.taste has the words that the rater 'taste' likes: set both, or neither")
        return self

    @model_validator(mode="after")
    def _myopic_needs_heads(self) -> "Configuration":
        if self.agent.horizon == "myopic" and self.reward.kind != "heads":
            raise ValueError("agent.horizon 'myopic' needs reward.kind 'heads': only they give a reward for each token")
        return self


def section_models() -> dict[str, type[Section]]:
    """The sections by name, in the order in which the file has them."""
    models: dict[str, type[Section]] = {}
    for name, field in Configuration.model_fields.items():
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, Section)):
            raise ConfigurationError(f"section {name} is not a Section")
        models[name] = field.annotation
    return models
