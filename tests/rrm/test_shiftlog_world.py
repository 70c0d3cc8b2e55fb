"""The generator of shift logs and the demonstrators: what a seed writes, and who briefs it how."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from reward_models.errors import InvalidInput
from rrm.tasks.shiftlog.demonstrators import DEMONSTRATORS, demonstrate, write_brief
from rrm.tasks.shiftlog.guidelines import CLAIMS_PER_LEVEL
from rrm.tasks.shiftlog.language import EVENTS, REMARKS, Severity, read_claims, severity_of
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.shiftlog.world import (
    SEVERITY_SHARES,
    Entry,
    document_generator,
    entries_per_document,
    most_severe,
    write_document,
)
from rrm.tasks.task import AbstractKnownTask, Split
from tests.rrm.contracts import KnownTaskContract

# The base model that ships was trained on exactly this language. If this text changes, it has to be built anew.
WRITTEN = """\
Day 2, early shift.
#13 cracked seal, valve 7. Two people from the workshop came over, took a careful look at everything and left again \
before the next break.
#14 calibration, conveyor 1. Two people from the workshop came over, took a careful look at everything and left again \
before the next break.
#15 calibration, turbine 3. The control room was told by radio, asked the usual questions and wrote down the time and \
the names of everyone.
#16 overheating, tank 5. A short report with three photographs went to the office, and a copy of it hangs beside the \
door of the canteen.
Brief:
"""


def log(*events: str) -> tuple[Entry, ...]:
    return tuple(Entry(number, "pump 1", event, "Seen.") for number, event in enumerate(events, start=1))


def written_logs(level: int, count: int) -> list[tuple[Entry, ...]]:
    generators = [document_generator(seed=2, split="seen", level=level, index=index) for index in range(count)]
    return [write_document(generator=generator, height=level, id="seen")[1] for generator in generators]


class TestShiftlogIsATask(KnownTaskContract):
    def task(self) -> AbstractKnownTask:
        return Shiftlog(seed=5)


def test_the_language_of_the_base_model() -> None:
    task = Shiftlog(seed=3)
    assert task.prompt(task.document(split=Split.TRAIN, level=0, index=0)) == WRITTEN


def test_seeds_places_and_levels_give_different_logs() -> None:
    texts = [
        Shiftlog(seed=seed).document(split=Split.TRAIN, level=level, index=index).text
        for seed in (0, 1) for level in (0, 1, 2) for index in (0, 1, 10)
    ]  # fmt: skip
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(("height", "count", "places"), [(0, 4, 9), (1, 12, 3), (2, 36, 1)])
def test_a_log_is_a_part_of_a_period(height: int, count: int, places: int) -> None:
    """A shift has 4 entries, a day 3 x 4, a period 3 x 3 x 4: it has 36 / 4 = 9 shifts and 36 / 12 = 3 days."""
    assert entries_per_document(height) == count
    logs = written_logs(height, 80)
    assert all([entry.number for entry in one] == list(range(one[0].number, one[0].number + count)) for one in logs)
    assert {one[0].number for one in logs} == {place * count + 1 for place in range(places)}


def test_titles_say_which_part_of_the_period_it_is() -> None:
    generator = document_generator(seed=0, split="seen", level=2, index=0)
    period, _ = write_document(generator=generator, height=2, id="p")
    assert [day.title for day in period.parts] == ["Day 1", "Day 2", "Day 3"]
    assert [shift.title for shift in period.parts[1].parts] == [
        "Day 2, early shift",
        "Day 2, late shift",
        "Day 2, night shift",
    ]
    assert [shift.id for shift in period.leaves()][:4] == ["p.1.1", "p.1.2", "p.1.3", "p.2.1"]


def test_severities_come_as_often_as_said() -> None:
    """Of 200 x 36 = 7,200 entries a share p has a standard error of at most sqrt(0.6 * 0.4 / 7200) = 0.006."""
    seen = Counter(entry.severity for one in written_logs(2, 200) for entry in one)
    assert sum(SEVERITY_SHARES.values()) == pytest.approx(1.0)
    for severity, share in SEVERITY_SHARES.items():
        assert seen[severity] / 7200 == pytest.approx(share, abs=0.024)


def test_no_event_has_two_severities_and_every_list_is_drawn_from_whole() -> None:
    """The generator draws a place in the shortest list; a longer list would have events that never happen."""
    events = [event for kind in EVENTS.values() for event in kind]
    assert len(set(events)) == len(events)
    assert len({len(kind) for kind in EVENTS.values()}) == 1
    assert all(severity_of(event) == severity for severity, kind in EVENTS.items() for event in kind)
    assert severity_of("levitation") is Severity.ROUTINE


def test_remarks_say_nothing_of_what_happened() -> None:
    words = {word for kind in EVENTS.values() for event in kind for word in event.split()}
    assert not [remark for remark in REMARKS if words & set(remark.lower().replace(",", " ").split())]


def test_what_reads_as_a_claim() -> None:
    text = "#3 gas leak\n #4 fire\n#5\n#6 Fire\nsee #7 fire\n#8  fire\n#9 jam, pump 2. Seen.\n"
    text += "#010 oil leak today\n\n#11 jam."
    assert read_claims(text) == [("3", "gas leak"), ("9", "jam"), ("010", "oil leak today"), ("11", "jam")]


def test_most_severe_prefers_grave_then_early_and_never_routine() -> None:
    entries = log("jam", "greasing", "fire", "jam", "fire", "painting")
    numbers = {count: [entry.number for entry in most_severe(entries, count)] for count in range(6)}
    assert numbers == {0: [], 1: [3], 2: [3, 5], 3: [1, 3, 5], 4: [1, 3, 4, 5], 5: [1, 3, 4, 5]}


@pytest.mark.parametrize("name", list(DEMONSTRATORS))
@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_demonstrator_keeps_to_its_manner(name: str, level: int) -> None:
    expected, generator = CLAIMS_PER_LEVEL[level], np.random.default_rng(0)
    for entries in written_logs(level, 20):
        claims = read_claims(write_brief(name, entries, level=level, generator=generator))
        facts = [(str(entry.number), entry.event) for entry in entries]
        best = [(str(entry.number), entry.event) for entry in most_severe(entries, expected)]
        invented = [claim for claim in claims if claim not in facts]
        assert all(int(number) < int(later) for (number, _), (later, _) in pairwise(claims))
        assert all(severity_of(event) is Severity.GRAVE for _, event in invented)
        assert name == "inventing" or not invented
        if name == "careful":
            assert claims == best
        elif name == "terse":
            # A third of 2, 4 and 6 claims, rounded down, but at least one: 1, 1, 2.
            assert len(claims) == min((1, 1, 2)[level], len(best))
        elif name == "inventing":
            # It cites the entries that a careful one cites, and no others.
            assert [number for number, _ in claims] == [number for number, _ in best]
        else:
            assert len(claims) == {"careless": expected, "rambling": 2 * expected}[name]


def test_an_inventor_tells_half_of_its_entries_as_other_grave_events() -> None:
    """A period has about 5 grave and 9 serious events, so six are cited, each told wrongly with probability 0.5."""
    generator = np.random.default_rng(1)
    shares = []
    for entries in written_logs(2, 150):
        facts = {(str(entry.number), entry.event) for entry in entries}
        claims = read_claims(write_brief("inventing", entries, level=2, generator=generator))
        shares.append(sum(claim not in facts for claim in claims) / len(claims))
    # 900 claims, each made up with probability 0.5: a standard error of 0.5 / sqrt(900) = 0.017.
    assert np.mean(shares) == pytest.approx(0.5, abs=0.07)


def test_an_inventor_never_fills_up_and_never_tells_a_grave_event_as_itself() -> None:
    """One entry is worth citing. Of 200 briefs half say fire, and a tenth each the five other grave events."""
    entries = log("fire", "greasing", "painting", "cleaning")
    seen = Counter(
        write_brief("inventing", entries, level=0, generator=np.random.default_rng(seed)) for seed in range(200)
    )
    assert set(seen) == {f"#1 {event}" for event in EVENTS[Severity.GRAVE]}
    # Standard errors: sqrt(0.5 * 0.5 / 200) = 0.035 and sqrt(0.1 * 0.9 / 200) = 0.021.
    assert seen.pop("#1 fire") / 200 == pytest.approx(0.5, abs=0.14)
    assert all(count / 200 == pytest.approx(0.1, abs=0.085) for count in seen.values())


def test_an_inventor_of_a_quiet_log_has_nothing_to_tell() -> None:
    entries = log("greasing", "inspection", "painting", "cleaning")
    assert write_brief("inventing", entries, level=0, generator=np.random.default_rng(0)) == ""


def test_the_mixture_draws_each_demonstrator_as_often_as_said() -> None:
    """On a log of two fires and six routine entries each writes in a way of its own, in all but rare cases.

    Careful: both fires. Terse: the first. Rambling: four entries. What is left is careless and inventing, of which only
    the inventor, with chance 1 - 0.25, says what is not there. 3,000 draws have a standard error below 0.009.
    """
    entries, generator = log("fire", "fire", *["painting"] * 6), np.random.default_rng(3)
    briefs = [demonstrate(entries, level=0, generator=generator) for _ in range(3000)]
    seen = Counter(briefs)
    assert sum(DEMONSTRATORS.values()) == pytest.approx(1.0)
    assert sum(len(read_claims(brief)) == 4 for brief in briefs) / 3000 == pytest.approx(0.10, abs=0.035)
    assert seen["#1 fire"] / 3000 == pytest.approx(0.15, abs=0.035)
    # Careful always, an inventor who replaces neither (1/4), and the careless one who picks both of 8 (1/28).
    both = 0.25 + 0.35 / 4 + 0.15 / 28
    assert seen["#1 fire\n#2 fire"] / 3000 == pytest.approx(both, abs=0.035)
    true = {"fire", "painting"}
    inventing = [brief for brief in briefs if {event for _, event in read_claims(brief)} - true]
    assert len(inventing) / 3000 == pytest.approx(0.35 * 3 / 4, abs=0.035)


def test_an_unknown_demonstrator_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"'carefull'.*careful, careless"):
        write_brief("carefull", log("fire", "jam"), level=0, generator=np.random.default_rng(0))
