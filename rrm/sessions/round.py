"""A session of kind round: the recursion, as far as it goes without people."""

from collections.abc import Mapping
from dataclasses import replace

from pydantic import Field, ValidationError

from rrm.config import AgentSection, Section
from rrm.errors import ConfigurationError
from rrm.rounds import STEPS, RoundResult, climb, next_round, play_round
from rrm.sessions.agent_settings import with_agent
from rrm.sessions.records import Session
from rrm.workbench import Workbench


class RoundSettings(Section):
    """What can be chosen for a session of kind round."""

    until: str = Field(default=STEPS[-1], description="The last step to be done.")
    climb: bool = Field(default=False, description="Whether the rounds after it are played too, while none waits.")
    agent: AgentSection | None = Field(
        default=None, description="What its agents are trained with; left out: as the run is configured."
    )


def round_settings(settings: Mapping[str, object]) -> RoundSettings:
    """The settings of a session, checked. Raises ConfigurationError."""
    try:
        found = RoundSettings.model_validate(dict(settings))
    except ValidationError as error:
        raise ConfigurationError(
            f"These settings of a round cannot be used: {error.errors()[0]['msg']}; give `until`, "
            "`climb` and `agent` only."
        ) from error
    if found.until not in STEPS:
        raise ConfigurationError(f"There is no step {found.until!r}; a round has {', '.join(STEPS)}.")
    return found


def work_on_round(bench: Workbench, session: Session) -> Mapping[str, object]:
    """Play the session's round, and those after it where its settings say so; where it stands at the end."""
    settings = round_settings(session.settings)
    chosen = settings.agent.model_dump() if settings.agent is not None else None
    bench = replace(bench, config=with_agent(bench.config, chosen))
    last = play_round(bench, level=session.level, round=session.round, until=settings.until)
    if settings.climb and last.finished:
        played = climb(bench)
        last = played[-1] if played else last
    return _result(bench, last)


def _result(bench: Workbench, last: RoundResult) -> Mapping[str, object]:
    following = next_round(bench)
    return {
        "level": last.level,
        "round": last.round,
        "waiting": last.waiting,
        "waiting_for_decision": last.waiting_for_decision,
        "finished": last.finished,
        "next": list(following) if following is not None else None,
    }
