"""What people choose for the agent of a round, checked before anything is started."""

from collections.abc import Mapping

from pydantic import ValidationError

from rrm.config import AgentSection, Configuration
from rrm.errors import ConfigurationError
from rrm.sessions.settings import validated


def checked_agent(config: Configuration, given: Mapping[str, object]) -> AgentSection:
    """Settings of an agent that came from a page or the store; what they leave out is as the run is configured.

    Raises ConfigurationError in one sentence, for a value or a combination that cannot be used.
    """
    found = validated(AgentSection, {**config.agent.model_dump(), **given})
    if found.regularizer == "adaptive" and found.beta == 0:
        raise ConfigurationError("An adaptive price is multiplied from step to step, so it must begin above 0.")
    _with(config, found)
    return found


def with_agent(config: Configuration, given: Mapping[str, object] | None) -> Configuration:
    """The configuration with what was chosen for the agent; as it is where nothing was. Raises ConfigurationError."""
    return config if given is None else _with(config, checked_agent(config, given))


def _with(config: Configuration, agent: AgentSection) -> Configuration:
    try:
        return Configuration.model_validate({**config.model_dump(), "agent": agent.model_dump()})
    except ValidationError as error:
        found = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise ConfigurationError(f"These settings cannot be used in this run: {found}.") from error
