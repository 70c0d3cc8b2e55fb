"""Several judgements in one row: `{prompt, a, b, votes: [{by, pref, why}]}`, as the answers of a panel are kept.

Each vote becomes a row of its own, so that raters are kept apart: who agrees with whom is what such data can tell.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from reward_models.preference_columns import BadCell, PreferenceColumns, Row

SIDES = ("a", "b")
"""Columns of the two completions; without either, those that are named first and second."""
PREFERENCES: Mapping[object, str] = {"a": "first", "b": "second", "tie": "tie"}
"""What `pref` may be, as a label."""


class VoteReader:
    """Rows with votes, one judgement at a time. Columns of a vote are called `votes[].by` and so on."""

    def __init__(self, columns: PreferenceColumns) -> None:
        self._columns = columns
        part = {name: f"{columns.votes}[].{key}" for name, key in _KEYS.items()}
        self._own = replace(columns, **part)
        self._lettered = replace(self._own, first=SIDES[0], second=SIDES[1])

    def has_votes(self, row: Row) -> bool:
        """Whether a row holds votes; where it says itself which completion is better, they are not asked."""
        said = (self._columns.chosen, self._columns.rejected, self._columns.label)
        return self._columns.votes in row and not any(name in row for name in said)

    def rows(self, row: Row) -> Iterator[tuple[Row | BadCell, PreferenceColumns]]:
        """A flat row for each vote, or what is wrong with it, and the columns to read it by."""
        columns = self._lettered if any(side in row for side in SIDES) else self._own
        votes = row[self._columns.votes]
        if not isinstance(votes, list) or not votes:
            given = "is empty" if votes == [] else f"is a {type(votes).__name__}"
            yield BadCell(self._columns.votes, f"{given}; expected a list of at least one {_EXPECTED}"), columns
            return
        shared = {name: value for name, value in row.items() if name != self._columns.votes}
        for number, vote in enumerate(votes, start=1):
            yield self._row(shared, number, vote), columns

    def _row(self, shared: Row, number: int, vote: object) -> Row | BadCell:
        name = self._columns.votes
        if not isinstance(vote, Mapping):
            return BadCell(f"{name}[]", f"has a {type(vote).__name__} as vote {number}; expected {_EXPECTED}")
        preferred = vote.get("pref")
        if not isinstance(preferred, str) or preferred not in PREFERENCES:
            return BadCell(f"{name}[].pref", f"is {preferred!a:.40} in vote {number}; expected 'a', 'b' or 'tie'")
        own = {f"{name}[].{key}": value for key, value in vote.items()}
        return {**shared, **own, f"{name}[].pref": PREFERENCES[preferred]}


_KEYS = {
    "label": "pref", "tie": "tie", "rater": "by", "comment": "why",
    # Of one answer, where a row is several: a vote says them itself, or they are not said.
    "judgement": "judgement", "level": "level", "choice": "choice",
}  # fmt: skip
_EXPECTED = '{"by": rater, "pref": "a", "b" or "tie", "why": optional}'
