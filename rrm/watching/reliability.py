"""Reliability: does a reward model's stated probability come true on judgements that it never saw?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rrm.store.run import Run
from rrm.watching.fits import Fit, fits
from rrm.watching.shares import Share, share

BINS = 10
"""Equal bins of [0, 1]; the probabilities of preferred completions fill the upper half of them."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions that are much alike, and what was answered."""

    predicted: float
    """Mean predicted probability of the preferred completion."""
    answered: Share
    """Answers that prefer it too, a tie half of one."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """One reward model on held-out judgements."""

    name: str
    """Such as `Level 1, round 0`, or `Session 3`."""
    level: int
    round: int
    judgements: int
    accuracy: float | None
    ece: float | None
    """Expected calibration error."""
    temperature: float | None
    """What its score differences should be divided by; above 1 it was too sure."""
    spread_error: float | None
    """Rank correlation of the members' disagreement with the error; None where either is constant."""
    bins: tuple[Bin, ...]


def reliabilities(run: Run) -> list[Reliability]:
    """Every reward model of the run whose predictions are stored, those of rounds first, in the order of fitting."""
    return [one for one in map(_reliability, fits(run)) if one.bins]


def bins_of(predictions: Sequence[Sequence[float]]) -> tuple[Bin, ...]:
    """Pairs of probability and label, folded to the preferred side, in bins; empty ones are left out.

    Folding makes it the same whichever completion stood first, as the expected calibration error is.
    """
    if not predictions:
        return ()
    from sklearn.calibration import calibration_curve

    pairs = [(p, y) if p >= 0.5 else (1.0 - p, 1.0 - y) for p, y in predictions]
    # A label enters as two halves, so that a tie is one of each.
    probabilities = np.repeat([p for p, _ in pairs], 2)
    outcomes = np.array([half for _, y in pairs for half in (y > 0.0, y == 1.0)], dtype=int)
    agreed, predicted = calibration_curve(outcomes, probabilities, n_bins=BINS)
    places = np.searchsorted(np.linspace(0.0, 1.0, BINS + 1)[1:-1], [p for p, _ in pairs])
    counts = [int(count) for count in np.bincount(places, minlength=BINS) if count]
    shares = [share(float(part) * n, n) for part, n in zip(agreed, counts, strict=True)]
    return tuple(Bin(float(p), answered) for p, answered in zip(predicted, shares, strict=True) if answered is not None)


def _reliability(fit: Fit) -> Reliability:
    held_out, predictions = fit.result.get("held_out"), fit.result.get("held_out_predictions")
    figures = held_out if isinstance(held_out, Mapping) else {}
    pairs = predictions if isinstance(predictions, list) else []
    return Reliability(
        name=fit.name,
        level=fit.level,
        round=fit.round,
        judgements=len(pairs),
        accuracy=figures.get("accuracy"),
        ece=figures.get("ece"),
        temperature=figures.get("temperature"),
        spread_error=figures.get("spread_error_spearman"),
        bins=bins_of(pairs),
    )
