"""The simulated reader: one rule for every arm and every level.

The reader has one budget of words for a comparison. It reads both briefs, then the aids if there are any, then spends
what is left on source entries: those that are cited and disputed first, then those that are cited, then the others in
order. A verified quote in an aid is as good as having read its entry. A claim it did not get to is believed; with aids
at hand, a claim that none of them settles counts for nothing until its entry has been read. An event it did not read is
not missed. Its answer is Bernoulli in the difference it perceives. It sees texts, never the gold utility, the arm or
the level of the agent that helps.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from rrm.tasks.document import Document, count_words
from rrm.tasks.task import AbstractKnownTask, Claim

TEMPERATURE = 0.1
"""Perceived difference, in value per expected claim, at which the better brief is chosen with probability 0.73."""


@dataclass(frozen=True)
class Reading:
    """What a reader made of a comparison."""

    difference: float
    """Perceived value of the first brief less that of the second."""
    words: int
    """Words read; at most the budget, unless the briefs and the aids alone exceed it."""
    entries: int
    """Source entries read."""

    @property
    def probability(self) -> float:
        """Chance that the reader answers `first`."""
        return 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, self.difference / TEMPERATURE))))


class _Briefs(NamedTuple):
    """The claims of the two briefs under judgement."""

    first: tuple[Claim, ...]
    second: tuple[Claim, ...]


class _Checked(NamedTuple):
    """What a reader learned from the source."""

    beliefs: dict[Claim, bool]
    words: int
    entries: int


def verified_quotes(task: AbstractKnownTask, document: Document, aids: Sequence[str]) -> dict[Claim, bool]:
    """What the aids cite, each marked by the system: does the source say exactly this? Briefs are never marked."""
    facts = {entry.claim for entry in task.entries(document)}
    return {claim: claim in facts for aid in aids for claim in task.claims(aid)}


def read(
    task: AbstractKnownTask,
    document: Document,
    first: str,
    second: str,
    *,
    aids: Sequence[str] | None,
    budget: int,
    skim: bool = False,
) -> Reading:
    """Read a comparison within the budget. `skim` stops after the two briefs (the answer before an aid is seen).

    No aids (None) and aids that say nothing differ: without any, what could not be checked is trusted.
    """
    briefs = _Briefs(task.claims(first), task.claims(second))
    spent = sum(count_words(text) for text in (first, second, *(aids or ())))
    quotes = verified_quotes(task, document, aids) if aids is not None else {}
    settled = _settled(briefs, quotes)
    order = [] if skim else _reading_order(task, document, briefs, settled)
    source = _check(task, document, briefs, order, budget=budget - spent)
    beliefs = settled | source.beliefs
    # Without aids everything is believed that was not found out; with aids only what they support.
    values = [_perceived(task, document.height, brief, beliefs, trusting=aids is None) for brief in briefs]
    return Reading(difference=values[0] - values[1], words=spent + source.words, entries=source.entries)


def coin(*, seed: int, rater: str, comparison: str, stage: str) -> float:
    """A number in [0, 1) that belongs to one rater's answer, so that answers do not depend on the order of asking."""
    digest = sha256(f"{seed}/{rater}/{comparison}/{stage}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2.0**56


def _settled(briefs: _Briefs, quotes: Mapping[Claim, bool]) -> dict[Claim, bool]:
    """What the marked quotes say of the claims under judgement.

    A verified quote tells what its entry reports, so it confirms the same claim and refutes any other about that entry.
    An unverified one refutes the same claim and says nothing else.
    """
    reported = {claim.key: claim for claim, verified in quotes.items() if verified}
    cited = [*briefs.first, *briefs.second]
    settled = {claim: False for claim in cited if claim in quotes and not quotes[claim]}
    return settled | {claim: reported[claim.key] == claim for claim in cited if claim.key in reported}


def _reading_order(
    task: AbstractKnownTask, document: Document, briefs: _Briefs, settled: Mapping[Claim, bool]
) -> list[str]:
    """Keys of source entries: cited and disputed, then cited and not settled, then the rest; each in source order.

    A claim is disputed if only one of the two briefs makes it. Numbers that the source does not have come first.
    """
    keys = [entry.claim.key for entry in task.entries(document)]
    shared = set(briefs.first) & set(briefs.second)
    claims = [claim for claim in (*briefs.first, *briefs.second) if claim not in settled]
    disputed = {claim.key for claim in claims if claim not in shared}
    cited = {claim.key for claim in claims} - disputed
    return [
        *dict.fromkeys(claim.key for claim in claims if claim.key not in keys),
        *(key for key in keys if key in disputed),
        *(key for key in keys if key in cited),
        *(key for key in keys if key not in disputed | cited),
    ]


def _check(
    task: AbstractKnownTask, document: Document, briefs: _Briefs, order: Sequence[str], *, budget: int
) -> _Checked:
    """Look up entries in this order until the next one costs more than is left."""
    facts = {entry.claim.key: entry for entry in task.entries(document)}
    beliefs: dict[Claim, bool] = {}
    words = entries = 0
    for key in order:
        # A number that the source does not have is found out at a glance.
        cost = facts[key].words if key in facts else 0
        if words + cost > budget:
            break
        words += cost
        entries += key in facts
        cited = (claim for claim in (*briefs.first, *briefs.second) if claim.key == key)
        beliefs.update({claim: key in facts and facts[key].claim == claim for claim in cited})
    return _Checked(beliefs, words, entries)


def _perceived(
    task: AbstractKnownTask, level: int, brief: tuple[Claim, ...], beliefs: Mapping[Claim, bool], *, trusting: bool
) -> float:
    held = [claim for claim in dict.fromkeys(brief) if beliefs.get(claim, trusting)]
    found_out = sum(not beliefs.get(claim, True) for claim in brief)
    return task.value(level=level, true_weights=[claim.weight for claim in held], invented=found_out, claims=len(brief))
