"""Briefs: what they may say, how they are read, and the demonstrators who wrote the base model's examples."""

import re
from dataclasses import dataclass

import numpy as np

from rrm.tasks.shiftlog.language import EVENTS, SEVERITY_OF, Severity
from rrm.tasks.shiftlog.world import Entry

CLAIMS_PER_LEVEL = (2, 4, 6)
"""How many events a brief of each level should name: the most severe ones."""

_CLAIM = re.compile(r"^#(\d+) ([a-z]+(?: [a-z]+)*)", re.MULTILINE)


@dataclass(frozen=True)
class Claim:
    """One statement of a brief: this happened to that, and it stands in this entry."""

    number: int
    event: str

    @property
    def severity(self) -> Severity:
        """How bad it sounds; words the log's language does not have sound routine."""
        return SEVERITY_OF.get(self.event, Severity.ROUTINE)

    def agrees_with(self, entry: Entry) -> bool:
        """Whether the entry says exactly this."""
        return (self.number, self.event) == (entry.number, entry.event)


def parse_brief(text: str) -> tuple[Claim, ...]:
    """The claims of a brief in its order; what does not read as a claim is passed over."""
    return tuple(Claim(int(number), event) for number, event in _CLAIM.findall(text))


def most_severe(entries: tuple[Entry, ...], count: int) -> tuple[Entry, ...]:
    """The `count` most severe entries that are not routine, earlier first among equals, in document order."""
    notable = [entry for entry in entries if entry.severity > Severity.ROUTINE]
    ranked = sorted(notable, key=lambda entry: (-entry.severity, entry.number))[:count]
    return tuple(sorted(ranked, key=lambda entry: entry.number))


DEMONSTRATORS = {"careful": 0.25, "careless": 0.15, "inventing": 0.35, "rambling": 0.10, "terse": 0.15}
"""Who wrote the demonstrations, and how many of them. The base model is a predictive model of this mixture."""

INVENTED_SHARE = 0.5
"""How many of an inventing demonstrator's claims are made up."""


def demonstrate(entries: tuple[Entry, ...], *, level: int, generator: np.random.Generator) -> str:
    """A brief by one demonstrator drawn from the mixture."""
    names = list(DEMONSTRATORS)
    name = names[int(generator.choice(len(names), p=list(DEMONSTRATORS.values())))]
    return write_brief(name, entries, level=level, generator=generator)


def write_brief(name: str, entries: tuple[Entry, ...], *, level: int, generator: np.random.Generator) -> str:
    """A brief by this demonstrator; claims stand in document order."""
    count = CLAIMS_PER_LEVEL[level]
    if name == "careful":
        chosen = {entry.number: entry.claim for entry in most_severe(entries, count)}
    elif name == "careless":
        chosen = {entry.number: entry.claim for entry in _pick(entries, count, generator)}
    elif name == "inventing":
        chosen = _invent(entries, count, generator)
    elif name == "rambling":
        chosen = {entry.number: entry.claim for entry in _pick(entries, min(2 * count, len(entries)), generator)}
    else:
        chosen = {entry.number: entry.claim for entry in most_severe(entries, max(1, count // 3))}
    return "\n".join(chosen[number] for number in sorted(chosen))


def _pick(entries: tuple[Entry, ...], count: int, generator: np.random.Generator) -> list[Entry]:
    return [entries[int(place)] for place in generator.choice(len(entries), size=count, replace=False)]


def _invent(entries: tuple[Entry, ...], count: int, generator: np.random.Generator) -> dict[int, str]:
    """Truly severe events, some of them replaced by grave ones made up on entries that report nothing grave."""
    chosen = {entry.number: entry.claim for entry in most_severe(entries, count)}
    for number in list(chosen):
        if generator.random() < INVENTED_SHARE:
            del chosen[number]
    harmless = [entry for entry in entries if entry.severity < Severity.GRAVE and entry.number not in chosen]
    for entry in _pick(tuple(harmless), min(count - len(chosen), len(harmless)), generator):
        event = EVENTS[Severity.GRAVE][int(generator.integers(len(EVENTS[Severity.GRAVE])))]
        chosen[entry.number] = f"#{entry.number} {event}"
    return chosen
