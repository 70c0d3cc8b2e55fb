"""Consistency: do raters agree with each other, with themselves and with what is known, and do sides matter to them?

The figures of `rrm.judging.reliability` over all raters together, so that a large run is read quickly: one by one only
those answers that can be held against another.
"""

from dataclasses import dataclass

from rrm.judging.agreement import Agreement, agreement
from rrm.judging.blind_answers import blind_answers
from rrm.judging.reliability import misled_among, ratings_of, repeated_alike
from rrm.people.exclusions import left_out
from rrm.store.canonical import canonical_json
from rrm.store.run import Run
from rrm.store.transaction import rows
from rrm.watching.shares import Share, share

# Of imported answers nobody knows which completion stood on the left where they were given.
_SIDES = """
    SELECT count(*) AS n, coalesce(sum((choice = 'first') = first_on_left), 0) AS chosen_left
    FROM live_judgements AS answer JOIN comparisons ON comparisons.id = answer.comparison_id
    JOIN leases ON leases.id = lease_id JOIN raters ON raters.id = answer.rater_id
    WHERE NOT coalesce(json_extract(raters.settings, '$.imported'), 0)
        AND answer.repeat IN (0, 1) AND NOT coalesce(json_extract(answer.details, '$.unblinded'), 0)
        AND choice IN ('first', 'second') AND stage = CASE aids_planned WHEN 1 THEN 'aided' ELSE 'alone' END
        AND answer.rater_id NOT IN (SELECT value FROM json_each(?))"""


@dataclass(frozen=True, slots=True)
class Consistency:
    """Figures over all raters who are not left out."""

    left: Share | None
    """How often the completion chosen in the end stood on the left; of answers that were given here."""
    agreement: Agreement
    repeats: Share | None
    """Repeats that were answered as the first time."""
    planted: Share | None
    """Planted comparisons with the known answer."""
    misled: Share | None
    """Of planted ones that were right before the flawed aid: those that were not after it."""


def consistency(run: Run) -> Consistency:
    """Over all levels and rounds."""
    out = left_out(run)
    sides = rows(run.database, _SIDES, (canonical_json(sorted(out)),))[0]
    found = [one for one in blind_answers(run, comparable=True) if one.rater_id not in out]
    final = [one for one in found if one.final and one.label is not None]
    planted = [one.right for one in final if one.right is not None and one.repeat == 0]
    same, misled = repeated_alike(final), misled_among(found)
    return Consistency(
        left=share(int(sides["chosen_left"] or 0), int(sides["n"] or 0)),
        agreement=agreement(ratings_of(found)),
        repeats=share(sum(same), len(same)),
        planted=share(sum(planted), len(planted)),
        misled=share(sum(misled), len(misled)),
    )
