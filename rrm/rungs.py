"""The records of the ladder: states of rounds, their steps, the evidence of promotions, levels."""

from dataclasses import dataclass
from enum import StrEnum

from rrm.sessions.records import Session
from rrm.watching.shares import Share


class RoundState(StrEnum):
    """How a round stands."""

    NOT_BEGUN = "not begun"
    """It stands on a round that is not over."""
    READY = "ready"
    """It can begin, or go on."""
    RUNNING = "running"
    """A process works on it."""
    WAITS_FOR_JUDGEMENTS = "waits for judgements"
    """People have to judge before it can go on."""
    WAITS_FOR_DECISION = "waits for a decision"
    """A lead has to approve or refuse the promotion."""
    PAUSED = "paused"
    """Somebody paused it; it goes on where it was."""
    INTERRUPTED = "interrupted"
    """Its process ended without a word; it goes on where it was."""
    FAILED = "failed"
    """A step ended with an error; going on tries that step again."""
    PROMOTED = "promoted"
    """Over: its agent stands at the level, or stood until the next one."""
    REFUSED = "refused"
    """Over: its agent does not replace the one before it."""


OVER = (RoundState.PROMOTED, RoundState.REFUSED)


@dataclass(frozen=True, slots=True)
class StepView:
    """One step of a round."""

    name: str
    status: str
    """`done`, `running`, `failed`, `begun` (nobody works on it now) or `to do`."""
    attempts: int
    seconds: float | None
    """From its beginning to its end, pauses included; None until it is done."""
    error: str | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for a new agent, and against it."""

    new: str
    old: str
    """The agent before it."""
    wins: Share | None
    """Held-out judgements that prefer the new one; None without any."""
    beats: bool
    """Whether the whole interval lies above one half, which is what an automatic promotion asks for."""


@dataclass(frozen=True, slots=True)
class RoundView:
    """One round at one level."""

    level: int
    round: int
    state: RoundState
    missing: int
    """Judgements that people still owe it."""
    steps: tuple[StepView, ...]
    evidence: Evidence | None
    """None until the promotion was counted."""
    decided_by: str | None
    """Rater id of the person who decided; None where held-out judgements alone did."""
    todo: str
    """What to do next, in one sentence."""

    @property
    def done(self) -> int:
        """Steps that are done."""
        return sum(step.status == "done" for step in self.steps)


@dataclass(frozen=True, slots=True)
class LevelView:
    """One level: a rung of the ladder."""

    level: int
    agent: str
    """Id of the agent that stands here now."""
    assistant: str | None
    """Id of the agent that helps to judge here; None without help."""
    rounds: tuple[RoundView, ...]

    @property
    def state(self) -> RoundState:
        """That of its first round that is not over, or of its last one."""
        return next((one.state for one in self.rounds if one.state not in OVER), self.rounds[-1].state)


@dataclass(frozen=True, slots=True)
class Ladder:
    """All levels of a run."""

    levels: tuple[LevelView, ...]
    """From level 0 upwards."""
    rater: str
    """Who judges: `people`, `simulated` or `assistant`, as the configuration has it."""
    session: Session | None
    """The session that works on the run now, whatever its kind."""
    worked_on: bool
    """Whether any process works on the run: a session, or a command in a terminal."""

    @property
    def current(self) -> RoundView | None:
        """The first round that is not over; None at the top."""
        rounds = (one for level in self.levels for one in level.rounds)
        return next((one for one in rounds if one.state not in OVER), None)
