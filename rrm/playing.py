"""What leads do with rounds: start, resume, pause, decide. The work itself is done by the worker of a session."""

from collections.abc import Mapping

from rrm.agent_words import agent_in_words
from rrm.config import AgentSection, Configuration
from rrm.errors import ConfigurationError, RunBusy, RunError
from rrm.ladder import last_session
from rrm.people.accounts import Person, require_lead
from rrm.sessions.agent_settings import checked_agent
from rrm.sessions.launching import launch
from rrm.sessions.locking import refuse_while_worked_on
from rrm.sessions.records import RESUMABLE, Session, SessionKind
from rrm.sessions.store import create_session, request_stop, running_session, session, state_of
from rrm.standing import artifact_id, decide_promotion, next_round
from rrm.store.records import Decision
from rrm.store.run import Run
from rrm.store.steps import steps


def play(
    run: Run,
    config: Configuration,
    *,
    by: Person,
    climb: bool,
    now: str,
    agent: Mapping[str, object] | None = None,
) -> Session:
    """Start the round that is current, or go on with it, in a worker process.

    With `climb` the rounds after it are played too, as far as they go without people. `agent` is what its agent is
    trained with; None leaves it as it was chosen before, or as the run is configured. A session that was paused,
    interrupted or failed is resumed. Raises NotAllowed, RunBusy while something is at work, ConfigurationError for an
    agent that cannot be trained so, RunError at the top and where its training has begun with other settings.
    """
    require_lead(by, "start a round")
    place = next_round(run, config)
    if place is None:
        raise RunError("Every round of this run is over, so there is nothing to start.")
    other = running_session(run)
    if other is not None:
        raise RunBusy(f"Session {other.number} is at work, and one works at a time. Wait for it, or stop it first.")
    refuse_while_worked_on(run.folder)
    last = last_session(run, level=place[0], round=place[1])
    settings: Mapping[str, object] = {"climb": climb, **_agent(run, config, place, last, agent)}
    if last is None or {"climb": False, **last.settings} != settings or state_of(run, last) not in RESUMABLE:
        last = create_session(
            run,
            kind=SessionKind.ROUND,
            level=place[0],
            round=place[1],
            settings=settings,
            started_by=by.rater_id,
            now=now,
        )
    launch(run, last.id)
    return session(run, last.id)


def agent_settings(run: Run, config: Configuration, *, level: int, round: int) -> AgentSection:
    """What the agent of a round is trained with: as it was chosen last, else as the run is configured.

    Settings of another version that cannot be used any more count as not chosen.
    """
    last = last_session(run, level=level, round=round)
    chosen = last.settings.get("agent") if last is not None else None
    try:
        return checked_agent(config, chosen) if isinstance(chosen, Mapping) else config.agent
    except ConfigurationError:
        return config.agent


def training_has_begun(run: Run, *, level: int, round: int) -> bool:
    """Whether the agent of a round is trained already, or partly: then its settings stay what they were."""
    return any((step.level, step.round, step.name) == (level, round, "optimise") for step in steps(run))


def _agent(
    run: Run,
    config: Configuration,
    place: tuple[int, int],
    last: Session | None,
    given: Mapping[str, object] | None,
) -> Mapping[str, object]:
    """The part of a session's settings that is about the agent; empty where nobody chose anything."""
    if given is None:
        return {"agent": last.settings["agent"]} if last is not None and "agent" in last.settings else {}
    chosen = checked_agent(config, given)
    level, round = place
    before = agent_settings(run, config, level=level, round=round)
    if chosen != before and training_has_begun(run, level=level, round=round):
        raise RunError(
            f"The training of {artifact_id('agent', level, round)} has begun with other settings "
            f"({agent_in_words(before)}), and goes on with those."
        )
    return {"agent": chosen.model_dump(mode="json")}


def pause(run: Run, *, by: Person, now: str) -> Session:
    """Ask the round that is at work to pause; it does so soon and loses nothing. Raises RunError if none is at work."""
    require_lead(by, "pause a round")
    found = running_session(run)
    if found is None or found.kind is not SessionKind.ROUND:
        raise RunError("No round is at work from this page, so there is nothing to pause.")
    return request_stop(run, found.id, now=now)


def decide(run: Run, *, level: int, round: int, promoted: bool, by: Person, now: str) -> Decision:
    """Approve or refuse a promotion that waits for it. Raises NotAllowed, RunError if none does."""
    require_lead(by, "decide about a promotion")
    return decide_promotion(run, level=level, round=round, promoted=promoted, now=now, decided_by=by.rater_id)
