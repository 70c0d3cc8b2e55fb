"""Who stands where in a run: its agents, assistants and rounds. Reads the store and loads no model."""

from collections.abc import Mapping

from rrm.config import Configuration
from rrm.errors import RunError
from rrm.store.artifacts import decisions, promoted_agent, set_promoted
from rrm.store.records import Decision, Purpose
from rrm.store.run import Run
from rrm.store.steps import step_key, step_result

BASE = "base"
"""The agent id of the base policy in the store; every other agent id is that of an artifact."""

STEPS = (
    "sample",
    "select",
    "assist",
    "judge",
    "fit",
    "optimise",
    "evaluate",
    "assist-promotion",
    "judge-promotion",
    "promote",
)
"""The steps of a round in their order, as the store names them."""

FITTING = (Purpose.TRAIN, Purpose.VALIDATION)
PROMOTING = (Purpose.PROMOTION,)
JUDGED: Mapping[str, tuple[Purpose, ...]] = {"judge": FITTING, "judge-promotion": PROMOTING}
"""The steps that wait for people, and the purposes of the comparisons that are judged in each."""


def artifact_id(kind: str, level: int, round: int) -> str:
    """Name of what a round makes: `agent-1-0` is the agent of level 1, round 0."""
    return f"{kind}-{level}-{round}"


def incumbent(run: Run, level: int) -> str:
    """Id of the agent that stands at this level now: the promoted one, or the base."""
    promoted = promoted_agent(run, level)
    return promoted.id if promoted is not None else BASE


def assistant(run: Run, config: Configuration, level: int) -> str | None:
    """Id of the agent that helps to judge this level: the one that stands a level below. None without help."""
    if level == 0 or config.judging.aid == "none":
        return None
    return BASE if config.judging.assistant == "base" else incumbent(run, level - 1)


def decision_on(run: Run, *, level: int, round: int) -> Decision | None:
    """The last decision about the round's agent; None while the round is not over."""
    agent = artifact_id("agent", level, round)
    return next((one for one in reversed(decisions(run, level=level)) if one.artifact_id == agent), None)


def round_is_over(run: Run, *, level: int, round: int) -> bool:
    """Whether the round's agent was promoted or refused."""
    return decision_on(run, level=level, round=round) is not None


def next_round(run: Run, config: Configuration) -> tuple[int, int] | None:
    """Level and number of the first round that is not over; None when all are."""
    places = ((level, round) for level in range(config.run.levels) for round in range(config.rounds.rounds_per_level))
    return next(((level, round) for level, round in places if not round_is_over(run, level=level, round=round)), None)


def decide_promotion(
    run: Run, *, level: int, round: int, promoted: bool, now: str, decided_by: str | None = None
) -> Decision:
    """A person's word on a promotion that waits for it; raises RunError if none does.

    `decided_by` is that person's rater id; it is kept beside the figures.
    """
    with run.transaction():
        record = step_result(run, step_key(level=level, round=round, name="promote"))
        if record is None or round_is_over(run, level=level, round=round):
            raise RunError(f"No promotion of round {round} at level {level} waits for a decision.")
        return set_promoted(
            run,
            decision_id=f"promotion-{level}-{round}",
            artifact_id=artifact_id("agent", level, round),
            promoted=promoted,
            record=record if decided_by is None else {**record, "decided_by": decided_by},
            now=now,
        )
