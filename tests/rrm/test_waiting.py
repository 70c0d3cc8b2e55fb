"""What waits to be judged follows from comparisons and answers, in whatever way these came about."""

from pathlib import Path

from rrm.judging.queue import answer, draw_any, undo
from rrm.people.accounts import LOCAL
from rrm.people.exclusions import leave_out
from rrm.store import Choice, Run, Stage, judgement_counts
from rrm.store.page_schema import FILL_WAITING
from rrm.store.transaction import execute, rows
from rrm.store.waiting import asked_because, set_order
from tests.rrm.store_samples import seconds, small_run


def waits(run: Run) -> dict[str, int]:
    query = "SELECT comparison_id, raters_missing FROM waiting ORDER BY place"
    return {str(row["comparison_id"]): int(row["raters_missing"] or 0) for row in rows(run.database, query)}


def finish(run: Run, rater: str, *, at: float) -> str:
    (leased,) = draw_any(run, rater_id=rater, count=1, now=seconds(at))
    answer(run, leased.lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=seconds(at))
    return leased.comparison.id


def test_answers_and_undo_are_counted(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=2, raters_planned=2) as run:
        assert waits(run) == {"p0": 2, "p1": 2}
        assert [finish(run, "ann", at=0), finish(run, "ben", at=1), finish(run, "ann", at=2)] == ["p0", "p0", "p1"]
        assert waits(run) == {"p0": 0, "p1": 1}
        undo(run, rater_id="ben", now=seconds(3))
        assert waits(run) == {"p0": 1, "p1": 1}


def test_what_a_left_out_rater_judged_is_missing_again(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=2) as run:
        finish(run, "ann", at=0)
        assert [(count.given, count.needed) for count in judgement_counts(run)] == [(1, 2)]
        leave_out(run, rater_id="ann", left_out=True, reason="presses one key", by=LOCAL, now=seconds(1))
        assert [(count.given, count.needed) for count in judgement_counts(run)] == [(0, 2)]
        assert waits(run) == {"p0": 1, "p1": 1}


def test_an_answer_too_many_spares_nobody_another_comparison(tmp_path: Path) -> None:
    """One answer is planned for each; a second one to the first, after its lease had run out, is not the other's."""
    with small_run(tmp_path, comparisons=2) as run:
        (late,) = draw_any(run, rater_id="ann", count=1, now=seconds(0))
        assert finish(run, "ben", at=30_000) == late.comparison.id
        answer(run, late.lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=seconds(30_001))
        assert waits(run) == {"p0": -1, "p1": 1}
        assert [(count.given, count.needed) for count in judgement_counts(run)] == [(1, 2)]


def test_the_table_filled_anew_is_the_table_that_was_kept(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=5, raters_planned=2) as run:
        for at, rater in enumerate(("ann", "ben", "ann", "cal")):
            finish(run, rater, at=at)
        kept = rows(run.database, "SELECT * FROM waiting ORDER BY comparison_id")
        execute(run.database, "DELETE FROM waiting")
        execute(run.database, FILL_WAITING)
        assert rows(run.database, "SELECT * FROM waiting ORDER BY comparison_id") == kept


def test_the_order_can_be_changed_and_says_why(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        assert asked_because(run, "p2") == "random"
        set_order(run, [("p2", 0.0, "spread")], now=seconds(0))
        assert asked_because(run, "p2") == "spread"
        assert [finish(run, "ann", at=at) for at in range(1, 4)] == ["p2", "p0", "p1"]


def test_what_was_passed_over_is_found_in_the_end(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        draw_any(run, rater_id="ben", count=1, now=seconds(0), lease_seconds=100.0)
        assert [finish(run, "ann", at=1), finish(run, "ann", at=2)] == ["p1", "p2"]
        assert draw_any(run, rater_id="ann", count=1, now=seconds(3)) == []
        assert finish(run, "ann", at=200) == "p0"
