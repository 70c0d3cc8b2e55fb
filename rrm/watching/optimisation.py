"""Optimisation: the reward that an agent was trained on, along its distance from the base, and what it was worth."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

from rrm.store.run import Run
from rrm.store.steps import progress, step_key, step_result, steps
from rrm.watching.fits import number, part
from rrm.watching.shares import Share


@dataclass(frozen=True, slots=True)
class Moment:
    """One step of a training."""

    step: int
    reward: float
    """The (conservative) reward: a stand-in for what people would say."""
    kl: float
    """KL(agent || base) of a completion in nats."""
    reward_spread: float | None = None
    """Deviation of the reward between the completions of one document; None where it was not measured."""
    member_spread: float | None = None
    """Deviation of a completion's score between the members; None where it was not measured."""
    beta: float | None = None
    """Price of a nat in this step; None in what older versions wrote, as all below."""
    entropy: float | None = None
    """Mean entropy of the next token in nats."""
    distinct: float | None = None
    """Share of different completions among those of a document."""
    gold: float | None = None
    """What the completions were really worth; only reports know."""
    measures: tuple[tuple[str, float], ...] = ()
    """The figures that the objective itself keeps, by name."""

    @property
    def distance(self) -> float:
        """The square root of the KL, along which over-optimisation is seen (Gao et al. 2023)."""
        return sqrt(max(0.0, self.kl))


@dataclass(frozen=True, slots=True)
class Worth:
    """What completions of a policy are really worth; only a report measures that."""

    gold: float
    kl: float


@dataclass(frozen=True, slots=True)
class Optimisation:
    """The training of one agent."""

    level: int
    round: int
    finished: bool
    moments: tuple[Moment, ...]
    base: Worth | None
    agent: Worth | None
    win_rate: Share | None
    """Held-out judgements that prefer the agent to the one before it."""


def optimisations(run: Run) -> list[Optimisation]:
    """Every training of the run that has begun, in the order of beginning."""
    return [
        _optimisation(run, step.level, step.round, finished=step.finished)
        for step in steps(run)
        if step.name == "optimise"
    ]


def moments(run: Run, *, level: int, round: int, after: int = -1) -> tuple[Moment, ...]:
    """The steps of a training so far that come after a step."""
    found = progress(run, step_key(level=level, round=round, name="optimise"), after=after)
    return tuple(_moment(point.position, point.record) for point in found)


def _moment(step: int, record: Mapping[str, object]) -> Moment:
    measures = part(record, "measures") or {}
    return Moment(
        step,
        number(record, "reward") or 0.0,
        number(record, "kl") or 0.0,
        reward_spread=number(record, "reward_spread"),
        member_spread=number(record, "member_spread"),
        beta=number(record, "beta"),
        entropy=number(record, "entropy"),
        distinct=number(record, "distinct"),
        gold=number(record, "gold"),
        measures=tuple((name, value) for name in sorted(measures) if (value := number(measures, name)) is not None),
    )


def _optimisation(run: Run, level: int, round: int, *, finished: bool) -> Optimisation:
    def result(name: str) -> Mapping[str, object]:
        return step_result(run, step_key(level=level, round=round, name=name)) or {}

    policy = result("measure").get("policy")
    measured = policy if isinstance(policy, Mapping) else {}
    return Optimisation(
        level=level,
        round=round,
        finished=finished,
        moments=moments(run, level=level, round=round),
        base=_worth(measured.get("base")),
        agent=_worth(measured.get("agent")),
        win_rate=win_rate(result("promote")),
    )


def win_rate(record: Mapping[str, object]) -> Share | None:
    """The share that a promotion was decided by, as its record has it; None without judgements."""
    value, low, high = (number(record, name) for name in ("win_rate", "low", "high"))
    judgements = record.get("judgements")
    if value is None or low is None or high is None or not isinstance(judgements, int):
        return None
    return Share(value, low, high, judgements)


def _worth(found: object) -> Worth | None:
    if not isinstance(found, Mapping):
        return None
    gold, kl = number(found, "gold"), number(found, "kl")
    return None if gold is None or kl is None else Worth(gold, kl)
