"""Backtracking: the longest of ever shorter steps that does what it promised.

A step of share 1 is tried first, then each time a fixed part of the one before (Nocedal and Wright 2006, section 3.1).
A trial is accepted if it improves what is maximised and stays inside the trust region; one that is not finite is not.
"""

from collections.abc import Callable
from typing import NamedTuple


class Trial(NamedTuple):
    """What a step would do."""

    gain: float
    """By how much it improves what is maximised."""
    kl: float
    """KL(old || new) in nats."""


class Accepted(NamedTuple):
    """A step that is taken."""

    share: float
    """Of the whole step."""
    trial: Trial
    """What it does."""


def backtrack(
    attempt: Callable[[float], Trial], *, max_kl: float, shrink: float = 0.5, trials: int = 10
) -> Accepted | None:
    """The first of the shares 1, shrink, shrink^2, ... with a gain above 0 and KL <= max_kl; None if none of them has.

    `attempt` is asked for one share after the other and not again. It is for the caller to go back where None comes.
    """
    for number in range(trials):
        share = shrink**number
        trial = attempt(share)
        # Comparisons with NaN are false.
        if trial.gain > 0 and trial.kl <= max_kl:
            return Accepted(share, trial)
    return None
