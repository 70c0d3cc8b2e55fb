"""The ladder: every level and round of a run, how it stands, who helps there, and what to do next. Loads no model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rrm.config import Configuration
from rrm.rungs import OVER, Evidence, Ladder, LevelView, RoundState, RoundView, StepView
from rrm.sessions.locking import is_worked_on
from rrm.sessions.records import Session, SessionKind, SessionState
from rrm.sessions.store import running_session, sessions, state_of
from rrm.standing import JUDGED, STEPS, artifact_id, assistant, decision_on, incumbent
from rrm.store.records import Decision, Step, StepStatus
from rrm.store.run import Run
from rrm.store.steps import steps
from rrm.store.waiting import missing_answers
from rrm.watching.optimisation import win_rate


def ladder(run: Run, config: Configuration) -> Ladder:
    """How every round of every level stands now."""
    facts = _facts(run, config)
    levels: list[LevelView] = []
    below: RoundView | None = None
    for level in range(config.run.levels):
        rounds: list[RoundView] = []
        for round in range(config.rounds.rounds_per_level):
            below = _round(facts, level, round, below)
            rounds.append(below)
        levels.append(LevelView(level, incumbent(run, level), assistant(run, config, level), tuple(rounds)))
    return Ladder(tuple(levels), config.judging.rater, facts.session, facts.worked_on)


def last_session(run: Run, *, level: int, round: int) -> Session | None:
    """The session that worked on a round last; those that climbed to it from below count."""
    place = (level, round)
    found = [
        one
        for one in sessions(run, kind=SessionKind.ROUND)
        if (one.level, one.round) == place or ((one.level, one.round) < place and one.settings.get("climb") is True)
    ]
    return found[-1] if found else None


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is read once for all rounds."""

    run: Run
    config: Configuration
    steps: Mapping[tuple[int, int, str], Step]
    session: Session | None
    worked_on: bool


def _facts(run: Run, config: Configuration) -> _Facts:
    found = {(step.level, step.round, step.name): step for step in steps(run)}
    session = running_session(run)
    # Looking at the lock can stand in the way of a process that wants it, so it is done only where it matters.
    begun = any(step.status is StepStatus.RUNNING for step in found.values())
    return _Facts(run, config, found, session, session is not None or (begun and is_worked_on(run.folder)))


def _round(facts: _Facts, level: int, round: int, below: RoundView | None) -> RoundView:
    decision = decision_on(facts.run, level=level, round=round)
    found = [facts.steps.get((level, round, name)) for name in STEPS]
    following = next((name for name, step in zip(STEPS, found, strict=True) if step is None or not step.finished), None)
    missing = _missing(facts, level, round, following)
    last = last_session(facts.run, level=level, round=round)
    state, error = _state(facts, found, below, decision, following, missing, last)
    promotion = found[STEPS.index("promote")]
    by = decision.record.get("decided_by") if decision is not None else None
    return RoundView(
        level=level,
        round=round,
        state=state,
        missing=missing,
        steps=tuple(_step(facts, name, step) for name, step in zip(STEPS, found, strict=True)),
        evidence=_evidence(promotion.result) if promotion is not None and promotion.result is not None else None,
        decided_by=str(by) if by is not None else None,
        todo=_todo(facts, state, level=level, round=round, begun=found[0] is not None, missing=missing, error=error),
    )


def _missing(facts: _Facts, level: int, round: int, following: str | None) -> int:
    """Judgements that people owe before the next step can be done."""
    purposes = JUDGED.get(following or "")
    if purposes is None or facts.config.judging.rater != "people":
        return 0
    return missing_answers(facts.run, level=level, round=round, purposes=purposes)


def _state(
    facts: _Facts,
    found: Sequence[Step | None],
    below: RoundView | None,
    decision: Decision | None,
    following: str | None,
    missing: int,
    last: Session | None,
) -> tuple[RoundState, str | None]:
    """The state, and what went wrong where something did."""
    if decision is not None:
        return (RoundState.PROMOTED if decision.promoted else RoundState.REFUSED), None
    if below is not None and below.state not in OVER:
        return RoundState.NOT_BEGUN, None
    begun = any(step is not None and step.status is StepStatus.RUNNING for step in found)
    if facts.session is not None and facts.session.kind is SessionKind.ROUND:
        return RoundState.RUNNING, None
    if facts.session is None and facts.worked_on and begun:
        return RoundState.RUNNING, None
    if following is None:
        return RoundState.WAITS_FOR_DECISION, None
    if missing:
        return RoundState.WAITS_FOR_JUDGEMENTS, None
    return _ended_early(facts, found, begun, last)


def _ended_early(
    facts: _Facts, found: Sequence[Step | None], begun: bool, last: Session | None
) -> tuple[RoundState, str | None]:
    """What became of work that was begun and is not done, and that nobody does now."""
    ended = state_of(facts.run, last) if last is not None and not _overtaken(last, found) else None
    if last is not None and ended is SessionState.FAILED:
        return RoundState.FAILED, last.error
    failed = next((step for step in found if step is not None and step.status is StepStatus.FAILED), None)
    if failed is not None:
        return RoundState.FAILED, _plain(failed.error)
    if ended is SessionState.STOPPED:
        return RoundState.PAUSED, None
    if begun or ended is SessionState.INTERRUPTED:
        return RoundState.INTERRUPTED, None
    return RoundState.READY, None


def _plain(error: str | None) -> str:
    """A step's error, which is stored as `Kind: sentence`, as a sentence."""
    text = (error or "").partition(": ")[2] or error or "A step failed"
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _overtaken(last: Session, found: Sequence[Step | None]) -> bool:
    """Whether a command in a terminal worked on the round after the session had ended."""
    ended = last.finished_at
    return ended is not None and any(step is not None and step.heartbeat_at > ended for step in found)


def _step(facts: _Facts, name: str, step: Step | None) -> StepView:
    if step is None:
        return StepView(name, "to do", 0, None, None)
    running = "running" if facts.worked_on else "begun"
    status = {StepStatus.FINISHED: "done", StepStatus.FAILED: "failed", StepStatus.RUNNING: running}[step.status]
    seconds = None
    if step.finished and step.finished_at is not None:
        span = datetime.fromisoformat(step.finished_at) - datetime.fromisoformat(step.started_at)
        seconds = span.total_seconds()
    return StepView(name, status, step.attempts, seconds, _plain(step.error) if step.error else None)


def _evidence(record: Mapping[str, object]) -> Evidence:
    return Evidence(
        new=str(record.get("new")),
        old=str(record.get("old")),
        wins=win_rate(record),
        beats=record.get("beats") is True,
    )


def _todo(
    facts: _Facts, state: RoundState, *, level: int, round: int, begun: bool, missing: int, error: str | None
) -> str:
    match state:
        case RoundState.NOT_BEGUN:
            return "It begins when the round below it is over."
        case RoundState.READY if begun:
            return "Nothing is missing: go on with it."
        case RoundState.READY:
            return _first_todo(facts, level)
        case RoundState.RUNNING:
            return "It is at work; you can close this page, it goes on."
        case RoundState.WAITS_FOR_JUDGEMENTS:
            return f"{missing} judgements are missing. Give them under Label, then go on here."
        case RoundState.WAITS_FOR_DECISION:
            return "Look at the evidence, then approve the new agent or refuse it."
        case RoundState.PAUSED:
            return "Resume it: it goes on where it was."
        case RoundState.INTERRUPTED:
            return "Its process ended without a word. Resume it: nothing that was done is lost."
        case RoundState.FAILED:
            return f"{error or 'A step failed.'} Resume it to try again."
        case RoundState.PROMOTED:
            return f"Over: {artifact_id('agent', level, round)} was promoted."
        case RoundState.REFUSED:
            return f"Over: {artifact_id('agent', level, round)} was refused; the agent before it stays."


def _first_todo(facts: _Facts, level: int) -> str:
    judging = facts.config.judging
    if judging.rater != "people":
        return "Start it: the simulated rater judges, so it goes through without anybody."
    count = judging.judgements_per_round + judging.validation_judgements
    return f"Start it: it writes completions and chooses about {count} comparisons of them, which people then judge."
