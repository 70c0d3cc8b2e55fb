"""Which answers of an import a run holds already, and who gives those that it does not.

The id of an imported answer follows from the pair, its rater and the repeat. What the answer says is compared: a rater
with a name who says something else is refused, and where nobody is named it is somebody else who says it.
"""

from collections import Counter
from typing import NamedTuple

from rrm.imported_rows import ImportedRow, RowRejected, person_of
from rrm.store import Choice, Purpose, Rater, Run
from rrm.store.canonical import derived_id, sha256_text
from rrm.store.transaction import Row, rows

_EXPORTED = """SELECT judgements.comparison_id, judgements.rater_id, judgements.choice, judgements.repeat,
        comparisons.document_id, comparisons.purpose, first.text_sha256 AS first_sha256,
        second.text_sha256 AS second_sha256
    FROM judgements JOIN comparisons ON comparisons.id = judgements.comparison_id
    JOIN completions AS first ON first.id = first_completion_id
    JOIN completions AS second ON second.id = second_completion_id WHERE judgements.id = ?"""


class Held(NamedTuple):
    """An answer of the run that a row stands for."""

    document: str
    comparison: str
    rater: str
    purpose: Purpose
    repeat: bool
    """Whether its rater had answered the same before; then nothing is fitted to it."""


class Vote(NamedTuple):
    """An answer that a row stands for."""

    id: str
    rater: Rater
    repeat: int
    known: bool
    """Whether the run holds it."""


class ImportedAnswers:
    """The answers of a run while others come into it."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._choices = {
            str(row["id"]): Choice(str(row["choice"]))
            for row in rows(run.database, "SELECT id, choice FROM judgements")
        }
        self._named: Counter[tuple[str, str]] = Counter()
        self._unnamed: Counter[tuple[str, Choice]] = Counter()

    def exported(self, given: ImportedRow) -> Held | None:
        """The answer that a row was exported from, if that was this run; RowRejected where it was changed since."""
        if given.judgement not in self._choices:
            return None
        row = rows(self._run.database, _EXPORTED, (given.judgement,))[0]
        first, second = sha256_text(given.first), sha256_text(given.second)
        # Runs of one configuration give the same ids to answers about other texts.
        if {first, second} != {row["first_sha256"], row["second_sha256"]}:
            return None
        if given.choice_from(given.first if first == row["first_sha256"] else given.second) != row["choice"]:
            raise RowRejected("this run holds the answer of that name, and there it says otherwise")
        return _held(row)

    def vote(self, comparison: str, name: str | None, choice: Choice) -> Vote:
        """Who says this of a pair, as which of their answers; call it once for each answer, in order.

        Raises RowRejected for what a rater with a name cannot say any more.
        """
        if name is not None:
            return self._of_named(comparison, name, choice)
        place = self._unnamed[comparison, choice]
        while not self._can_be(vote := self._vote(comparison, person_of(None, place)), choice):
            place += 1
        self._unnamed[comparison, choice] = place + 1
        return self._given(vote, choice)

    def _of_named(self, comparison: str, name: str, choice: Choice) -> Vote:
        repeat = self._named[comparison, name]
        if repeat > 1:
            raise RowRejected("its rater judged the same pair twice before, and a repeat is kept once")
        vote = self._vote(comparison, person_of(name, 0), repeat)
        if not self._can_be(vote, choice):
            raise RowRejected("its rater answered otherwise about the same pair in an earlier import")
        self._named[comparison, name] += 1
        return self._given(vote, choice)

    def _vote(self, comparison: str, rater: Rater, repeat: int = 0) -> Vote:
        identifier = derived_id("imported", comparison, rater.id, repeat)
        return Vote(identifier, rater, repeat, known=identifier in self._choices)

    def _can_be(self, vote: Vote, choice: Choice) -> bool:
        return self._choices.get(vote.id, choice) is choice

    def _given(self, vote: Vote, choice: Choice) -> Vote:
        self._choices[vote.id] = choice
        return vote


def _held(row: Row) -> Held:
    return Held(
        document=str(row["document_id"]),
        comparison=str(row["comparison_id"]),
        rater=str(row["rater_id"]),
        purpose=Purpose(str(row["purpose"])),
        repeat=row["repeat"] == 1,
    )
