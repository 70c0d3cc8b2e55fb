"""What people choose when they start a session that fits a reward model, and whether there is enough to fit it to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from rrm.config import RewardSection, Section
from rrm.errors import ConfigurationError, RunError
from rrm.people.exclusions import left_out
from rrm.sessions.launching import launch
from rrm.sessions.locking import refuse_while_worked_on
from rrm.sessions.records import Session, SessionKind
from rrm.sessions.store import create_session, running_session, session
from rrm.store.run import Run
from rrm.store.transaction import rows

Known = TypeVar("Known", bound=Section)

FEWEST_JUDGEMENTS = 8
"""Judgements without which there is nothing to learn from: fewer do not even fill the folds of a cross-validation."""

_FORMER = {"acquisition": "spread"}
"""What all sessions did before it could be chosen, where the default of today is another."""

# What `rrm.judging.final` says, short of adjudications, and without reading a text.
_JUDGED = """
    SELECT level, rater_id, max(round) AS last_round, count(*) AS judgements
    FROM live_judgements JOIN comparisons ON comparisons.id = comparison_id
    WHERE purpose = 'train' AND repeat = 0 AND choice IN ('first', 'second', 'tie', 'both_bad')
        AND stage = CASE aids_planned WHEN 1 THEN 'aided' ELSE 'alone' END
    GROUP BY level, rater_id ORDER BY level"""


@dataclass(frozen=True, slots=True)
class Judged:
    """The judgements of a level that a session would learn from."""

    judgements: int
    last_round: int
    """The last round that has any."""


def checked_settings(settings: Mapping[str, object]) -> RewardSection:
    """Settings that came from a page or the store; what they leave out has its default, or is as it used to be.

    A session can choose whatever a run is configured for. Raises ConfigurationError, naming what is wrong.
    """
    return validated(RewardSection, {**_FORMER, **settings})


def validated(model: type[Known], settings: Mapping[str, object]) -> Known:
    """A section of the configuration from what people chose. Raises ConfigurationError, naming what is wrong."""
    try:
        return model.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        found = str(first["msg"]).removeprefix("Value error, ")
        if not first["loc"]:
            raise ConfigurationError(f"These settings cannot be used: {found}.") from error
        name = str(first["loc"][0]).replace("_", " ")
        raise ConfigurationError(f"The setting {name} cannot be used: {found}, got {first['input']!r}.") from error


def judged_levels(run: Run) -> dict[int, Judged]:
    """What there is to learn from at each level that has anything; raters who are left out of fits do not count."""
    out = left_out(run)
    found: dict[int, Judged] = {}
    for row in rows(run.database, _JUDGED):
        if row["rater_id"] not in out:
            level, known = int(row["level"] or 0), found.get(int(row["level"] or 0), Judged(0, 0))
            found[level] = Judged(
                judgements=known.judgements + int(row["judgements"] or 0),
                last_round=max(known.last_round, int(row["last_round"] or 0)),
            )
    return found


def suggested_level(judged: Mapping[int, Judged]) -> int:
    """The level to train: the highest with enough judgements, or the one that is nearest to that."""
    enough = [level for level, found in judged.items() if found.judgements >= FEWEST_JUDGEMENTS]
    if enough:
        return max(enough)
    return max(judged, key=lambda level: (judged[level].judgements, -level), default=0)


def start_reward_model(run: Run, *, level: int, settings: Mapping[str, object], started_by: str, now: str) -> Session:
    """Start a session that fits a reward model to the judgements of a level.

    Raises ConfigurationError for settings that cannot be used, RunError where there are too few judgements or where
    something is at work already; nothing is recorded then.
    """
    chosen = checked_settings(settings)
    found = judged_levels(run).get(level, Judged(0, 0))
    refuse_too_few(found.judgements, level=level)
    other = running_session(run)
    if other is not None:
        raise RunError(f"Session {other.number} is at work. Wait for it to end, or stop it, then start again.")
    refuse_while_worked_on(run.folder)
    made = create_session(
        run,
        kind=SessionKind.REWARD_MODEL,
        level=level,
        round=found.last_round,
        settings=chosen.model_dump(mode="json"),
        started_by=started_by,
        now=now,
    )
    launch(run, made.id)
    return session(run, made.id)


def refuse_too_few(judgements: int, *, level: int) -> None:
    """Raise RunError, in words, where there are too few judgements to fit anything to."""
    missing = FEWEST_JUDGEMENTS - judgements
    if missing > 0:
        raise RunError(
            f"Level {level} has {_counted(judgements)} to learn from, and a reward model needs at least "
            f"{FEWEST_JUDGEMENTS}: judge {missing} more."
        )


def _counted(judgements: int) -> str:
    return {0: "no judgements", 1: "1 judgement"}.get(judgements, f"{judgements} judgements")
