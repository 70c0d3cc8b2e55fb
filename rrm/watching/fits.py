"""What is stored of every reward model that the run has fitted."""

from collections.abc import Mapping
from dataclasses import dataclass

from rrm.store.canonical import read_object
from rrm.store.run import Run
from rrm.store.steps import steps
from rrm.store.transaction import rows
from rrm.watching.shares import Share, share


@dataclass(frozen=True, slots=True)
class Fit:
    """One reward model and the record of its fit."""

    name: str
    """Such as `Level 1, round 0`, or `Session 3`."""
    level: int
    round: int
    by_round: bool
    """Whether a round fitted it, which trains its agent on it; otherwise a session."""
    result: Mapping[str, object]


def fits(run: Run) -> list[Fit]:
    """Those of rounds first, in the order of fitting."""
    found = [
        Fit(f"Level {step.level}, round {step.round}", step.level, step.round, True, step.result)
        for step in steps(run)
        if step.name == "fit" and step.result is not None
    ]
    sessions = "SELECT * FROM sessions WHERE kind = 'reward_model' AND result IS NOT NULL ORDER BY position"
    for row in rows(run.database, sessions):
        result = read_object(str(row["result"]))
        found.append(Fit(f"Session {row['position']}", int(row["level"] or 0), int(row["round"] or 0), False, result))
    return found


def part(record: object, name: str) -> Mapping[str, object] | None:
    """A part of a record that holds others; None where an older version wrote none."""
    found = record.get(name) if isinstance(record, Mapping) else None
    return found if isinstance(found, Mapping) else None


def parts(record: object, name: str) -> list[Mapping[str, object]]:
    """A list of records within a record; empty where an older version wrote none."""
    found = record.get(name) if isinstance(record, Mapping) else None
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def number(record: Mapping[str, object], name: str) -> float | None:
    """A number of a record; None where there is none."""
    value = record.get(name)
    return float(value) if isinstance(value, int | float) else None


def accuracy(record: Mapping[str, object] | None) -> Share | None:
    """The share of answers that a reward model agrees with; where an older version stored no interval, a plain one."""
    if record is None:
        return None
    value, low, high, n = (number(record, name) for name in ("accuracy", "low", "high", "comparisons"))
    if value is None or not n:
        return None
    return share(value * n, int(n)) if low is None or high is None else Share(value, low, high, int(n))
