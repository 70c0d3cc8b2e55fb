"""Final answers: of all that was answered, what counts in a fit or a decision."""

from collections.abc import Sequence

from rrm.people.exclusions import left_out
from rrm.store.comparisons import comparisons
from rrm.store.judgements import live_judgements
from rrm.store.records import Judgement, Purpose, Stage, label_of
from rrm.store.run import Run

ADJUDICATION = 2
"""The number of a lead's sitting, in which they settle what raters disagree on; 0 is a rater's own, 1 a repeat."""


def final_answers(run: Run, *, level: int, round: int, purpose: Purpose) -> list[Judgement]:
    """The answers of a round that count for a purpose, ties included, in the order of the chain.

    The last answer of each sitting: after the aid where one was planned. Not those of raters who are left out, and
    not those that their raters had not tried or could not decide. A lead's adjudication stands for all the answers to
    its comparison. Held-out purposes drop what was answered after the origin of the texts had been revealed.
    """
    # Answers first: while somebody imports, a comparison can come and be answered between the two readings.
    given = live_judgements(run, level=level, round=round, purpose=purpose, repeats=True)
    asked = comparisons(run, level=level, round=round, purpose=purpose)
    final = {each.id: Stage.AIDED if each.aids_planned else Stage.ALONE for each in asked}
    out = left_out(run)
    answers = [
        judgement
        for judgement in given
        if judgement.stage is final[judgement.comparison_id]
        and judgement.rater_id not in out
        and judgement.repeat in (0, ADJUDICATION)
        and (purpose is Purpose.TRAIN or judgement.details.get("unblinded") is not True)
    ]
    return [judgement for judgement in _settled(answers) if label_of(judgement.choice) is not None]


def _settled(answers: Sequence[Judgement]) -> list[Judgement]:
    """Where a lead has adjudicated, only the last adjudication."""
    last = {judgement.comparison_id: judgement.id for judgement in answers if judgement.repeat == ADJUDICATION}
    return [judgement for judgement in answers if last.get(judgement.comparison_id, judgement.id) == judgement.id]
