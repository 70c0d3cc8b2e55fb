"""Figures over seeds: means with 95% intervals, and the performance gap recovered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

CONFIDENCE = 0.95
RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95% interval."""

    mean: float
    low: float | None
    """None with a single seed: one number has no interval."""
    high: float | None
    seeds: tuple[float, ...]
    """The value of every seed, in the order of the seeds."""

    def clear_of_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def to_json(self) -> dict[str, object]:
        """The four names that programs read."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "seeds": list(self.seeds)}


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and Student-t interval  mean +- t_{0.975, n-1} s / sqrt(n)  of one value a seed."""
    array = np.asarray(values, dtype=float)
    mean = float(array.mean())
    if len(array) < 2:
        return Estimate(mean, None, None, tuple(map(float, array)))
    half = float(t.ppf(0.5 + CONFIDENCE / 2, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array)))
    return Estimate(mean, mean - half, mean + half, tuple(map(float, array)))


@dataclass(frozen=True)
class GapRecovered:
    """Performance gap recovered, or why there is none."""

    estimate: Estimate | None
    reason: str | None
    """Why it has no meaning here; None where it has."""


def performance_gap_recovered(
    arm: Sequence[float], alone: Sequence[float], gold: Sequence[float], *, generator: np.random.Generator
) -> GapRecovered:
    """Ratio of means (arm - alone) / (gold - alone), with a percentile bootstrap over seeds (Burns et al. 2023).

    None where the bootstrap interval of the denominator holds 0: there is no gap to recover. `seeds` are each seed's
    own ratio over the mean denominator, so that their mean is the ratio of means.
    """
    ours, lower, upper = (np.asarray(values, dtype=float) for values in (arm, alone, gold))
    picks = generator.integers(len(ours), size=(RESAMPLES, len(ours)))
    gaps = (upper - lower)[picks].mean(axis=1)
    tails = [100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2]
    if len(ours) < 2:
        return GapRecovered(None, "one seed has no interval")
    low, high = np.percentile(gaps, tails)
    if low <= 0 <= high:
        return GapRecovered(None, "the gap between gold labels and the reader alone is not clear of zero")
    ratios = (ours - lower)[picks].mean(axis=1) / gaps
    each = (ours - lower) / (upper - lower).mean()
    bounds = np.percentile(ratios, tails)
    return GapRecovered(Estimate(float(each.mean()), float(bounds[0]), float(bounds[1]), tuple(map(float, each))), None)
