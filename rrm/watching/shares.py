"""A share of what was counted, with its interval."""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

Z = NormalDist().inv_cdf(0.975)
"""How many standard errors a two-sided interval of 95% reaches."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share in [0, 1] with its 95% interval."""

    value: float
    low: float
    high: float
    n: int
    """What was counted in all."""

    def rest(self) -> "Share":
        """The share of the others: one minus it."""
        return Share(1.0 - self.value, 1.0 - self.high, 1.0 - self.low, self.n)


def share(counted: float | int, n: int) -> Share | None:
    """`counted` of `n`, halves allowed, with Wilson's interval (Wilson 1927); None of none.

    It is centred on  (k + z^2 / 2) / (n + z^2),  and stays within [0, 1] where a normal interval would leave it.
    """
    if n == 0:
        return None
    value = counted / n
    centre = (counted + Z**2 / 2) / (n + Z**2)
    half = Z / (n + Z**2) * sqrt(n * value * (1.0 - value) + Z**2 / 4)
    # At 0 and 1 an end of the interval is the share itself, which rounding may miss by a little.
    return Share(value, max(0.0, min(value, centre - half)), min(1.0, max(value, centre + half)), n)
