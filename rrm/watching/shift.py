"""Under policy shift: how a reward model does on what was written after it was fitted, above all by its own agent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rrm.store.run import Run
from rrm.store.steps import step_key, step_result
from rrm.watching.fits import Fit, accuracy, number, part
from rrm.watching.shares import Share

OWN = "answers held out when it was fitted"
AGENT = "what its agent wrote"
NEXT = "answers of the next round"


@dataclass(frozen=True, slots=True)
class Shifted:
    """One reward model on one kind of answers that it never saw."""

    name: str
    """Of the reward model."""
    level: int
    round: int
    where: str
    """`OWN`, `AGENT` or `NEXT`."""
    written_by: str | None
    """Whose completions they are; None where that was not stored."""
    right: Share
    disagreement: float | None
    """Mean deviation between the members' probabilities; None where it was not stored."""


def shifted(run: Run, found: Sequence[Fit]) -> list[Shifted]:
    """For each reward model that trained an agent: held-out answers of before and after."""
    rounds = [fit for fit in found if fit.by_round]
    following = {(fit.level, fit.round - 1): part(part(fit.result, "before"), "held_out") for fit in rounds}
    rows: list[Shifted] = []
    for fit in rounds:
        promoted = step_result(run, step_key(level=fit.level, round=fit.round, name="promote"))
        for where, record in (
            (OWN, _own(fit)),
            (NEXT, following.get((fit.level, fit.round))),
            (AGENT, part(promoted, "reward_model")),
        ):
            right = accuracy(record)
            if record is not None and right is not None:
                written_by = str(record["name"]) if where != OWN and record.get("name") else None
                rows.append(Shifted(fit.name, fit.level, fit.round, where, written_by, right, number(record, "spread")))
    return rows


def _own(fit: Fit) -> Mapping[str, object] | None:
    return part(part(fit.result, "honesty"), "overall") or part(fit.result, "held_out")
