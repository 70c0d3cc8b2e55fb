"""The records that go into the store and come out of it: small, frozen, one sentence a field."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Purpose(StrEnum):
    """What the judgements of a comparison are for; a comparison has one purpose, so none measures what it trained."""

    TRAIN = "train"
    """Fits the reward model."""
    VALIDATION = "validation"
    """Chooses settings and the temperature of the reward model."""
    PROMOTION = "promotion"
    """Decides whether a new agent replaces the old one."""
    TEST = "test"
    """Is reported, and decides nothing."""


class Stage(StrEnum):
    """When in a sitting an answer was given."""

    ALONE = "alone"
    """Before any aid was shown."""
    AIDED = "aided"
    """After the aids were shown."""


class Choice(StrEnum):
    """What a rater answered. `first` and `second` are the comparison's own order, whatever side they were shown on."""

    FIRST = "first"
    """The first completion is better."""
    SECOND = "second"
    """The second completion is better."""
    TIE = "tie"
    """They are equally good."""
    BOTH_BAD = "both_bad"
    """Neither is acceptable; a tie for a ranking."""
    CANNOT_TELL = "cannot_tell"
    """The rater tried and could not decide; never trained on."""
    SKIP = "skip"
    """The rater did not try; never trained on."""
    UNDO = "undo"
    """Takes back the judgement that this row supersedes; only `undo` writes it."""


class RaterKind(StrEnum):
    """Who a rater is."""

    PERSON = "person"
    """Somebody at the page."""
    SIMULATED = "simulated"
    """A program that reads with a budget."""


class ArtifactKind(StrEnum):
    """What was trained."""

    REWARD_MODEL = "reward_model"
    """An ensemble fitted to judgements."""
    AGENT = "agent"
    """A policy."""


class StepStatus(StrEnum):
    """How far a step has come."""

    RUNNING = "running"
    """Begun and not ended: at work now, or its process was killed."""
    FINISHED = "finished"
    """Ended, its result is stored."""
    FAILED = "failed"
    """Ended with an error; beginning it again is another attempt."""


_LABELS = {Choice.FIRST: 1.0, Choice.SECOND: 0.0, Choice.TIE: 0.5, Choice.BOTH_BAD: 0.5}


def label_of(choice: Choice) -> float | None:
    """The training label: 1 if the first is better, 0.5 for a tie or both bad, None if there is nothing to learn."""
    return _LABELS.get(choice)


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A text to be worked on, at one height of the tree."""

    id: str
    task: str
    """Name of the task it belongs to."""
    level: int
    """Height in the tree; 0 is a leaf."""
    split: str
    """Which share of the task's documents it is in, such as `train` or `test`."""
    position: int
    """Its place among the documents of its level, or among the parts of its parent."""
    title: str
    text: str
    parent_id: str | None = None
    """The document that this one is a part of."""


@dataclass(frozen=True, slots=True)
class StoredCompletion:
    """What an agent wrote for a document."""

    id: str
    document_id: str
    level: int
    round: int
    agent_id: str
    """The artifact that wrote it, or the name of the base policy."""
    text: str


@dataclass(frozen=True, slots=True)
class StoredComparison:
    """Two completions of one prompt, to be judged."""

    id: str
    level: int
    round: int
    purpose: Purpose
    document_id: str
    prompt: str
    """What both completions answered, word for word."""
    first_completion_id: str
    second_completion_id: str
    reason: str
    """Why it is asked, such as `random` or `spread`; hidden until it was judged."""
    position: int
    """Lower is asked earlier; ties by id."""
    aids_planned: bool = False
    """Whether a second, aided answer follows the unassisted one."""
    raters_planned: int = 1
    """How many raters are to judge it."""


@dataclass(frozen=True, slots=True)
class StoredAid:
    """What an assistant wrote to help the rater; of one comparison, or of a document in one level and round."""

    id: str
    level: int
    round: int
    agent_id: str
    kind: str
    """Such as `part_brief` or `critique`."""
    text: str
    document_id: str | None = None
    comparison_id: str | None = None
    part_position: int | None = None
    """Which part of the document it is about, where it is about one."""


@dataclass(frozen=True, slots=True)
class Rater:
    """Who answers."""

    id: str
    name: str
    kind: RaterKind
    settings: Mapping[str, object] = field(default_factory=dict)
    """For a simulated rater, all that its answers depend on."""


@dataclass(frozen=True, slots=True)
class Leased:
    """A comparison in the hands of one rater, with what is to be shown."""

    lease_id: str
    comparison: StoredComparison
    rater_id: str
    first_text: str
    second_text: str
    first_on_left: bool
    """The stored coin: whether the first completion is shown on the left."""
    repeat: int
    """0, or 1 for a repeat check (sides swapped against the first sitting)."""
    expires_at: str
    """After this time others may be given the comparison."""
    answered_alone: bool
    """Whether the unassisted answer was given already, so that the aided one is next (where aids are planned)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer on its way into the store."""

    lease_id: str
    stage: Stage
    choice: Choice
    comment: str = ""
    shown_at: str | None = None
    """When the rater saw it, ISO-8601."""
    details: Mapping[str, object] = field(default_factory=dict)
    """Whatever else the page or the simulated reader recorded, such as strength or a verdict for each aid."""
    judgement_id: str | None = None
    """Chosen by the sender so that a repeated sending is one judgement; derived from lease and stage where None."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One row of the append-only chain."""

    position: int
    """Place in the chain, from 1 without gaps."""
    id: str
    lease_id: str
    comparison_id: str
    rater_id: str
    stage: Stage
    choice: Choice
    comment: str
    aids_seen: bool
    """Whether the rater had seen the aids; also true for an unassisted answer given anew after they were shown."""
    repeat: int
    details: Mapping[str, object]
    shown_digest: str
    """sha256 over the hashes of prompt, first and second text and the side they were on: what the rater saw."""
    shown_at: str | None
    decided_at: str
    supersedes: str | None
    """The judgement that this one replaces or takes back."""
    previous_hash: str
    hash: str
    """sha256 of `previous_hash` followed by the canonical JSON of all other fields."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A trained model in the run's folder."""

    id: str
    kind: ArtifactKind
    level: int
    round: int
    folder: str
    """Relative to the run's folder, with forward slashes."""
    files: Mapping[str, str]
    """sha256 of each file, by its path within the folder."""
    settings: Mapping[str, object]
    parents: tuple[str, ...]
    """The artifacts it was made from."""
    judgement_digest: str | None
    """Digest of the judgements it was fitted to; None where there were none."""
    created_at: str


@dataclass(frozen=True, slots=True)
class Decision:
    """That an artifact was promoted, or was not, or is no longer; appended, never changed."""

    position: int
    id: str
    artifact_id: str
    promoted: bool
    record: Mapping[str, object]
    """The figures it was decided by."""
    decided_at: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a round, known by its key."""

    key: str
    level: int
    round: int
    name: str
    status: StepStatus
    attempts: int
    """How often it was begun."""
    started_at: str
    heartbeat_at: str
    """When its process last gave a sign of life."""
    finished_at: str | None
    error: str | None
    result: Mapping[str, object] | None

    @property
    def finished(self) -> bool:
        """Whether its result is stored."""
        return self.status is StepStatus.FINISHED


@dataclass(frozen=True, slots=True)
class Progress:
    """One point of a step's curve."""

    position: int
    record: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class JudgementCount:
    """How many judgements there are of one kind, and how many are to be given."""

    level: int
    round: int
    purpose: Purpose
    stage: Stage
    given: int
    needed: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a run that is not as it should be."""

    kind: str
    """`database`, `text`, `judgement`, `artifact` or `file`."""
    where: str
    """The id, hash or path of the first thing that is wrong."""
    message: str
