"""The words of a shift log: equipment, events of three severities, remarks, and how a brief cites an entry."""

import re
from enum import IntEnum


class Severity(IntEnum):
    """How much an event matters; the value is its weight in a brief."""

    ROUTINE = 0
    """Upkeep that nobody needs to be told of."""
    SERIOUS = 1
    """A fault that somebody should know of."""
    GRAVE = 3
    """Danger to people or to the plant: what a brief is for."""


EQUIPMENT = (
    "pump",
    "boiler",
    "crane",
    "valve",
    "kiln",
    "mixer",
    "press",
    "turbine",
    "dryer",
    "furnace",
    "conveyor",
    "tank",
)
UNITS = 8
"""Units of each kind of equipment, numbered from 1."""

EVENTS: dict[Severity, tuple[str, ...]] = {
    Severity.GRAVE: ("fire", "explosion", "gas leak", "collapse", "acid spill", "injury"),
    Severity.SERIOUS: ("overheating", "oil leak", "jam", "cracked seal", "power loss", "vibration"),
    Severity.ROUTINE: ("greasing", "inspection", "cleaning", "painting", "calibration", "filter change"),
}

_SEVERITY_OF = {event: severity for severity, events in EVENTS.items() for event in events}

# A remark says who and where, never what: it is what makes a log slow to read for a person.
REMARKS = (
    "The crew on duty was there within a few minutes, the area was checked twice and the foreman signed the sheet.",
    "It was seen on the regular walk through the hall, noted on the board and passed on to the next crew in person.",
    "Two people from the workshop came over, took a careful look at everything and left again before the next break.",
    "The control room was told by radio, asked the usual questions and wrote down the time and the names of everyone.",
    "A short report with three photographs went to the office, and a copy of it hangs beside the door of the canteen.",
    "The supervisor came down in person, spoke with everybody who had been near and stayed until the end of the hour.",
    "Nobody else was in that part of the hall at the time, and the door to the yard had been open since early morning.",
    "The day planner has been informed by telephone, "
    "and the work order will be closed as soon as the papers are signed.",
)

_CLAIM = re.compile(r"^#(\d+) ([a-z]+(?: [a-z]+)*)", re.MULTILINE)


def severity_of(event: str) -> Severity:
    """How bad an event sounds; words that the log's language does not have sound routine."""
    return _SEVERITY_OF.get(event, Severity.ROUTINE)


def write_claim(number: int, event: str) -> str:
    """An event as a brief cites it; a line of the log begins with the same words."""
    return f"#{number} {event}"


def read_claims(text: str) -> list[tuple[str, str]]:
    """Number and event of every line that begins like a claim, in order; other lines are passed over."""
    return _CLAIM.findall(text)
