"""The final answers of people and programs as figures about raters need them, read at once."""

from dataclasses import dataclass

from rrm.judging.planted import RIGHT
from rrm.store.records import Choice, Purpose, Stage, label_of
from rrm.store.run import Run
from rrm.store.transaction import Row, rows

LONGEST = 600.0
"""Seconds that one answer can count at most; whoever takes longer has left the page open."""

# A comparison that somebody answered knowing whose texts they were says nothing about how people judge blind.
_ANSWERS = f"""
    SELECT answer.rater_id, answer.comparison_id, answer.repeat, answer.stage, answer.choice, purpose,
        comparisons.level, comparisons.round, aids_planned, first_on_left, first.agent_id AS first_agent,
        coalesce(json_extract(raters.settings, '$.imported'), 0) AS imported,
        min({LONGEST}, max(0.0, coalesce(json_extract(answer.details, '$.milliseconds') / 1000.0,
            86400.0 * (julianday(decided_at) - julianday(shown_at))))) AS seconds
    FROM live_judgements AS answer
    JOIN comparisons ON comparisons.id = answer.comparison_id
    JOIN leases ON leases.id = answer.lease_id
    JOIN raters ON raters.id = answer.rater_id
    JOIN completions AS first ON first.id = first_completion_id
    WHERE answer.repeat IN (0, 1) AND NOT coalesce(json_extract(answer.details, '$.unblinded'), 0)"""

_COMPARABLE = """ AND (purpose = 'test'
    OR answer.comparison_id IN (SELECT comparison_id FROM leases GROUP BY comparison_id HAVING count(*) > 1))"""


@dataclass(frozen=True, slots=True)
class BlindAnswer:
    """One answer of one rater, given without knowing whose texts they were."""

    rater_id: str
    comparison_id: str
    repeat: int
    """0 for the first sitting, 1 for a repeat check."""
    final: bool
    """Whether it ends its sitting; else it is the one before the aids."""
    choice: Choice
    label: float | None
    """1 if the first is better, 0 if the second is, 0.5 if neither; None if undecided or skipped."""
    on_left: bool | None
    """Whether the chosen one was shown on the left; None if neither was chosen, or the answer was imported."""
    right: bool | None
    """Whether the answer is the known one; None where none is known. Neither is wrong."""
    seconds: float | None
    """How long it took; None where that is not known, as of an imported answer."""


def blind_answers(
    run: Run, *, level: int | None = None, round: int | None = None, comparable: bool = False
) -> list[BlindAnswer]:
    """All answers that count, of all raters, in the order they were given; adjudications are none.

    With `comparable` only those that can be held against another answer, or against a known one: in a large run few.
    """
    query = f"{_ANSWERS}{_COMPARABLE if comparable else ''} ORDER BY answer.position"
    return [
        _answer(row)
        for row in rows(run.database, query)
        if level in (None, row["level"]) and round in (None, row["round"])
    ]


def _answer(row: Row) -> BlindAnswer:
    choice = Choice(str(row["choice"]))
    chose_first = {Choice.FIRST: True, Choice.SECOND: False}.get(choice)
    label = label_of(choice)
    known = row["purpose"] == Purpose.TEST.value and label is not None
    imported = bool(row["imported"])
    return BlindAnswer(
        rater_id=str(row["rater_id"]),
        comparison_id=str(row["comparison_id"]),
        repeat=int(row["repeat"] or 0),
        final=row["stage"] == (Stage.AIDED if row["aids_planned"] else Stage.ALONE).value,
        choice=choice,
        label=label,
        on_left=None if chose_first is None or imported else chose_first == bool(row["first_on_left"]),
        right=chose_first == (row["first_agent"] == RIGHT) if known else None,
        seconds=None if row["seconds"] is None or imported else float(row["seconds"]),
    )
