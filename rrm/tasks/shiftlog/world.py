"""The seeded generator of shift logs: what happened, and the documents that tell it.

A period is three days, a day three shifts, a shift four entries. Entries are numbered through the period, so that a
number names one entry wherever it is cited.
"""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from rrm.tasks.document import Document
from rrm.tasks.shiftlog.language import EQUIPMENT, EVENTS, REMARKS, UNITS, Severity, severity_of, write_claim

ENTRIES_PER_SHIFT = 4
BRANCHING = 3
HEIGHTS = 3
# How often an entry is of each severity. Grave events are rare enough that a period has about five.
SEVERITY_SHARES = {Severity.GRAVE: 0.15, Severity.SERIOUS: 0.25, Severity.ROUTINE: 0.60}

_SHIFTS = ("early", "late", "night")


@dataclass(frozen=True)
class Entry:
    """One numbered line of a log."""

    number: int
    equipment: str
    event: str
    remark: str

    @property
    def severity(self) -> Severity:
        """How much the event matters."""
        return severity_of(self.event)

    @property
    def claim(self) -> str:
        """The entry as a brief cites it."""
        return write_claim(self.number, self.event)

    @property
    def text(self) -> str:
        """The entry as the log has it."""
        return f"{self.claim}, {self.equipment}. {self.remark}"


def most_severe(entries: tuple[Entry, ...], count: int) -> tuple[Entry, ...]:
    """The `count` most severe entries that are not routine, earlier first among equals, in document order."""
    notable = [entry for entry in entries if entry.severity > Severity.ROUTINE]
    ranked = sorted(notable, key=lambda entry: (-entry.severity, entry.number))[:count]
    return tuple(sorted(ranked, key=lambda entry: entry.number))


def entries_per_document(height: int) -> int:
    """Number of entries of a document of this height: 4, 12, 36."""
    return ENTRIES_PER_SHIFT * int(BRANCHING**height)


def write_document(*, generator: np.random.Generator, height: int, id: str) -> tuple[Document, tuple[Entry, ...]]:
    """A document of this height and its entries, drawn as a part of a period (so that its numbers may start anywhere).

    The generator of events is used for this one document; equal generators give equal documents.
    """
    count = entries_per_document(height)
    places = entries_per_document(HEIGHTS - 1) // count
    first = int(generator.integers(places)) * count + 1
    entries = _write_entries(generator, first=first, count=count)
    return _assemble(entries, height=height, id=id), entries


def document_generator(*, seed: int, split: str, level: int, index: int) -> np.random.Generator:
    """The generator of one document. Splits never overlap: the split's name is part of the seed."""
    digest = sha256(f"shiftlog/{seed}/{split}/{level}/{index}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest[:16], dtype=np.uint32))


def _write_entries(generator: np.random.Generator, *, first: int, count: int) -> tuple[Entry, ...]:
    severities = list(SEVERITY_SHARES)
    drawn = generator.choice(len(severities), size=count, p=list(SEVERITY_SHARES.values())).tolist()
    kinds = generator.integers(len(EQUIPMENT), size=count).tolist()
    units = generator.integers(1, UNITS + 1, size=count).tolist()
    events = generator.integers(min(len(events) for events in EVENTS.values()), size=count).tolist()
    remarks = generator.integers(len(REMARKS), size=count).tolist()
    return tuple(
        Entry(
            number=first + place,
            equipment=f"{EQUIPMENT[kinds[place]]} {units[place]}",
            event=EVENTS[severities[drawn[place]]][events[place]],
            remark=REMARKS[remarks[place]],
        )
        for place in range(count)
    )


def _assemble(entries: tuple[Entry, ...], *, height: int, id: str) -> Document:
    title = _title(entries[0].number, height)
    if height == 0:
        return Document(id=id, title=title, text="\n".join([f"{title}.", *(entry.text for entry in entries)]))
    size = len(entries) // BRANCHING
    parts = tuple(
        _assemble(entries[place * size : (place + 1) * size], height=height - 1, id=f"{id}.{place + 1}")
        for place in range(BRANCHING)
    )
    return Document(id=id, title=title, text="\n".join(part.text for part in parts), parts=parts)


def _title(first_number: int, height: int) -> str:
    shift = (first_number - 1) // ENTRIES_PER_SHIFT
    day, place = shift // BRANCHING + 1, shift % BRANCHING
    return {0: f"Day {day}, {_SHIFTS[place]} shift", 1: f"Day {day}", 2: "Days 1 to 3"}[height]
