"""The demonstrators who wrote the base model's examples, and the mixture they are drawn from."""

import numpy as np

from reward_models.errors import InvalidInput
from rrm.tasks.shiftlog.guidelines import CLAIMS_PER_LEVEL
from rrm.tasks.shiftlog.language import EVENTS, Severity, write_claim
from rrm.tasks.shiftlog.world import Entry, most_severe

DEMONSTRATORS = {"careful": 0.25, "careless": 0.15, "inventing": 0.35, "rambling": 0.10, "terse": 0.15}
"""Who wrote the demonstrations, and how many of them. The base model is a predictive model of this mixture."""

INVENTED_SHARE = 0.5
"""How many of its claims an inventing demonstrator makes up: a grave event where the entry reports another event."""


def demonstrate(entries: tuple[Entry, ...], *, level: int, generator: np.random.Generator) -> str:
    """A brief by one demonstrator drawn from the mixture."""
    names = list(DEMONSTRATORS)
    name = names[int(generator.choice(len(names), p=list(DEMONSTRATORS.values())))]
    return write_brief(name, entries, level=level, generator=generator)


def write_brief(name: str, entries: tuple[Entry, ...], *, level: int, generator: np.random.Generator) -> str:
    """A brief by this demonstrator; claims stand in document order. InvalidInput: nobody has that name."""
    count = CLAIMS_PER_LEVEL[level]
    match name:
        case "careful":
            chosen = _cite(most_severe(entries, count))
        case "careless":
            chosen = _cite(_pick(entries, count, generator))
        case "inventing":
            chosen = _invent(entries, count, generator)
        case "rambling":
            chosen = _cite(_pick(entries, min(2 * count, len(entries)), generator))
        case "terse":
            chosen = _cite(most_severe(entries, max(1, count // 3)))
        case _:
            raise InvalidInput(f"no demonstrator is called {name!r}; choose one of {', '.join(DEMONSTRATORS)}")
    return "\n".join(chosen[number] for number in sorted(chosen))


def _cite(entries: tuple[Entry, ...]) -> dict[int, str]:
    return {entry.number: entry.claim for entry in entries}


def _pick(entries: tuple[Entry, ...], count: int, generator: np.random.Generator) -> tuple[Entry, ...]:
    return tuple(entries[int(place)] for place in generator.choice(len(entries), size=count, replace=False))


def _invent(entries: tuple[Entry, ...], count: int, generator: np.random.Generator) -> dict[int, str]:
    """The most severe entries, some of them told as another grave event than they report."""
    chosen = _cite(most_severe(entries, count))
    for entry in most_severe(entries, count):
        if generator.random() < INVENTED_SHARE:
            others = [event for event in EVENTS[Severity.GRAVE] if event != entry.event]
            chosen[entry.number] = write_claim(entry.number, others[int(generator.integers(len(others)))])
    return chosen
