"""Steps are done once, whatever kills their process; curves may be drawn over."""

from pathlib import Path

import pytest

from reward_models.errors import InvalidInput
from rrm.errors import RunCorrupt
from rrm.store import (
    Progress,
    StepStatus,
    begin_step,
    fail_step,
    finish_step,
    heartbeat,
    progress,
    put_text,
    record_progress,
    record_progress_many,
    step,
    step_key,
    step_result,
    steps,
)
from tests.rrm.store_samples import NOON, seconds, small_run


def test_a_step_from_begin_to_result(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        begun = begin_step(run, level=1, round=0, name="fit", now=NOON)
        assert (begun.key, begun.status, begun.attempts, begun.finished) == ("1/0/fit", StepStatus.RUNNING, 1, False)
        assert step_result(run, begun.key) is None
        again = begin_step(run, level=1, round=0, name="fit", now=seconds(60))
        assert (again.attempts, again.started_at, again.heartbeat_at) == (
            2,
            "2026-01-02T12:00:00.000000Z",
            "2026-01-02T12:01:00.000000Z",
        )
        done = finish_step(run, begun.key, {"accuracy": 0.75, "models": ["a"]}, now=seconds(90))
        assert done.finished
        assert finish_step(run, begun.key, {"models": ["a"], "accuracy": 0.75}, now=seconds(95)) == done
        assert begin_step(run, level=1, round=0, name="fit", now=seconds(99)) == done
        assert step_result(run, begun.key) == {"accuracy": 0.75, "models": ["a"]}
        with pytest.raises(RunCorrupt, match="another result"):
            finish_step(run, begun.key, {"accuracy": 0.5}, now=seconds(99))
        with pytest.raises(RunCorrupt, match="cannot fail"):
            fail_step(run, begun.key, "no", now=seconds(99))


def test_a_failed_step_is_begun_again(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        key = begin_step(run, level=0, round=0, name="sample", now=NOON).key
        failed = fail_step(run, key, "the loss became infinite", now=seconds(5))
        assert (failed.status, failed.error) == (StepStatus.FAILED, "the loss became infinite")
        again = begin_step(run, level=0, round=0, name="sample", now=seconds(9))
        assert (again.status, again.error, again.finished_at, again.attempts) == (StepStatus.RUNNING, None, None, 2)
        heartbeat(run, key, now=seconds(20))
        assert step(run, key).heartbeat_at == "2026-01-02T12:00:20.000000Z"
        begin_step(run, level=0, round=0, name="fit", now=seconds(21))
        assert [each.name for each in steps(run)] == ["sample", "fit"]


def test_a_step_and_its_rows_are_stored_together(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        key = begin_step(run, level=0, round=0, name="sample", now=NOON).key
        texts = run.database["texts"].count
        with pytest.raises(InvalidInput), run.transaction():
            put_text(run, "half of it")
            finish_step(run, key, {"loss": float("inf")}, now=NOON)
        assert (run.database["texts"].count, step(run, key).finished) == (texts, False)
        with pytest.raises(InvalidInput, match="no step"):
            finish_step(run, step_key(level=9, round=9, name="none"), {}, now=NOON)


def test_progress_repeats_its_positions_after_a_kill(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        key = begin_step(run, level=0, round=0, name="optimise", now=NOON).key
        record_progress(run, key, 0, {"reward": 0.0}, now=NOON)
        record_progress_many(run, key, [(1, {"reward": 0.1}), (2, {"reward": 0.2})], now=NOON)
        record_progress_many(run, key, [(2, {"reward": 0.25}), (10, {"reward": 1.0})], now=seconds(7))
        assert progress(run, key, after=0) == [
            Progress(1, {"reward": 0.1}),
            Progress(2, {"reward": 0.25}),
            Progress(10, {"reward": 1.0}),
        ]
        assert step(run, key).heartbeat_at == "2026-01-02T12:00:07.000000Z"
        with pytest.raises(InvalidInput, match="no step"):
            record_progress(run, "0/0/none", 0, {}, now=NOON)
