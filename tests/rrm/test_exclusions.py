"""Leaving somebody out: appended, never changed, and honoured by everything that is fitted or decided."""

from pathlib import Path

import pytest

from reward_models.errors import InvalidInput
from rrm.errors import NotAllowed, RunError
from rrm.judging.final import final_answers
from rrm.judging.queue import answer, draw
from rrm.opening import open_workbench
from rrm.people.accounts import LOCAL, Person, Role
from rrm.people.exclusions import exclusions, leave_out, left_out
from rrm.steps.fitting import final_judgements, fit_reward_model
from rrm.store import Choice, Purpose, Run, Stage, StoredComparison, live_judgements, put_comparisons
from rrm.store.transaction import execute
from rrm.store.waiting import missing_answers
from tests.rrm.store_samples import NOON, small_run


def say(run: Run, rater: str, choice: Choice, purpose: Purpose = Purpose.TRAIN, **details: object) -> None:
    leased = draw(run, rater_id=rater, level=0, round=0, purpose=purpose, now=NOON)
    assert leased is not None
    answer(run, leased.lease_id, stage=Stage.ALONE, choice=choice, now=NOON, details=details)


def out(run: Run, rater: str, *, left: bool = True) -> None:
    leave_out(run, rater_id=rater, left_out=left, reason="clicks at random", by=LOCAL, now=NOON)


def test_what_only_they_judged_is_asked_of_others(tmp_path: Path) -> None:
    with small_run(tmp_path / "run", comparisons=2) as run:
        say(run, "ann", Choice.FIRST)
        assert missing_answers(run, level=0, round=0, purposes=[Purpose.TRAIN]) == 1
        out(run, "ann")
        assert missing_answers(run, level=0, round=0, purposes=[Purpose.TRAIN]) == 2
        say(run, "ben", Choice.SECOND)
        assert {each.comparison_id for each in live_judgements(run, rater_id="ben")} == {"p0"}
        out(run, "ann", left=False)
        assert missing_answers(run, level=0, round=0, purposes=[Purpose.TRAIN]) == 1


def test_the_last_decision_counts_and_all_are_kept(tmp_path: Path) -> None:
    with small_run(tmp_path / "run") as run:
        assert left_out(run) == frozenset()
        out(run, "ann")
        out(run, "ben")
        out(run, "ann", left=False)
        assert left_out(run) == {"ben"}
        assert [(each.rater_id, each.left_out) for each in exclusions(run)] == [
            ("ann", True),
            ("ben", True),
            ("ann", False),
        ]
        with pytest.raises(InvalidInput, match="append-only"), run.transaction():
            execute(run.database, "DELETE FROM exclusions")


def test_a_reason_a_known_rater_and_a_lead_are_needed(tmp_path: Path) -> None:
    with small_run(tmp_path / "run") as run:
        with pytest.raises(InvalidInput, match="reason"):
            leave_out(run, rater_id="ann", left_out=True, reason="  ", by=LOCAL, now=NOON)
        with pytest.raises(InvalidInput, match="no rater"):
            out(run, "zoe")
        with pytest.raises(NotAllowed):
            leave_out(run, rater_id="ann", left_out=True, reason="no", by=Person("e", "E", Role.RATER), now=NOON)
        assert exclusions(run) == []


def test_answers_of_who_is_left_out_do_not_count_until_they_are_taken_in_again(tmp_path: Path) -> None:
    with small_run(tmp_path / "run", raters_planned=2) as run:
        say(run, "ann", Choice.FIRST)
        say(run, "ben", Choice.SECOND)
        out(run, "ben")
        found = final_answers(run, level=0, round=0, purpose=Purpose.TRAIN)
        assert [each.rater_id for each in found] == ["ann"] and len(live_judgements(run)) == 2
        out(run, "ben", left=False)
        assert len(final_answers(run, level=0, round=0, purpose=Purpose.TRAIN)) == 2


@pytest.mark.parametrize("purpose", [Purpose.VALIDATION, Purpose.PROMOTION, Purpose.TRAIN])
def test_what_is_held_out_was_judged_blind(tmp_path: Path, purpose: Purpose) -> None:
    with small_run(tmp_path / "run") as run:
        asked = [
            StoredComparison(f"{purpose}{n}", 0, 0, purpose, f"d{n}", "Brief", f"c{n}-0", f"c{n}-1", "random", 9 + n)
            for n in range(2)
        ]
        put_comparisons(run, asked)
        say(run, "ann", Choice.FIRST, purpose, unblinded=True)
        say(run, "ann", Choice.FIRST, purpose)
        found = final_answers(run, level=0, round=0, purpose=purpose)
        blind = [each for each in found if not each.details]
        assert len(blind) == 1 and len(found) == (2 if purpose is Purpose.TRAIN else 1)


def test_a_fit_without_answers_that_count_says_so(copied: Path) -> None:
    with open_workbench(copied) as bench:
        used = final_judgements(bench, level=0, last_round=0, purpose=Purpose.TRAIN)
        assert used and {each.rater_id for each in used} == {"reader"}
        out(bench.run, "reader")
        assert final_judgements(bench, level=0, last_round=0, purpose=Purpose.TRAIN) == []
        with pytest.raises(RunError, match="no train answers that count"):
            fit_reward_model(bench, level=0, round=0)
