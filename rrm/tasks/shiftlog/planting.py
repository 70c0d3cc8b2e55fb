"""Comparisons of shift logs whose answer is known, made from the entries of the log alone."""

from collections.abc import Sequence

import numpy as np

from rrm.tasks.document import Document
from rrm.tasks.shiftlog.guidelines import CLAIMS_PER_LEVEL
from rrm.tasks.shiftlog.language import EVENTS, Severity, read_claims, severity_of, write_claim
from rrm.tasks.task import Planted

Cited = tuple[int, str]
"""Number and event of an entry."""


def plant(document: Document, generator: np.random.Generator) -> Planted | None:
    """The most severe events, and the same with one of them told as another grave event; None if there are none."""
    true = _most_severe(document, CLAIMS_PER_LEVEL[document.height])
    if not true:
        return None
    number, event = true[int(generator.integers(len(true)))]
    others = [other for other in EVENTS[Severity.GRAVE] if other != event]
    lie = (number, others[int(generator.integers(len(others)))])
    return Planted(
        right=_write(true),
        wrong=_write(_told(true, lie)),
        flaw=f"The log reports {write_claim(number, event)}, not {write_claim(*lie)}.",
        aids=tuple(_flawed_brief(part, (number, event), lie) for part in document.parts),
    )


def _flawed_brief(part: Document, event: Cited, lie: Cited) -> str:
    """A brief of a part, with the lie if it is about an entry of this part."""
    true = _most_severe(part, CLAIMS_PER_LEVEL[part.height])
    if event in _cited(part):
        true = sorted({*true, event})
    return _write(_told(true, lie))


def _told(true: Sequence[Cited], lie: Cited) -> list[Cited]:
    return [lie if number == lie[0] else (number, event) for number, event in true]


def _most_severe(document: Document, count: int) -> list[Cited]:
    notable = [(number, event) for number, event in _cited(document) if severity_of(event) > Severity.ROUTINE]
    return sorted(sorted(notable, key=lambda cited: (-severity_of(cited[1]), cited[0]))[:count])


def _cited(document: Document) -> list[Cited]:
    return [(int(number), event) for number, event in read_claims(document.text)]


def _write(claims: Sequence[Cited]) -> str:
    return "\n".join(write_claim(number, event) for number, event in claims)
