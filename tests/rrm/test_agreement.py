"""Agreement, by hand and by the published examples, and the figures about raters from a real store."""

from pathlib import Path

import pytest
from scipy.stats import binomtest

from rrm.judging.agreement import (
    ALONE,
    NO_OVERLAP,
    ONE_VALUE,
    Agreement,
    agreement,
    agreement_with_others,
    cohens_kappa,
    krippendorffs_alpha,
)
from rrm.judging.queue import answer, draw
from rrm.judging.reliability import reliability, reliability_and_by_rater
from rrm.judging.repeats import draw_repeat
from rrm.people.accounts import LOCAL, ensure_rater
from rrm.people.exclusions import leave_out
from rrm.store import (
    Choice,
    Leased,
    Purpose,
    Run,
    Stage,
    StoredComparison,
    StoredCompletion,
    put_comparisons,
    put_completions,
)
from tests.rrm.store_samples import NOON, seconds, small_run

# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), example C: four observers, twelve units.
PUBLISHED = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)


def ratings(*labels: str) -> dict[str, dict[str, float]]:
    """By rater: one character a comparison, 1, 0 or t for a tie, and a dot where nothing was answered."""
    values = {"1": 1.0, "0": 0.0, "t": 0.5}
    return {
        f"rater {row}": {f"p{place}": values[sign] for place, sign in enumerate(line) if sign != "."}
        for row, line in enumerate(labels)
    }


def test_kappa_of_a_two_by_two_table() -> None:
    """20 times both yes, 15 both no, 5 and 10 split: p_o = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5, kappa = 0.4."""
    first = [1.0] * 20 + [1.0] * 5 + [0.0] * 10 + [0.0] * 15
    second = [1.0] * 20 + [0.0] * 5 + [1.0] * 10 + [0.0] * 15
    assert cohens_kappa(first, second).value == pytest.approx(0.4)


def test_alpha_of_the_published_nominal_example() -> None:
    columns = [
        {str(row): float(value) for row, line in enumerate(PUBLISHED) if (value := line[place]) is not None}
        for place in range(12)
    ]
    found = krippendorffs_alpha([labels for labels in columns if len(labels) > 1])
    assert found.value == pytest.approx(0.743, abs=5e-4)


def test_alpha_by_hand() -> None:
    """Two raters, four comparisons, one disagreement; coincidences 5 of one value, 3 of the other, 2 off the diagonal.

    D_o = 2 / 8, D_e = 2 * 5 * 3 / (8 * 7), alpha = 1 - 0.25 / 0.5357 = 0.5333.
    """
    assert agreement(ratings("1110", "1100")).alpha.value == pytest.approx(1 - (2 / 8) / (2 * 5 * 3 / (8 * 7)))


def test_a_comparison_of_one_rater_does_not_count() -> None:
    with_more = agreement(ratings("1110t1", "1100.."))
    without = agreement(ratings("1110", "1100"))
    assert (with_more.percent, with_more.kappa, with_more.alpha) == (without.percent, without.kappa, without.alpha)
    assert without.percent.value == 0.75 and with_more.comparisons == 4 and with_more.pairs == 4


def test_three_raters_are_taken_in_pairs() -> None:
    found = agreement(ratings("11", "10", "1."))
    assert found.pairs == 4 and found.percent.value == 0.75 and found.raters == 3
    one = agreement_with_others(ratings("11", "10", "1."), "rater 2")
    assert one.pairs == 2 and one.percent.value == 1.0 and one.comparisons == 1


@pytest.mark.parametrize(
    "labels, reason",
    [
        ((), ALONE),
        (("101",), ALONE),
        (("101", "..."), ALONE),
        (("10..", "..10"), NO_OVERLAP),
    ],
)
def test_without_two_answers_to_one_comparison_everything_is_undefined(labels: tuple[str, ...], reason: str) -> None:
    found = agreement(ratings(*labels))
    assert {found.percent.undefined, found.kappa.undefined, found.alpha.undefined} == {reason}
    assert (found.percent.value, found.kappa.value, found.alpha.value) == (None, None, None)


@pytest.mark.parametrize("labels", [("111", "111"), ("111t", "111.")])
def test_one_value_only_is_neither_perfect_nor_nothing(labels: tuple[str, ...]) -> None:
    found = agreement(ratings(*labels))
    assert found.percent.value == 1.0
    assert (found.kappa.value, found.alpha.value) == (None, None)
    assert {found.kappa.undefined, found.alpha.undefined} == {ONE_VALUE}


def test_somebody_who_has_not_answered_agrees_with_nobody() -> None:
    assert agreement_with_others(ratings("10", "10"), "stranger").percent.undefined == ALONE


def give(run: Run, leased: Leased | None, choice: Choice, *, stage: Stage = Stage.ALONE, **details: object) -> None:
    assert leased is not None
    answer(run, leased.lease_id, stage=stage, choice=choice, now=seconds(9), shown_at=NOON, details=details)


def drawn(run: Run, rater: str, purpose: Purpose = Purpose.TRAIN) -> Leased | None:
    return draw(run, rater_id=rater, level=0, round=0, purpose=purpose, now=NOON)


def plant_by_hand(run: Run, *, aids_planned: bool = False, raters: int = 1) -> None:
    put_completions(
        run,
        [
            StoredCompletion("right", "d0", 0, 0, "planted-right", "Brief"),
            StoredCompletion("wrong", "d0", 0, 0, "planted-wrong", "Lie"),
        ],
    )
    asked = StoredComparison(
        "t0", 0, 0, Purpose.TEST, "d0", "Brief this", "wrong", "right", "planted", 0, aids_planned, raters
    )
    put_comparisons(run, [asked])


def test_figures_of_each_rater_and_of_all(tmp_path: Path) -> None:
    with small_run(tmp_path / "run", comparisons=4, raters_planned=2) as run:
        for choice in (Choice.FIRST, Choice.FIRST, Choice.SECOND, Choice.SKIP):
            give(run, drawn(run, "ann"), choice, milliseconds=4000)
        for choice in (Choice.FIRST, Choice.SECOND, Choice.SECOND, Choice.FIRST):
            give(run, drawn(run, "ben"), choice)
        found = reliability_and_by_rater(run)[1]
        everybody = reliability(run)
    assert found["ann"].agreement.percent.value == pytest.approx(2 / 3) and found["ann"].answers == 3
    assert found["ann"].seconds == 4.0 and found["ben"].seconds == pytest.approx(9.0)
    assert everybody.answers == 7 and everybody.agreement.comparisons == 3
    # Kappa over three comparisons: p_o = 2/3; ann 2 of 3 first, ben 1 of 3: p_e = 2/9 + 2/9.
    assert everybody.agreement.kappa.value == pytest.approx((2 / 3 - 4 / 9) / (1 - 4 / 9))


def test_the_left_share_comes_with_wilsons_interval(tmp_path: Path) -> None:
    with small_run(tmp_path / "run", comparisons=8) as run:
        for _ in range(8):
            leased = drawn(run, "ann")
            assert leased is not None
            give(run, leased, Choice.FIRST if leased.first_on_left else Choice.SECOND)
        left = reliability(run).left
    interval = binomtest(8, 8).proportion_ci(0.95, method="wilson")
    assert left is not None and (left.value, left.n) == (1.0, 8)
    assert (left.low, left.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_repeats_say_whether_a_rater_agrees_with_themselves(tmp_path: Path) -> None:
    with small_run(tmp_path / "run") as run:
        for _ in range(3):
            give(run, drawn(run, "ann"), Choice.FIRST)
        for choice in (Choice.FIRST, Choice.SECOND):
            give(run, draw_repeat(run, rater_id="ann", now=NOON, answers_between=0), choice)
        found = reliability(run)
    assert found.repeats is not None and (found.repeats.value, found.repeats.n) == (0.5, 2)
    assert found.agreement.percent.undefined == ALONE, "a repeat is no second rater"


def test_planted_comparisons_say_who_is_right_and_who_is_misled(tmp_path: Path) -> None:
    with small_run(tmp_path / "run") as run:
        plant_by_hand(run, aids_planned=True)
        leased = drawn(run, "ann", Purpose.TEST)
        give(run, leased, Choice.SECOND)
        give(run, leased, Choice.FIRST, stage=Stage.AIDED)
        found = reliability_and_by_rater(run)[1]["ann"]
    assert found.planted is not None and (found.planted.value, found.planted.n) == (0.0, 1)
    assert found.misled is not None and found.misled.value == 1.0


def test_nobody_agrees_by_a_planted_comparison(tmp_path: Path) -> None:
    with small_run(tmp_path / "run") as run:
        plant_by_hand(run, raters=2)
        for rater in ("ann", "ben"):
            give(run, drawn(run, rater, Purpose.TEST), Choice.SECOND)
        found = reliability(run)
    assert found.planted is not None and found.planted.n == 2
    assert found.agreement.percent.undefined == ALONE


def test_an_answer_to_a_planted_comparison_that_says_neither_is_wrong(tmp_path: Path) -> None:
    with small_run(tmp_path / "run") as run:
        plant_by_hand(run)
        give(run, drawn(run, "ann", Purpose.TEST), Choice.TIE)
        assert reliability(run).planted == reliability_and_by_rater(run)[1]["ann"].planted
        planted = reliability(run).planted
    assert planted is not None and planted.value == 0.0


def test_what_was_answered_knowing_the_writers_does_not_count(tmp_path: Path) -> None:
    with small_run(tmp_path / "run", raters_planned=2) as run:
        give(run, drawn(run, "ann"), Choice.FIRST)
        give(run, drawn(run, "ben"), Choice.FIRST, unblinded=True)
        assert reliability(run).agreement.raters == 1 and "ben" not in reliability_and_by_rater(run)[1]


def test_who_is_left_out_does_not_count_for_others(tmp_path: Path) -> None:
    with small_run(tmp_path / "run", raters_planned=2) as run:
        ensure_rater(run, LOCAL)
        give(run, drawn(run, "ann"), Choice.FIRST)
        give(run, drawn(run, "ben"), Choice.SECOND)
        leave_out(run, rater_id="ben", left_out=True, reason="random clicks", by=LOCAL, now=NOON)
        by_rater = reliability_and_by_rater(run)[1]
        everybody = reliability(run).agreement
    assert everybody == Agreement(1, 0, 0, everybody.percent, everybody.kappa, everybody.alpha)
    assert by_rater["ann"].agreement.percent.undefined == ALONE
    assert by_rater["ben"].agreement.percent.value == 0.0, "a lead still sees how the one left out compares"


def test_a_run_without_answers_has_no_figures(tmp_path: Path) -> None:
    with small_run(tmp_path / "run") as run:
        found = reliability(run)
    assert (found.answers, found.left, found.repeats, found.planted, found.misled, found.seconds) == (0, *[None] * 5)
