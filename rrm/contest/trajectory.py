"""What is measured while an agent is trained, and what it was worth when it stood at a given KL."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Examination:
    """What a policy writes of documents that no training sees, after so many steps."""

    step: int
    """Updates that were made before; 0 is the policy before training."""
    kl: float
    """Mean exact KL(policy || base) of a completion, in nats."""
    gold: float
    """Mean gold utility."""
    proxy: float
    """Mean of the reward that is trained on."""
    entropy: float
    """Mean entropy of the next token, in nats."""
    distinct: float
    """Share of different texts among the completions of a prompt, averaged over prompts."""
    tokens: float
    """Mean length of a completion, its end-of-sequence token included."""

    @property
    def distance(self) -> float:
        """D = sqrt(KL): the scale on which gains are simple near the base (Gao et al. 2023)."""
        return math.sqrt(max(0.0, self.kl))


@dataclass(frozen=True)
class AtDistance:
    """Gold and proxy where a trajectory stood at a given KL."""

    gold: float
    proxy: float


@dataclass(frozen=True)
class Trajectory:
    """One training."""

    examinations: tuple[Examination, ...]
    """By rising steps; the first is of step 0."""
    seconds: float
    """Of its steps, without the examinations."""

    @property
    def end(self) -> Examination:
        """What came out of it."""
        return self.examinations[-1]

    def at_kl(self, kl: float) -> AtDistance | None:
        """Gold and proxy at so many nats; None if it never stood there.

        Between two examinations on either side, gold and proxy are taken to be linear in sqrt(KL). A training goes up
        to its KL and then back and forth about it while it still gets better, so the crossings of its second half are
        averaged; without any there, the last one before counts.
        """
        found = crossings(self.examinations, kl)
        late = [one for begin, one in found if begin >= self.end.step / 2] or [one for _, one in found[-1:]]
        if not late:
            return None
        return AtDistance(
            gold=sum(one.gold for one in late) / len(late), proxy=sum(one.proxy for one in late) / len(late)
        )


def crossings(examinations: Sequence[Examination], kl: float) -> list[tuple[int, AtDistance]]:
    """Each pass through sqrt(kl), with the step before which it began.

    Where an examination stands on it exactly, that is one pass and not two.
    """
    target = math.sqrt(kl)
    found: list[tuple[int, AtDistance]] = []
    for before, after in pairwise(examinations):
        left, right = before.distance - target, after.distance - target
        if right == 0.0:
            found.append((before.step, AtDistance(after.gold, after.proxy)))
        elif left * right < 0.0:
            share = left / (left - right)
            found.append(
                (
                    before.step,
                    AtDistance(
                        gold=before.gold + share * (after.gold - before.gold),
                        proxy=before.proxy + share * (after.proxy - before.proxy),
                    ),
                )
            )
    return found
