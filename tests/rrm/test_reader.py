"""The simulated reader's rule, against readings worked out by hand."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.judging.reader import TEMPERATURE, Reading, coin, read, verified_quotes
from rrm.tasks.document import Document, count_words
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.task import Claim
from tests.rrm.contracts import NoGold, lines

TASK = NoGold(seed=0)
# Every entry costs 7 words: number, event, kind, unit, and "Seen at once.".
SHIFT = Document(
    id="shift",
    title="Shift",
    text="Day 1, early shift.\n#1 fire, pump 3. Seen at once.\n#2 jam, tank 1. Seen at once.\n"
    "#3 greasing, kiln 2. Seen at once.\n#4 inspection, press 5. Seen at once.",
)
ENTRY = 7
# A shift's brief should name two events: value = (weights - 2 found out - 0.1 lines) / 2. Four words each.
TRUE = "#1 fire\n#2 jam"
INVENTING = "#1 fire\n#3 explosion"
BRIEFS = 8


def reading(
    first: str, second: str, *, aids: tuple[str, ...] | None = None, budget: int, skim: bool = False
) -> Reading:
    found = read(TASK, SHIFT, first, second, aids=aids, budget=budget, skim=skim)
    return replace(found, difference=round(found.difference, 9))


def test_alone_an_invention_that_was_not_looked_up_is_believed() -> None:
    """TRUE: (3 + 1 - 0.2) / 2 = 1.9. INVENTING, believed: (3 + 3 - 0.2) / 2 = 2.9."""
    assert reading(TRUE, INVENTING, budget=BRIEFS) == Reading(difference=-1.0, words=BRIEFS, entries=0)


def test_alone_an_invention_that_was_looked_up_is_found_out() -> None:
    """The disputed entries 2 and 3 come before the shared 1. INVENTING is then (3 - 2 - 0.2) / 2 = 0.4."""
    found = Reading(difference=1.5, words=BRIEFS + 2 * ENTRY, entries=2)
    assert reading(TRUE, INVENTING, budget=BRIEFS + 2 * ENTRY) == found


def test_alone_one_word_short_of_the_invention_it_is_still_believed() -> None:
    short = Reading(difference=-1.0, words=BRIEFS + ENTRY, entries=1)
    assert reading(TRUE, INVENTING, budget=BRIEFS + 2 * ENTRY - 1) == short


def test_alone_what_both_claim_is_looked_up_after_what_is_disputed() -> None:
    """Both claim an explosion in entry 3, only one an injury in entry 2: with one entry to read, it is entry 2.

    Unread: (3 - 0.1) / 2 against (3 + 3 - 0.2) / 2. With entry 2 read, the second is (3 - 2 - 0.2) / 2. With both
    read: (-2 - 0.1) / 2 against (-4 - 0.2) / 2.
    """
    shared, more = "#3 explosion", "#2 injury\n#3 explosion"
    assert reading(shared, more, budget=6 + ENTRY).difference == 1.05  # 1.45 - 0.4
    assert reading(shared, more, budget=6).difference == -1.45  # 1.45 - 2.9
    assert reading(shared, more, budget=6 + 2 * ENTRY).difference == 1.05  # -1.05 + 2.1


def test_aided_what_the_aids_support_is_believed_unread() -> None:
    """(3 - 0.1) / 2 = 1.45 against an empty brief; two words of brief, two of aid, none of source."""
    assert reading("#1 fire", "", aids=("#1 fire", ""), budget=4) == Reading(difference=1.45, words=4, entries=0)


def test_aided_what_no_aid_supports_counts_for_nothing_until_it_is_read() -> None:
    """Unread: (0 - 0.1) / 2 = -0.05, whether true or not. Read: 1.45 if true, (-2 - 0.1) / 2 = -1.05 if not."""
    aids = ("#2 jam",)
    assert reading("#1 fire", "", aids=aids, budget=4 + ENTRY - 1) == Reading(difference=-0.05, words=4, entries=0)
    assert reading("#3 fire", "", aids=aids, budget=4 + ENTRY - 1) == Reading(difference=-0.05, words=4, entries=0)
    assert reading("#1 fire", "", aids=aids, budget=4 + ENTRY) == Reading(difference=1.45, words=4 + ENTRY, entries=1)
    assert reading("#3 fire", "", aids=aids, budget=4 + ENTRY) == Reading(difference=-1.05, words=4 + ENTRY, entries=1)


def test_aided_what_both_claim_is_not_disputed() -> None:
    """Both claim an explosion in entry 3, one an injury in entry 4; the aid is silent, and one entry can be read.

    It is entry 4, where the briefs differ. The shared claim stays open: (0 - 0.1) / 2 = -0.05 against
    (0 - 2 - 0.2) / 2 = -1.1.
    """
    found = reading("#3 explosion", "#3 explosion\n#4 injury", aids=("",), budget=6 + ENTRY)
    assert found == Reading(difference=1.05, words=6 + ENTRY, entries=1)
    # The same beside a claim that the aid settles: (3 - 0.2) / 2 = 1.4 against (3 - 2 - 0.3) / 2 = 0.35.
    briefs = "#1 fire\n#3 explosion", "#1 fire\n#3 explosion\n#4 injury"
    found = reading(*briefs, aids=("#1 fire",), budget=12 + ENTRY)
    assert found == Reading(difference=1.05, words=12 + ENTRY, entries=1)


def test_aided_what_a_quote_has_settled_is_not_looked_up() -> None:
    """The aid settles entries 1 and 2, so the one entry that can be read is 3: (3 - 2 - 0.2) / 2 = 0.4.

    Without the aid it would be entry 2, the first that only one of the briefs cites.
    """
    found = reading(TRUE, INVENTING, aids=(TRUE,), budget=BRIEFS + 4 + ENTRY)
    assert found == Reading(difference=1.5, words=BRIEFS + 4 + ENTRY, entries=1)


def test_aided_a_true_brief_beats_an_inventing_one_without_the_source() -> None:
    """TRUE 1.9; of INVENTING only the fire is supported: (3 - 0.2) / 2 = 1.4."""
    assert reading(TRUE, INVENTING, aids=(TRUE,), budget=BRIEFS + 4).difference == 0.5


def test_a_quote_that_the_system_refutes_is_found_out_unread() -> None:
    """An aid that repeats the invention does not support it: the system marks the quote, (0 - 2 - 0.1) / 2."""
    assert reading("#3 fire", "", aids=("#3 fire",), budget=0).difference == -1.05
    facts = verified_quotes(TASK, SHIFT, ["#1 fire\nhm", "#3 fire"])
    assert facts == {Claim("1", "fire", 3.0): True, Claim("3", "fire", 3.0): False}


def test_a_verified_quote_refutes_any_other_claim_about_its_entry() -> None:
    """The source says fire, the aid says so, the brief says injury: (0 - 2 - 0.1) / 2, without a look at the log.

    The verified quote settles the claim whatever else the aids say of that entry, and in whatever order.
    """
    refuted = Reading(difference=-1.05, words=4, entries=0)
    assert reading("#1 injury", "", aids=("#1 fire",), budget=4) == refuted
    for aids in (("#1 fire", "#1 injury"), ("#1 injury", "#1 fire")):
        assert reading("#1 injury", "", aids=aids, budget=6).difference == -1.05
        assert reading("#1 fire", "", aids=aids, budget=6).difference == 1.45


def test_a_verified_quote_decides_between_two_stories_of_one_entry() -> None:
    """Both briefs cite entry 1; the aid confirms one and refutes the other: 1.45 against -1.05."""
    found = reading("#1 fire", "#1 injury", aids=("#1 fire",), budget=6)
    assert found == Reading(difference=2.5, words=6, entries=0)
    assert reading("#1 fire", "#1 injury", aids=None, budget=4).difference == 0.0


def test_an_unverified_quote_says_nothing_of_other_claims_about_its_entry() -> None:
    """The aid is wrong about entry 1. The true claim stays open, -0.05, until the entry is read: 1.45."""
    assert reading("#1 fire", "", aids=("#1 injury",), budget=4).difference == -0.05
    assert reading("#1 fire", "", aids=("#1 injury",), budget=4 + ENTRY).difference == 1.45


def test_aids_that_say_nothing_are_not_the_same_as_none() -> None:
    assert reading("#1 fire", "", aids=None, budget=2).difference == 1.45
    assert reading("#1 fire", "", aids=("",), budget=2).difference == -0.05


def test_a_number_that_the_log_does_not_have_is_seen_at_a_glance() -> None:
    """It costs no words, but the reader has to turn to the source: one who skims, or is over the budget, does not."""
    assert reading("#9 fire", "", budget=2) == Reading(difference=-1.05, words=2, entries=0)
    assert reading("#9 fire", "", budget=1).difference == 1.45
    assert reading("#9 fire", "", budget=99, skim=True).difference == 1.45


def test_skimming_reads_the_briefs_only() -> None:
    assert reading(TRUE, INVENTING, budget=1000, skim=True) == Reading(difference=-1.0, words=BRIEFS, entries=0)


def test_aids_are_paid_from_the_same_budget() -> None:
    """An aid of seven words takes the place of one entry, also where it says nothing that reads as a claim."""
    idle = "Nothing of note in this part today."
    assert reading("#3 fire", "", aids=(), budget=2 + ENTRY).difference == -1.05
    assert reading("#3 fire", "", aids=(idle,), budget=2 + ENTRY) == Reading(difference=-0.05, words=9, entries=0)


def test_a_claim_made_twice_is_believed_once_and_found_out_twice() -> None:
    """Believed: (3 - 0.2) / 2 = 1.4. Found out: (-4 - 0.2) / 2 = -2.1. Both as gold counts them."""
    assert reading("#3 fire\n#3 fire", "", budget=4).difference == 1.4
    assert reading("#3 fire\n#3 fire", "", budget=4 + ENTRY).difference == -2.1


def test_the_chance_of_an_answer() -> None:
    """sigmoid(difference / 0.1): 1 / (1 + 1/e) at one temperature, 1/2 at none, and no overflow far out."""
    assert Reading(difference=TEMPERATURE, words=0, entries=0).probability == pytest.approx(math.e / (1 + math.e))
    assert Reading(difference=0.0, words=0, entries=0).probability == 0.5
    assert Reading(difference=1e9, words=0, entries=0).probability == pytest.approx(1.0)
    assert Reading(difference=-1e9, words=0, entries=0).probability == pytest.approx(0.0, abs=1e-20)


@given(
    first=lines([SHIFT]), second=lines([SHIFT]), aids=st.none() | st.lists(lines([SHIFT])), budget=st.integers(0, 80)
)
def test_never_more_is_read_than_the_budget_or_the_given_texts(
    first: str, second: str, aids: list[str] | None, budget: int
) -> None:
    found = read(TASK, SHIFT, first, second, aids=aids, budget=budget)
    given_words = sum(count_words(text) for text in (first, second, *(aids or [])))
    assert found.words == given_words + ENTRY * found.entries
    assert found.words <= max(budget, given_words)
    # It stops only where the source ends or the next entry would cost too much.
    assert found.entries == 4 or found.words + ENTRY > budget


@given(first=lines([SHIFT]), second=lines([SHIFT]), aids=st.none() | st.lists(lines([SHIFT])))
def test_with_enough_budget_the_difference_is_the_gold_one(first: str, second: str, aids: list[str] | None) -> None:
    """Two ways to one number: by beliefs after reading all, and by gold times the best value, 1.9 for this shift."""
    gold = Shiftlog(seed=0)
    expected = 1.9 * (gold.gold(SHIFT, first).utility - gold.gold(SHIFT, second).utility)
    assert read(TASK, SHIFT, first, second, aids=aids, budget=10**6).difference == pytest.approx(expected)


@given(first=lines([SHIFT]), second=lines([SHIFT]))
def test_verified_quotes_of_everything_are_as_good_as_having_read_it(first: str, second: str) -> None:
    quotes = "#1 fire\n#2 jam\n#3 greasing\n#4 inspection"
    no_words_left = sum(count_words(text) for text in (first, second, quotes))
    aided = reading(first, second, aids=(quotes,), budget=no_words_left)
    assert aided.entries == 0
    assert aided.difference == reading(first, second, budget=10**6).difference


@given(first=lines([SHIFT]), second=lines([SHIFT]), number=st.integers(2, 90), aids=st.none() | st.just((TRUE,)))
def test_an_invention_that_is_read_costs(first: str, second: str, number: int, aids: tuple[str, ...] | None) -> None:
    longer = f"{first}\n#{number} collapse"
    plain = reading(first, second, aids=aids, budget=10**6)
    assert reading(longer, second, aids=aids, budget=10**6).difference < plain.difference


@given(first=lines([SHIFT]), second=lines([SHIFT]), budget=st.integers(0, 60), data=st.data())
def test_the_order_of_lines_does_not_matter(first: str, second: str, budget: int, data: st.DataObject) -> None:
    mixed = "\n".join(data.draw(st.permutations(first.split("\n"))))
    assert reading(mixed, second, budget=budget) == reading(first, second, budget=budget)


@given(text=st.text(), other=st.text(), aid=st.text(), budget=st.integers(-5, 50))
def test_arbitrary_text_is_read(text: str, other: str, aid: str, budget: int) -> None:
    source = Document(id="any", title="", text=other)
    assert math.isfinite(read(TASK, source, text, other, aids=[aid], budget=budget).difference)


def test_coins_belong_to_the_answer_and_are_fair() -> None:
    """4,000 uniform numbers have a mean of 0.5 with a standard error of sqrt(1/12/4000) = 0.0046."""
    thrown = [coin(seed=1, rater="reader", comparison=f"c{place}", stage="alone") for place in range(4000)]
    assert thrown[7] == coin(seed=1, rater="reader", comparison="c7", stage="alone")
    assert all(0.0 <= one < 1.0 for one in thrown)
    assert sum(thrown) / 4000 == pytest.approx(0.5, abs=0.02)
    others = {
        coin(seed=2, rater="reader", comparison="c7", stage="alone"),
        coin(seed=1, rater="assistant-alone", comparison="c7", stage="alone"),
        coin(seed=1, rater="reader", comparison="c7", stage="aided"),
    }
    assert len(others | {thrown[7]}) == 4
