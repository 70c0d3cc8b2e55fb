"""What leads do with rounds: start, resume, pause, decide. The work itself is done by the worker of a session."""

from collections.abc import Mapping

from rrm.config import Configuration
from rrm.errors import RunBusy, RunError
from rrm.ladder import last_session
from rrm.people.accounts import Person, require_lead
from rrm.sessions.launching import launch
from rrm.sessions.locking import refuse_while_worked_on
from rrm.sessions.records import RESUMABLE, Session, SessionKind
from rrm.sessions.store import create_session, request_stop, running_session, session, state_of
from rrm.standing import decide_promotion, next_round
from rrm.store.records import Decision
from rrm.store.run import Run


def play(run: Run, config: Configuration, *, by: Person, climb: bool, now: str) -> Session:
    """Start the round that is current, or go on with it, in a worker process.

    With `climb` the rounds after it are played too, as far as they go without people. A session that was paused,
    interrupted or failed is resumed. Raises NotAllowed, RunBusy while something is at work, RunError at the top.
    """
    require_lead(by, "start a round")
    place = next_round(run, config)
    if place is None:
        raise RunError("Every round of this run is over, so there is nothing to start.")
    other = running_session(run)
    if other is not None:
        raise RunBusy(f"Session {other.number} is at work, and one works at a time. Wait for it, or stop it first.")
    refuse_while_worked_on(run.folder)
    settings: Mapping[str, object] = {"climb": climb}
    last = last_session(run, level=place[0], round=place[1])
    if last is None or last.settings.get("climb", False) != climb or state_of(run, last) not in RESUMABLE:
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
