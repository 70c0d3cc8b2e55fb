"""What a session learns from, written down when it begins: whoever resumes it learns from the same."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from rrm.errors import RunCorrupt
from rrm.sessions.current import current_model
from rrm.sessions.locking import SESSIONS_FOLDER
from rrm.sessions.records import Session
from rrm.sessions.settings import refuse_too_few
from rrm.steps.fitting import final_judgements
from rrm.store import Judgement, Purpose, StoredComparison, comparisons
from rrm.workbench import Workbench
from rrm.writing import write_whole

PLAN_FILE = "plan.json"
MOST_UNJUDGED = 4000
"""Unjudged comparisons that are looked at; more are sampled, so that a session on a large run ends soon."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one session works with, all by id."""

    judgements: tuple[str, ...]
    """Trained on, in the order of the chain."""
    held_out: tuple[str, ...]
    """Judgements that are only predicted."""
    comparisons: tuple[str, ...]
    """What is predicted before and after."""
    before: str | None
    """The model that was current at the level; None where there was none."""


def session_folder(bench: Workbench, session: Session) -> Path:
    """Where the unfinished work of a session lies."""
    return bench.run.folder / SESSIONS_FOLDER / session.id


def settled_plan(bench: Workbench, session: Session) -> Plan:
    """The plan of a session, made when it first begins. Raises RunError where there are too few judgements."""
    path = session_folder(bench, session) / PLAN_FILE
    if path.exists():
        return _read(path)
    judged, held_out = (
        final_judgements(bench, level=session.level, last_round=session.round, purpose=purpose)
        for purpose in (Purpose.TRAIN, Purpose.VALIDATION)
    )
    refuse_too_few(len(judged), level=session.level)
    before = current_model(bench.run, session.level)
    plan = Plan(
        judgements=tuple(each.id for each in judged),
        held_out=tuple(each.id for each in held_out),
        comparisons=_looked_at(bench, session, [*judged, *held_out]),
        before=before.id if before is not None else None,
    )
    write_whole(path, json.dumps(asdict(plan)).encode())
    return plan


def _looked_at(bench: Workbench, session: Session, judged: Sequence[Judgement]) -> tuple[str, ...]:
    """Every judged comparison of the level, and the others as far as there is time."""
    known = {each.comparison_id for each in judged}
    found: list[StoredComparison] = [
        each
        for purpose in (Purpose.TRAIN, Purpose.VALIDATION)
        for each in comparisons(bench.run, level=session.level, purpose=purpose)
    ]
    others = [each.id for each in found if each.id not in known]
    if len(others) > MOST_UNJUDGED:
        others = Random(bench.seed_of("session", session.level)).sample(others, MOST_UNJUDGED)
    chosen = known | set(others)
    return tuple(each.id for each in found if each.id in chosen)


def _read(path: Path) -> Plan:
    try:
        stored = json.loads(path.read_bytes())
        return Plan(
            judgements=tuple(stored["judgements"]),
            held_out=tuple(stored["held_out"]),
            comparisons=tuple(stored["comparisons"]),
            before=stored["before"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RunCorrupt(f"{path} is damaged ({error}); start a new session instead of resuming this one") from error
