"""What changed against the model before, in numbers and in words a rater understands."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rrm.judging.reveals import note_revealed
from rrm.sessions.current import Prediction
from rrm.statistics import Estimate, estimate
from rrm.store.comparisons import comparison
from rrm.store.run import Run
from rrm.store.samples import completion
from rrm.store.transaction import rows_in

FEWEST_HELD_OUT = 20
"""Held-out answers below which nothing is said about better or worse."""
MOST_SHOWN = 20
"""Comparisons whose predicted winner flipped that are listed."""


@dataclass(frozen=True, slots=True)
class Flip:
    """A comparison whose predicted winner changed: probabilities that the first is better."""

    comparison_id: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class FlipText:
    """A flip with what people read."""

    prompt: str
    first: str
    second: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Changes:
    """What a session's reward model does otherwise than the one before it."""

    before: str | None
    """The model before; None where there was none."""
    held_out: int
    """Answers that neither model was trained on, or, cross-validated, that each fold was not."""
    cross_validated: bool
    """Whether there were no held-out answers, so that folds of the training answers stand for them."""
    accuracy_before: float | None
    accuracy_after: float
    difference: Estimate | None
    """Of the accuracies on the same answers, with its interval; None without both."""
    comparisons: int
    """Comparisons that both models predicted."""
    spread_before: float | None
    spread_after: float | None
    flipped: int
    flips: tuple[Flip, ...]
    """The largest changes first, judged comparisons before others; `MOST_SHOWN` at most."""
    accuracy_of_reward: float | None = None
    """Of the conservative reward on the held-out answers; None without any, and where an older version did not ask."""

    def to_json(self) -> dict[str, Any]:
        """As the session's result has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Changes":
        """Read back."""
        difference = stored["difference"]
        values = {
            **stored,
            "difference": Estimate(**{**difference, "seeds": tuple(difference["seeds"])}) if difference else None,
            "flips": tuple(Flip(**each) for each in stored["flips"]),
        }
        return cls(**values)


def agreement(probability: float, label: float) -> float:
    """How far the predicted side agrees with an answer: 1, 0, or one half for a tie or no side."""
    if probability == 0.5 or label == 0.5:
        return 0.5
    return float((probability > 0.5) == (label > 0.5))


def paired_difference(before: Sequence[float], after: Sequence[float], labels: Sequence[float]) -> Estimate | None:
    """Gain in agreement from one model to the next on the same answers, with a 95% interval; None for too few."""
    if len(labels) < FEWEST_HELD_OUT:
        return None
    gains = [
        agreement(new, label) - agreement(old, label) for old, new, label in zip(before, after, labels, strict=True)
    ]
    found = estimate(gains)
    # The single gains would fill the store, and nobody reads them.
    return Estimate(found.mean, found.low, found.high, ())


def flips_among(predictions: Sequence[Prediction], *, judged: frozenset[str]) -> tuple[int, tuple[Flip, ...]]:
    """How many predicted winners changed, and the comparisons to show."""
    found = [
        Flip(each.comparison_id, each.before, each.after)
        for each in predictions
        if each.before is not None and (each.before - 0.5) * (each.after - 0.5) < 0.0
    ]
    found.sort(key=lambda flip: (flip.comparison_id not in judged, -abs(flip.after - flip.before), flip.comparison_id))
    return len(found), tuple(found[:MOST_SHOWN])


def flips_to_show(run: Run, changes: Changes, *, to: str, now: str) -> list[FlipText]:
    """The listed flips as text, for the rater `to`.

    Only what trains, and nothing that somebody has still to judge: a prediction must not reach them first. What the
    rater answered of it is written down as revealed, because another answer to it would not be blind any more.
    """
    query = """SELECT comparison_id FROM waiting
        WHERE raters_missing <= 0 AND purpose = 'train' AND comparison_id IN ({})"""
    judged = {
        row["comparison_id"] for row in rows_in(run.database, query, [flip.comparison_id for flip in changes.flips])
    }
    listed = [flip for flip in changes.flips if flip.comparison_id in judged]
    note_revealed(run, [flip.comparison_id for flip in listed], rater_id=to, now=now)
    return [_flip_text(run, flip) for flip in listed]


def _flip_text(run: Run, flip: Flip) -> FlipText:
    asked = comparison(run, flip.comparison_id)
    first, second = (completion(run, one).text for one in (asked.first_completion_id, asked.second_completion_id))
    return FlipText(asked.prompt, first, second, flip.before, flip.after)


def in_words(changes: Changes) -> tuple[str, ...]:
    """What changed, a sentence a matter."""
    return (
        _agreement_in_words(changes),
        *_noise_in_words(changes),
        *_reward_in_words(changes),
        *_spread_in_words(changes),
        *_flips_in_words(changes),
    )


def _agreement_in_words(changes: Changes) -> str:
    after, count = _percent(changes.accuracy_after), changes.held_out
    if changes.cross_validated:
        return (
            f"Nothing was held out, so it was tested on parts of the answers that it had not seen: it agrees with "
            f"{after} of {count}. Held-out answers would tell more."
        )
    if changes.accuracy_before is None:
        return f"It agrees with {after} of the {count} answers it never saw; tossing a coin would agree with 50%."
    return (
        f"It now agrees with {after} of the answers it never saw (before: {_percent(changes.accuracy_before)}, on the "
        f"same {count} answers)."
    )


def _noise_in_words(changes: Changes) -> tuple[str, ...]:
    if changes.cross_validated or changes.accuracy_before is None:
        return ()
    found = changes.difference
    if found is None or found.low is None or found.high is None:
        return (f"{changes.held_out} held-out answers are too few to tell whether it became better.",)
    low, high = 100 * found.low, 100 * found.high
    if found.low == found.high == 0.0:
        return ("On these answers both models choose the same sides.",)
    if not found.clear_of_zero():
        return (
            f"That is too small a difference to tell from chance: with 95% confidence it lies between {low:+.0f} and "
            f"{high:+.0f} points.",
        )
    better = "better" if found.mean > 0 else "worse"
    return (f"It became {better}: with 95% confidence by {_span(low, high)} points in 100.",)


def _span(low: float, high: float) -> str:
    near, far = sorted((abs(low), abs(high)))
    return f"{near:.0f} to {far:.0f}"


def _reward_in_words(changes: Changes) -> tuple[str, ...]:
    found = changes.accuracy_of_reward
    if found is None or found == changes.accuracy_after:
        return ()
    return (f"Ranked by the reward that an agent would be paid, it agrees with {_percent(found)} of them.",)


def _spread_in_words(changes: Changes) -> tuple[str, ...]:
    if changes.spread_after is None:
        return ("With a single member there is no disagreement to measure.",)
    before = "" if changes.spread_before is None else f" (before: {100 * changes.spread_before:.1f})"
    return (
        f"Its members disagree by {100 * changes.spread_after:.1f} points in 100 on average about who wins{before}, "
        f"over {changes.comparisons} comparisons.",
    )


def _flips_in_words(changes: Changes) -> tuple[str, ...]:
    if changes.before is None:
        return ()
    if changes.flipped == 0:
        return (f"None of {changes.comparisons} predictions changed sides.",)
    return (f"{changes.flipped} of {changes.comparisons} predictions changed sides.",)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"
