"""How reliable raters are: with others, with themselves, with what is known, on both sides, and how fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from rrm.judging.agreement import Agreement, Ratings, agreement, agreement_with_others
from rrm.judging.blind_answers import BlindAnswer, blind_answers
from rrm.people.exclusions import left_out
from rrm.store.run import Run
from rrm.watching.shares import Share, share


@dataclass(frozen=True, slots=True)
class Reliability:
    """Figures about one rater, or about all."""

    answers: int
    """Comparisons answered, repeats and planted ones included, skipped ones not."""
    agreement: Agreement
    """With others; planted comparisons, which are easy, do not count here."""
    left: Share | None
    """How often the chosen completion was the one on the left; half, up to chance, if sides do not matter."""
    repeats: Share | None
    """How often the answer to a repeated comparison was the same."""
    planted: Share | None
    """How often the answer to a planted comparison was the known one."""
    misled: Share | None
    """Of planted ones that were right before the flawed aid: how many were not after it."""
    seconds: float | None
    """Median time of a comparison."""


def reliability(run: Run, *, level: int | None = None, round: int | None = None) -> Reliability:
    """Figures over all raters who are not left out."""
    return reliability_and_by_rater(run, level=level, round=round)[0]


def reliability_and_by_rater(
    run: Run, *, level: int | None = None, round: int | None = None
) -> tuple[Reliability, dict[str, Reliability]]:
    """Both at once, from one reading of the answers."""
    found = blind_answers(run, level=level, round=round)
    out, ratings = left_out(run), ratings_of(found)
    counted = [each for each in found if each.rater_id not in out]
    everybody = _reliability(counted, agreement(_without(ratings, out)))
    own: dict[str, list[BlindAnswer]] = {}
    for each in found:
        own.setdefault(each.rater_id, []).append(each)
    return everybody, {
        rater: _reliability(answers, agreement_with_others(_without(ratings, out - {rater}), rater))
        for rater, answers in own.items()
    }


def _without(ratings: Ratings, out: frozenset[str]) -> Ratings:
    return {rater: labels for rater, labels in ratings.items() if rater not in out}


def ratings_of(found: Sequence[BlindAnswer]) -> Ratings:
    """The labels by rater and comparison: final answers of first sittings, planted comparisons left out."""
    ratings: dict[str, dict[str, float]] = {}
    for each in found:
        if each.final and each.repeat == 0 and each.right is None and each.label is not None:
            ratings.setdefault(each.rater_id, {})[each.comparison_id] = each.label
    return ratings


def _reliability(found: Sequence[BlindAnswer], agreed: Agreement) -> Reliability:
    final = [each for each in found if each.final and each.label is not None]
    sides = [each.on_left for each in final if each.on_left is not None]
    planted = [each.right for each in final if each.right is not None and each.repeat == 0]
    same = repeated_alike(final)
    misled = misled_among(found)
    times = [each.seconds for each in final if each.seconds is not None]
    return Reliability(
        answers=len(final),
        agreement=agreed,
        left=share(float(sum(sides)), len(sides)),
        repeats=share(float(sum(same)), len(same)),
        planted=share(float(sum(planted)), len(planted)),
        misled=share(float(sum(misled)), len(misled)),
        seconds=median(times) if times else None,
    )


def repeated_alike(final: Sequence[BlindAnswer]) -> list[bool]:
    """For each repeat whether it was answered as the first time."""
    first = {(each.rater_id, each.comparison_id): each.label for each in final if each.repeat == 0}
    again = [each for each in final if each.repeat == 1 and (each.rater_id, each.comparison_id) in first]
    return [each.label == first[each.rater_id, each.comparison_id] for each in again]


def misled_among(found: Sequence[BlindAnswer]) -> list[bool]:
    """For each planted comparison with an aid that was right alone: whether the final answer was not."""
    first = [each for each in found if each.repeat == 0 and each.right is not None]
    alone = {(each.rater_id, each.comparison_id) for each in first if not each.final and each.right}
    return [not each.right for each in first if each.final and (each.rater_id, each.comparison_id) in alone]
