"""Everybody who judges, with the figures about them: all of it for leads, their own for raters."""

from dataclasses import dataclass

from rrm.judging.reliability import Reliability, reliability_and_by_rater
from rrm.people.accounts import Person, Role, accounts
from rrm.people.exclusions import Exclusion, exclusions
from rrm.store.comparisons import raters
from rrm.store.records import RaterKind
from rrm.store.run import Run


@dataclass(frozen=True, slots=True)
class RaterRow:
    """One rater."""

    rater_id: str
    name: str
    kind: RaterKind
    role: Role | None
    """None without an account: the local person, and programs."""
    active: bool
    """Whether they may sign in, where they have an account."""
    exclusion: Exclusion | None
    """Why their answers are left out, if they are."""
    figures: Reliability | None
    """None before their first answer."""


@dataclass(frozen=True, slots=True)
class Overview:
    """Who judges, and how well."""

    rows: tuple[RaterRow, ...]
    everybody: Reliability | None
    """Figures over all raters who are not left out; for leads only."""


Figures = tuple[Reliability, dict[str, Reliability]]
"""What `reliability_and_by_rater` finds."""


def overview(run: Run, *, by: Person, figures: Figures | None = None) -> Overview:
    """The raters as somebody may see them: a lead everybody, a rater themselves; people first, by name.

    `figures` are those of `reliability_and_by_rater`, where they are known already.
    """
    everybody, by_rater = figures or reliability_and_by_rater(run)
    known = {account.person.rater_id: account for account in accounts(run)}
    last = {each.rater_id: each for each in exclusions(run)}
    rows = [
        RaterRow(
            rater_id=rater.id,
            name=rater.name,
            kind=rater.kind,
            role=known[rater.id].person.role if rater.id in known else None,
            active=known[rater.id].active if rater.id in known else True,
            exclusion=last[rater.id] if rater.id in last and last[rater.id].left_out else None,
            figures=by_rater.get(rater.id),
        )
        for rater in raters(run)
        if by.is_lead or rater.id == by.rater_id
    ]
    rows.sort(key=lambda row: (row.kind is not RaterKind.PERSON, row.name.casefold(), row.rater_id))
    return Overview(rows=tuple(rows), everybody=everybody if by.is_lead else None)
