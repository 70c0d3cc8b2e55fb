"""What the page shows of the sessions that fit reward models: all of them side by side, and one in full."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rrm.config import RewardSection
from rrm.people.accounts import LOCAL, Person
from rrm.sessions.changes import Changes, FlipText, flips_to_show, in_words
from rrm.sessions.choices import asks_in_words, members_in_words, reads_in_words, reward_in_words
from rrm.sessions.current import current_model
from rrm.sessions.forecast import CurvePoint, curve_point
from rrm.sessions.records import AT_WORK, RESUMABLE, Session, SessionKind, SessionState
from rrm.sessions.settings import checked_settings
from rrm.sessions.store import running_session, session_points, sessions, state_of
from rrm.store.comparisons import raters
from rrm.store.run import Run
from rrm.store.transaction import rows


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session among the others."""

    session: Session
    state: SessionState
    started_by: str
    """A name, not an id."""
    current: bool
    """Whether its reward model is the current one of its level."""
    judgements: int | None
    """What it was fitted to; None before it has finished."""
    changes: Changes | None

    @property
    def settings(self) -> RewardSection:
        """What it was started with, and for what an older session did not choose, what it did then."""
        return checked_settings(self.session.settings)

    @property
    def may_stop(self) -> bool:
        """Whether it is at work and was not asked to stop yet."""
        return self.state is SessionState.RUNNING

    @property
    def may_resume(self) -> bool:
        """Whether it can be launched."""
        return self.state in RESUMABLE

    @property
    def may_be_current(self) -> bool:
        """Whether it has a reward model that is not the current one yet."""
        return self.state is SessionState.FINISHED and not self.current


@dataclass(frozen=True, slots=True)
class Overview:
    """All sessions, and whether another one can be started."""

    rows: tuple[SessionRow, ...]
    """The newest first."""
    busy: Session | None
    """What is at work now, of whatever kind; another session has to wait for it."""
    anything_judged: bool
    """Whether there is any judgement to learn from. How many there are takes a while: `judged_levels` counts them."""

    def row(self, session_id: str | None) -> SessionRow | None:
        """The session of this id; else the one at work, else the newest; None where there is none."""
        working = [row for row in self.rows if row.state in AT_WORK]
        named = [row for row in self.rows if row.session.id == session_id]
        return next(iter([*named, *working, *self.rows]), None)


@dataclass(frozen=True, slots=True)
class Detail:
    """One session in full."""

    row: SessionRow
    points: tuple[CurvePoint, ...]
    words: tuple[str, ...]
    """What changed; empty before it has finished."""
    forecast: str | None
    flips: tuple[FlipText, ...]


def overview(run: Run) -> Overview:
    """All sessions that fit reward models."""
    names = {each.id: each.name for each in raters(run)} | {LOCAL.rater_id: LOCAL.name}
    found = sessions(run, kind=SessionKind.REWARD_MODEL)
    current = {level: model.id for level in {each.level for each in found} if (model := current_model(run, level))}
    return Overview(
        rows=tuple(_row(run, each, names, current) for each in reversed(found)),
        busy=running_session(run),
        anything_judged=bool(rows(run.database, "SELECT 1 FROM judgements LIMIT 1")),
    )


def detail(run: Run, row: SessionRow, *, to: Person, now: str) -> Detail:
    """One session with its curve and what it changed, as `to` may see it: predictions are for leads."""
    result: Mapping[str, Any] = row.session.result or {}
    return Detail(
        row=row,
        points=tuple(curve_point(point.record) for point in session_points(run, row.session.id)),
        words=in_words(row.changes) if row.changes else (),
        forecast=result["forecast"]["sentence"] if result else None,
        flips=tuple(flips_to_show(run, row.changes, to=to.rater_id, now=now)) if row.changes and to.is_lead else (),
    )


def side_by_side(one: SessionRow, other: SessionRow) -> list[tuple[str, str, str]]:
    """Settings and figures of two sessions: name, of the one, of the other; a dash where there is none."""
    return [(name, tell(one), tell(other)) for name, tell in _COMPARED]


def _row(run: Run, found: Session, names: Mapping[str, str], current: Mapping[int, str]) -> SessionRow:
    result: Mapping[str, Any] = found.result or {}
    return SessionRow(
        session=found,
        state=state_of(run, found),
        started_by=names.get(found.started_by, found.started_by),
        current=current.get(found.level) == found.id,
        judgements=result.get("judgements"),
        changes=Changes.from_json(result["changes"]) if result else None,
    )


def _of_changes(tell: Callable[[Changes], str]) -> Callable[[SessionRow], str]:
    return lambda row: tell(row.changes) if row.changes is not None else "–"


def _agreement(changes: Changes) -> str:
    kind = "cross-validated" if changes.cross_validated else "held out"
    return f"{100 * changes.accuracy_after:.1f}% of {changes.held_out} ({kind})"


def _of_the_reward(changes: Changes) -> str:
    found = changes.accuracy_of_reward
    return "–" if found is None else f"{100 * found:.1f}%"


def _spread(changes: Changes) -> str:
    return "–" if changes.spread_after is None else f"{100 * changes.spread_after:.1f}"


def _of_settings(tell: Callable[[RewardSection], str]) -> Callable[[SessionRow], str]:
    return lambda row: tell(row.settings)


_COMPARED: tuple[tuple[str, Callable[[SessionRow], str]], ...] = (
    ("Level", lambda row: str(row.session.level)),
    ("Judgements learnt from", lambda row: "–" if row.judgements is None else str(row.judgements)),
    ("Members", _of_settings(members_in_words)),
    ("What they read of a text", _of_settings(reads_in_words)),
    ("Answers taken to be careless", _of_settings(lambda settings: f"{100 * settings.rater_error:.0f}%")),
    ("What is asked next", _of_settings(asks_in_words)),
    ("Reward", _of_settings(reward_in_words)),
    ("Agreement with answers it never saw", _of_changes(_agreement)),
    ("Agreement of the reward", _of_changes(_of_the_reward)),
    ("Members' disagreement, points in 100", _of_changes(_spread)),
    ("Predictions that changed sides", _of_changes(lambda changes: f"{changes.flipped} of {changes.comparisons}")),
    ("Time at work, seconds", lambda row: f"{row.session.seconds:.0f}"),
)
