"""A round, step by step: sample, select, assist, judge, fit, optimise, evaluate, promote.

Every step is recorded and done once. A process that is killed at any moment and started again goes on where it was, and
the run ends with the same answers and the same weights. Nothing here reads the gold utility.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rrm import standing
from rrm.errors import ConfigurationError, RunCorrupt
from rrm.standing import FITTING, JUDGED, PROMOTING
from rrm.standing import STEPS as STEPS
from rrm.steps.assisting import assist
from rrm.steps.fitting import fit_reward_model
from rrm.steps.judging import judge, missing_judgements
from rrm.steps.optimising import optimise
from rrm.steps.promoting import evaluate, promote
from rrm.steps.sampling import sample
from rrm.steps.selecting import select
from rrm.store import Purpose, step_key, step_result, utc_now
from rrm.workbench import Workbench, once


@dataclass(frozen=True)
class RoundResult:
    """How far a round has come."""

    level: int
    round: int
    waiting: int
    """Judgements that people still have to give before the round can go on; 0 when nothing waits for them."""
    waiting_for_decision: bool
    """Whether a person has to approve or refuse the promotion."""
    finished: bool
    """Whether the round is over: its agent was promoted or refused."""
    steps: Mapping[str, Mapping[str, object]]
    """Result of every finished step by its name."""


def play_round(bench: Workbench, *, level: int, round: int, until: str = "promote") -> RoundResult:
    """Do one round at one level as far as it goes without people, and at most to the step `until`.

    Raises ConfigurationError for a level that the run does not have or whose level below is not finished.
    """
    _check_level(bench, level=level, round=round)
    if until not in STEPS:
        raise ConfigurationError(f"There is no step {until!r}; a round has {', '.join(STEPS)}.")
    waiting = 0
    if not round_is_over(bench, level=level, round=round):
        bench.progress.note(f"Level {level}, round {round}")
    for name in STEPS[: STEPS.index(until) + 1]:
        waiting = _missing_from_people(bench, name, level=level, round=round)
        if waiting:
            break
        _play_step(bench, name, level=level, round=round)
    done = {
        name: result
        for name in STEPS
        if (result := step_result(bench.run, step_key(level=level, round=round, name=name))) is not None
    }
    over = round_is_over(bench, level=level, round=round)
    return RoundResult(
        level=level,
        round=round,
        waiting=waiting,
        waiting_for_decision="promote" in done and not over,
        finished=over,
        steps=done,
    )


def climb(bench: Workbench) -> list[RoundResult]:
    """Play every round of every level from the bottom up, as far as it goes without people."""
    results: list[RoundResult] = []
    for level in range(bench.config.run.levels):
        for round in range(bench.config.rounds.rounds_per_level):
            results.append(play_round(bench, level=level, round=round))
            if not results[-1].finished:
                return results
    return results


def next_round(bench: Workbench) -> tuple[int, int] | None:
    """Level and number of the first round that is not over; None when all are."""
    return standing.next_round(bench.run, bench.config)


def round_is_over(bench: Workbench, *, level: int, round: int) -> bool:
    """Whether the round's agent was promoted or refused."""
    return standing.round_is_over(bench.run, level=level, round=round)


def decide(bench: Workbench, *, level: int, round: int, promoted: bool) -> None:
    """A person's word on a promotion that waits for it. Raises RunError if none does."""
    standing.decide_promotion(bench.run, level=level, round=round, promoted=promoted, now=utc_now())


def _play_step(bench: Workbench, name: str, *, level: int, round: int) -> None:
    def work(key: str) -> Mapping[str, object]:
        match name:
            case "sample":
                return sample(bench, level=level, round=round)
            case "select":
                return select(bench, level=level, round=round)
            case "assist":
                return assist(bench, level=level, round=round, purposes=FITTING)
            case "judge":
                return _judge(bench, level=level, round=round, purposes=FITTING)
            case "fit":
                return fit_reward_model(bench, level=level, round=round)
            case "optimise":
                return optimise(bench, level=level, round=round, key=key)
            case "evaluate":
                return evaluate(bench, level=level, round=round)
            case "assist-promotion":
                return assist(bench, level=level, round=round, purposes=PROMOTING)
            case "judge-promotion":
                return _judge(bench, level=level, round=round, purposes=PROMOTING)
            case _:
                asked = step_result(bench.run, step_key(level=level, round=round, name="evaluate"))
                if asked is None:
                    raise RunCorrupt(f"Round {round} of level {level} has nothing to promote; run `rrm verify` on it.")
                return promote(bench, level=level, round=round, new=str(asked["new"]), old=str(asked["old"]))

    once(bench, level=level, round=round, name=name, work=work)


def _judge(bench: Workbench, *, level: int, round: int, purposes: tuple[Purpose, ...]) -> Mapping[str, object]:
    if bench.rater is None:
        return {"rater": "people"}
    return judge(bench, bench.rater, level=level, round=round, purposes=purposes)


def _missing_from_people(bench: Workbench, name: str, *, level: int, round: int) -> int:
    """Judgements that people owe before this step can be done; 0 for other steps and for raters that answer at once."""
    purposes = JUDGED.get(name)
    if bench.rater is not None or purposes is None:
        return 0
    return missing_judgements(bench, level=level, round=round, purposes=purposes)


def _check_level(bench: Workbench, *, level: int, round: int) -> None:
    if not 0 <= level < min(bench.config.run.levels, bench.task.levels) or round < 0:
        raise ConfigurationError(
            f"There is no round {round} at level {level}: this run has levels 0 to {bench.config.run.levels - 1}."
        )
    before = (level, round - 1) if round else (level - 1, bench.config.rounds.rounds_per_level - 1)
    if before[0] >= 0 and not round_is_over(bench, level=before[0], round=before[1]):
        raise ConfigurationError(
            f"Round {round} of level {level} stands on round {before[1]} of level {before[0]}, which is not over; "
            "play that first, or run `rrm round` without a level."
        )
