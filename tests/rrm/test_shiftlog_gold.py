"""The gold utility of a brief, against numbers worked out by hand."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.tasks.document import Document
from rrm.tasks.shiftlog.guidelines import CLAIMS_PER_LEVEL, INVENTED_COST, LINE_COST
from rrm.tasks.shiftlog.language import EVENTS, Severity
from rrm.tasks.shiftlog.task import Shiftlog
from tests.rrm.contracts import lines

TASK = Shiftlog(seed=0)


def leaf(*events: str, first: int = 1) -> Document:
    numbered = (f"#{number} {event}, pump 3. Seen at once." for number, event in enumerate(events, start=first))
    return Document(id="leaf", title="Shift", text="\n".join(["Day 1, early shift.", *numbered]))


SHIFT = leaf("fire", "jam", "greasing", "inspection")
QUIET = leaf("greasing", "inspection", "painting", "cleaning")
BURNING = leaf("fire", "injury", "collapse", "jam")

# A shift's brief should name E = 2 events: value = (weights - 2 invented - 0.1 lines) / 2, and gold is that over the
# best. SHIFT: best is fire and jam, (3 + 1 - 0.2) / 2 = 1.9. QUIET: nothing to tell, so the scale is that of one
# serious event, (1 - 0.1) / 2 = 0.45. BURNING: two of the three grave ones, (3 + 3 - 0.2) / 2 = 2.9.
WORKED = [
    ("the best brief", SHIFT, "#1 fire\n#2 jam", Fraction(1)),
    ("one event: (3 - 0.1) / 2 = 1.45", SHIFT, "#1 fire", Fraction("1.45") / Fraction("1.9")),
    ("the lesser one: (1 - 0.1) / 2 = 0.45", SHIFT, "#2 jam", Fraction("0.45") / Fraction("1.9")),
    ("one made up: (3 - 2 - 0.2) / 2 = 0.4", SHIFT, "#1 fire\n#3 explosion", Fraction(4, 19)),
    ("misreported: (0 - 2 - 0.1) / 2 = -1.05", SHIFT, "#1 injury", Fraction("-1.05") / Fraction("1.9")),
    ("no such entry: as if misreported", SHIFT, "#9 fire", Fraction("-1.05") / Fraction("1.9")),
    ("no such word: as if misreported", SHIFT, "#1 levitation", Fraction("-1.05") / Fraction("1.9")),
    ("said twice: (3 - 0.2) / 2 = 1.4", SHIFT, "#1 fire\n#1 fire", Fraction(14, 19)),
    ("made up twice: (0 - 4 - 0.2) / 2 = -2.1", SHIFT, "#9 fire\n#9 fire", Fraction("-2.1") / Fraction("1.9")),
    ("upkeep: (0 - 0.1) / 2 = -0.05", SHIFT, "#3 greasing", Fraction(-1, 38)),
    ("everything: (4 - 0.4) / 2 = 1.8", SHIFT, "#1 fire\n#2 jam\n#3 greasing\n#4 inspection", Fraction(18, 19)),
    ("no claim at all", SHIFT, "All is well.", Fraction(0)),
    ("nothing to tell, nothing told", QUIET, "", Fraction(0)),
    ("nothing to tell, upkeep told: -0.05 / 0.45", QUIET, "#1 greasing", Fraction(-1, 9)),
    ("nothing to tell, a fire told: -1.05 / 0.45", QUIET, "#1 fire", Fraction(-7, 3)),
    ("two of three grave ones", BURNING, "#1 fire\n#3 collapse", Fraction(1)),
    ("a third does not count: (6 - 0.3) / 2", BURNING, "#1 fire\n#2 injury\n#3 collapse", Fraction(57, 58)),
]


@pytest.mark.parametrize(("document", "brief", "utility"), [row[1:] for row in WORKED], ids=[row[0] for row in WORKED])
def test_worked_utilities(document: Document, brief: str, utility: Fraction) -> None:
    assert TASK.gold(document, brief).utility == pytest.approx(float(utility), abs=1e-12)


@pytest.mark.parametrize(
    ("document", "brief", "coverage", "invented", "claims"),
    [
        (SHIFT, "#1 fire\n#3 explosion", 3 / 4, 1, 2),
        (SHIFT, "#2 jam\n#2 jam", 1 / 4, 0, 2),
        (SHIFT, "#9 fire\n#9 fire", 0.0, 2, 2),
        (BURNING, "#1 fire\n#2 injury\n#3 collapse", 1.0, 0, 3),
        (BURNING, "#1 fire\n#4 jam", 4 / 6, 0, 2),
        (QUIET, "", 1.0, 0, 0),
    ],
)
def test_the_parts_of_the_utility(document: Document, brief: str, coverage: float, invented: int, claims: int) -> None:
    gold = TASK.gold(document, brief)
    assert gold.coverage == pytest.approx(coverage)
    assert (gold.invented, gold.claims) == (invented, claims)


def test_a_day_expects_four_events() -> None:
    """Three shifts of a fire and a jam: the best is (3 + 3 + 3 + 1 - 0.4) / 4 = 2.4, the fires (9 - 0.3) / 4."""
    shifts = tuple(leaf("fire", "jam", "greasing", "inspection", first=first) for first in (1, 5, 9))
    day = Document(id="day", title="Day", text="\n".join(shift.text for shift in shifts), parts=shifts)
    assert TASK.gold(day, "#1 fire\n#2 jam\n#5 fire\n#9 fire").utility == 1.0
    assert TASK.gold(day, "#1 fire\n#5 fire\n#9 fire").utility == pytest.approx(2.175 / 2.4)


@given(brief=lines([SHIFT]), number=st.integers(0, 60), event=st.sampled_from(EVENTS[Severity.GRAVE]))
def test_a_line_made_up_always_lowers_it(brief: str, number: int, event: str) -> None:
    if (number, event) != (1, "fire"):
        assert TASK.gold(SHIFT, f"{brief}\n#{number} {event}").utility < TASK.gold(SHIFT, brief).utility


@given(brief=lines([BURNING]), data=st.data())
def test_the_order_of_lines_does_not_matter(brief: str, data: st.DataObject) -> None:
    mixed = "\n".join(data.draw(st.permutations(brief.split("\n"))))
    assert TASK.gold(BURNING, mixed) == TASK.gold(BURNING, brief)


@given(text=st.text())
def test_arbitrary_text_is_read(text: str) -> None:
    assert TASK.gold(SHIFT, text).utility <= 1.0
    assert TASK.gold(Document(id="any", title="", text=text), text).utility <= 1.0


def test_the_guidelines_say_what_gold_counts() -> None:
    """Three times as much; a tenth of a serious event; what two serious ones are worth; how many; and every event."""
    assert Severity.GRAVE == 3 * Severity.SERIOUS
    assert LINE_COST == Severity.SERIOUS / 10
    assert INVENTED_COST == 2 * Severity.SERIOUS
    for level, expected in enumerate(CLAIMS_PER_LEVEL):
        text = TASK.guidelines(level)
        assert f"name the {expected} most severe events" in text
        for severity in (Severity.GRAVE, Severity.SERIOUS):
            assert ", ".join(EVENTS[severity]) in text
