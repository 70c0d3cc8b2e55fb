"""Figures about judging, against numbers computed by hand."""

from pathlib import Path

import pytest
from scipy.stats import binomtest

from rrm.judging.queue import answer, undo
from rrm.judging.reliability import reliability, reliability_and_by_rater
from rrm.judging.repeats import draw_repeat
from rrm.people.accounts import LOCAL
from rrm.people.exclusions import leave_out
from rrm.store import Choice, Purpose, Rater, RaterKind, Stage, put_rater
from rrm.watching.accuracy import LabelAccuracy, label_accuracy
from rrm.watching.consistency import consistency
from rrm.watching.cost import Cost, cost
from rrm.watching.depth import error_by_depth
from rrm.watching.gold import first_is_better
from rrm.watching.pace import Pace, pace
from rrm.watching.rooms_of_judging import accuracy_room
from rrm.watching.shares import share
from tests.rrm.watched_runs import NOW, RIGHT, WRONG, ask, give, watched


@pytest.mark.parametrize(("right", "n"), [(0, 5), (3, 5), (5, 5), (70, 100), (1000, 1000), (1, 1)])
def test_an_interval_is_wilsons(right: int, n: int) -> None:
    found = share(right, n)
    assert found is not None
    wilson = binomtest(right, n).proportion_ci(method="wilson")
    assert (found.value, found.n) == (right / n, n)
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high))
    assert 0 <= found.low <= found.value <= found.high <= 1
    rest = found.rest()
    assert rest.low <= rest.value <= rest.high
    assert rest.value == pytest.approx(1 - found.value)


def test_a_share_of_nothing_is_none_and_halves_count() -> None:
    assert share(0, 0) is None
    half = share(2.5, 5)
    assert half is not None
    assert half.value == 0.5
    assert half.low + half.high == pytest.approx(1.0)


def test_gold_knows_which_is_better_and_where_it_is_not_clear(tmp_path: Path) -> None:
    with watched(tmp_path / "run") as opened:
        clear, close = ask(opened, 0), ask(opened, 1, clear=False)
        assert first_is_better(opened.run, opened.task, [clear, close]) == {clear: True}


def test_label_accuracy_by_level_stage_and_kind(tmp_path: Path) -> None:
    with watched(tmp_path / "run") as opened:
        low = [ask(opened, number, raters=2) for number in range(5)]
        high = [ask(opened, number, level=1, aids=True) for number in range(4)]
        # A tie is half right; whoever cannot tell or skips says nothing.
        choices = [RIGHT, RIGHT, WRONG, Choice.TIE, Choice.CANNOT_TELL]
        give(opened, dict(zip(low, choices, strict=True)))
        give(opened, dict.fromkeys(low, RIGHT), rater="reader")
        give(
            opened,
            dict(zip(high, [WRONG, WRONG, WRONG, RIGHT], strict=True)),
            aided=dict(zip(high, [RIGHT, RIGHT, WRONG, RIGHT], strict=True)),
        )
        found = label_accuracy(opened.run, opened.task)
    assert found == [
        LabelAccuracy(0, Stage.ALONE, RaterKind.PERSON, 4, share(2.5, 4)),
        LabelAccuracy(0, Stage.ALONE, RaterKind.SIMULATED, 5, share(5, 5)),
        LabelAccuracy(1, Stage.AIDED, RaterKind.PERSON, 4, share(3, 4)),
        LabelAccuracy(1, Stage.ALONE, RaterKind.PERSON, 4, share(1, 4)),
    ]


def test_what_does_not_count_for_accuracy(tmp_path: Path) -> None:
    with watched(tmp_path / "run") as opened:
        counted = ask(opened, 0, raters=2)
        give(opened, {counted: RIGHT})
        # Planted items, comparisons without a clear answer, answers that were not blind, repeats, and Bob.
        give(opened, {ask(opened, 1, purpose=Purpose.TEST): WRONG})
        give(opened, {ask(opened, 2, clear=False): WRONG})
        give(opened, {ask(opened, 3): WRONG}, details={"unblinded": True})
        give(opened, {counted: WRONG}, rater="bob")
        leave_out(opened.run, rater_id="bob", left_out=True, reason="presses one key", by=LOCAL, now=NOW)
        again = draw_repeat(opened.run, rater_id="ann", now=NOW, answers_between=0)
        assert again is not None
        answer(opened.run, again.lease_id, stage=Stage.ALONE, choice=WRONG, now=NOW)
        assert label_accuracy(opened.run, opened.task) == [
            LabelAccuracy(0, Stage.ALONE, RaterKind.PERSON, 2, share(1, 1))
        ]


def test_answers_that_gold_says_nothing_of_have_no_picture(tmp_path: Path) -> None:
    with watched(tmp_path / "run") as opened:
        give(opened, {ask(opened, 1, clear=False): RIGHT})
        room = accuracy_room(label_accuracy(opened.run, opened.task))
    assert room.svg is None and room.table is not None and len(room.table.rows) == 1


def test_without_answers_there_is_no_accuracy(tmp_path: Path) -> None:
    with watched(tmp_path / "run") as opened:
        assert label_accuracy(opened.run, opened.task) == []


def test_of_many_answers_a_random_share_is_looked_at(tmp_path: Path) -> None:
    with watched(tmp_path / "run") as opened:
        give(opened, {ask(opened, number): RIGHT for number in range(60)})
        whole = label_accuracy(opened.run, opened.task, sample=60)[0]
        some = label_accuracy(opened.run, opened.task, sample=20)[0]
    assert whole.share is not None and some.share is not None
    assert (whole.answered, whole.share.n) == (60, 60)
    assert (some.answered, some.share.value) == (60, 1.0)
    assert 8 <= some.share.n <= 35


def test_error_is_the_rest_of_accuracy(tmp_path: Path) -> None:
    with watched(tmp_path / "run") as opened:
        accuracies = [
            LabelAccuracy(0, Stage.ALONE, RaterKind.PERSON, 10, share(9, 10)),
            LabelAccuracy(1, Stage.AIDED, RaterKind.SIMULATED, 10, share(8, 10)),
            LabelAccuracy(1, Stage.ALONE, RaterKind.SIMULATED, 10, None),
        ]
        found = error_by_depth(opened.run, accuracies)
    assert [(one.level, one.way, one.source, one.share.n) for one in found] == [
        (0, "alone", "people", 10),
        (1, "assisted", "simulated rater", 10),
    ]
    assert [one.share.value for one in found] == pytest.approx([0.1, 0.2])


def test_pace_is_the_median_of_blocks_of_answers(tmp_path: Path) -> None:
    with watched(tmp_path / "run") as opened:
        asked = [ask(opened, number) for number in range(12)]
        # Two blocks of five or more; ten minutes is the most that counts; a simulated rater has no pace.
        for identifier, seconds in zip(asked, [1, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 5000], strict=True):
            give(opened, {identifier: RIGHT}, seconds=float(seconds))
        other = ask(opened, 12)
        give(opened, {other: RIGHT}, rater="reader", seconds=1.0)
        found = pace(opened.run)
    assert found == [
        Pace(Stage.ALONE, 6, lower=2.25, median=3.5, upper=4.75),
        Pace(Stage.ALONE, 12, lower=22.5, median=35.0, upper=47.5),
    ]


def test_cost_counts_what_was_judged_and_the_time_of_all_answers(tmp_path: Path) -> None:
    with watched(tmp_path / "run") as opened:
        give(opened, {ask(opened, number): RIGHT for number in range(3)}, seconds=10.0)
        high = [ask(opened, number, level=1, aids=True) for number in range(2)]
        give(opened, dict.fromkeys(high, WRONG), aided=dict.fromkeys(high, RIGHT), seconds=20.0)
        give(opened, {ask(opened, 7, round=1): RIGHT}, rater="reader")
        assert cost(opened.run) == [
            Cost(0, 0, RaterKind.PERSON, judgements=3, answers=3, seconds=30.0),
            Cost(0, 1, RaterKind.SIMULATED, judgements=1, answers=1, seconds=None),
            Cost(1, 0, RaterKind.PERSON, judgements=2, answers=4, seconds=80.0),
        ]
        # An answer that was taken back took its time all the same.
        undo(opened.run, rater_id="ann", now=NOW)
        assert cost(opened.run)[-1] == Cost(1, 0, RaterKind.PERSON, judgements=2, answers=3, seconds=80.0)


def test_of_imported_answers_nobody_knows_the_side_or_the_time(tmp_path: Path) -> None:
    """The queue throws a coin for the sides of every answer; of one that was given elsewhere it says nothing."""
    with watched(tmp_path / "run") as opened:
        put_rater(opened.run, Rater("imported-Eve", "Eve (imported)", RaterKind.PERSON, settings={"imported": True}))
        shared = [ask(opened, number, raters=2) for number in range(6)]
        give(opened, dict.fromkeys(shared, RIGHT), rater="imported-Eve")
        assert consistency(opened.run).left is None
        give(opened, dict.fromkeys(shared, RIGHT), seconds=5.0)
        found = consistency(opened.run)
        whole, by_rater = reliability_and_by_rater(opened.run)
    assert found.left is not None and found.left.n == 6
    assert found.left == whole.left == by_rater["ann"].left
    assert (by_rater["imported-Eve"].answers, by_rater["imported-Eve"].left, by_rater["imported-Eve"].seconds) == (
        6,
        None,
        None,
    )
    assert whole.seconds == 5.0 and found.agreement.percent.value == 1.0


def test_consistency_is_what_reliability_says_of_all_raters(tmp_path: Path) -> None:
    with watched(tmp_path / "run") as opened:
        shared = [ask(opened, number, raters=2) for number in range(6)]
        give(opened, dict(zip(shared, [RIGHT, RIGHT, WRONG, Choice.TIE, RIGHT, Choice.SKIP], strict=True)))
        give(opened, dict(zip(shared, [RIGHT, WRONG, WRONG, Choice.TIE, WRONG, RIGHT], strict=True)), rater="bob")
        give(opened, {ask(opened, 10 + number): RIGHT for number in range(4)})
        again = draw_repeat(opened.run, rater_id="ann", now=NOW, answers_between=0)
        assert again is not None
        answer(opened.run, again.lease_id, stage=Stage.ALONE, choice=WRONG, now=NOW)
        found, whole = consistency(opened.run), reliability(opened.run)
        leave_out(opened.run, rater_id="bob", left_out=True, reason="presses one key", by=LOCAL, now=NOW)
        without_bob, whole_without_bob = consistency(opened.run), reliability(opened.run)
    # Five comparisons with two labels, three of them equal.
    assert (found.agreement.pairs, found.agreement.percent.value) == (5, 0.6)
    assert found.left is not None and found.left.n == 14
    assert found.repeats is not None and found.repeats.n == 1
    for ours, theirs in ((found, whole), (without_bob, whole_without_bob)):
        assert (ours.left, ours.agreement, ours.repeats, ours.planted, ours.misled) == (
            theirs.left, theirs.agreement, theirs.repeats, theirs.planted, theirs.misled,
        )  # fmt: skip
    assert without_bob.agreement.percent.undefined is not None
