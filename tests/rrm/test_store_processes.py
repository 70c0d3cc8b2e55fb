"""Many processes, killed processes, a lock and a full disk: nothing that was acknowledged is lost.

Processes are forked, so that each starts in milliseconds; none of them uses torch.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from reward_models.errors import InvalidInput
from rrm.errors import DiskFull, RunBusy
from rrm.judging.queue import answer, draw, draw_many, live_judgements
from rrm.store import Choice, Leased, Purpose, Run, Stage, get_text, judgement_counts, put_text, put_texts, verify
from rrm.store.connection import open_database
from tests.rrm.store_samples import NOON, small_run

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def forked(work: Callable[[], None]) -> BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def next_of(run: Run, rater: str) -> Leased | None:
    return draw(run, rater_id=rater, level=0, round=0, purpose=Purpose.TRAIN, now=NOON)


def judge_all(folder: Path, rater: str, acknowledge: Callable[[str], object]) -> None:
    with Run.open(folder) as run:
        while leased := next_of(run, rater):
            acknowledge(answer(run, leased.lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=NOON).id)


def test_eight_writers_lose_nothing(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=60) as run:
        # The connection that this process opened is not used by its children: each opens its own.
        processes = [forked(lambda: judge_all(tmp_path, "ann", lambda _: None)) for _ in range(8)]
        for process in processes:
            process.join(timeout=120)
        assert [process.exitcode for process in processes] == [0] * 8
        judgements = live_judgements(run)
        assert sorted(each.comparison_id for each in judgements) == sorted(f"p{n}" for n in range(60))
        assert [each.position for each in judgements] == list(range(1, 61))
        assert [(count.given, count.needed) for count in judgement_counts(run)] == [(60, 60)]
    assert verify(tmp_path) == []


def test_a_new_database_may_be_opened_by_several_at_once(tmp_path: Path) -> None:
    """Switching to write-ahead mode is the one thing for which SQLite itself does not always wait."""
    for attempt in range(12):
        path = tmp_path / f"{attempt}.db"
        gate = multiprocessing.get_context("fork").Barrier(6)

        def work(path: Path = path, gate: threading.Barrier = gate) -> None:
            gate.wait()
            open_database(path, create=True).close()

        processes = [forked(work) for _ in range(6)]
        for process in processes:
            process.join(timeout=120)
        assert [process.exitcode for process in processes] == [0] * 6


def test_a_forked_child_uses_a_connection_of_its_own(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        of_the_parent = run.database

        def work() -> None:
            assert run.database is not of_the_parent
            put_text(run, "from the child")

        process = forked(work)
        process.join(timeout=60)
        assert process.exitcode == 0
        put_text(run, "from the parent")
    assert verify(tmp_path) == []


def test_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    small_run(tmp_path, comparisons=2000).close()
    reading, writing = os.pipe()
    process = forked(lambda: judge_all(tmp_path, "ann", lambda each: os.write(writing, f"{each}\n".encode())))
    os.close(writing)
    with os.fdopen(reading) as acknowledged:
        first = [acknowledged.readline() for _ in range(25)]
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        known = {line.strip() for line in (*first, *acknowledged)}
    process.join(timeout=60)
    assert process.exitcode == -signal.SIGKILL
    assert verify(tmp_path) == []
    with Run.open(tmp_path) as run:
        stored = {each.id for each in live_judgements(run)}
        # At most the one that was stored and not yet acknowledged is more than what the writer said.
        assert known <= stored and len(stored) - len(known) <= 1
        assert 25 <= len(stored) < 2000
        # A rater that comes back takes up what it held, and goes on.
        held = draw_many(
            run, rater_id="ann", level=0, round=0, purpose=Purpose.TRAIN, count=5000, now=NOON, resume=True
        )
        assert len(held) == 2000 - len(stored)


def test_kill_inside_a_transaction_leaves_none_of_it(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=50) as run:
        first = next_of(run, "ann")
        assert first is not None
        answer(run, first.lease_id, stage=Stage.ALONE, choice=Choice.TIE, now=NOON)
    reading, writing = os.pipe()

    def work() -> None:
        with Run.open(tmp_path) as run, run.transaction():
            for _ in range(20):
                leased = next_of(run, "ann")
                assert leased is not None
                answer(run, leased.lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=NOON)
            os.write(writing, b"written, not committed\n")
            signal.pause()

    process = forked(work)
    os.close(writing)
    with os.fdopen(reading) as said:
        assert said.readline() == "written, not committed\n"
        process.kill()
        process.join(timeout=60)
    with Run.open(tmp_path) as run:
        assert [each.choice for each in live_judgements(run)] == [Choice.TIE]
        second = next_of(run, "ann")
        assert second is not None and second.comparison.id == "p1"
    assert verify(tmp_path) == []


def test_one_process_works_on_a_run(tmp_path: Path) -> None:
    small_run(tmp_path).close()
    reading, writing = os.pipe()

    def work() -> None:
        with Run.open(tmp_path) as run, run.exclusive():
            os.write(writing, b"working\n")
            signal.pause()

    process = forked(work)
    os.close(writing)
    with os.fdopen(reading) as said, Run.open(tmp_path) as run:
        assert said.readline() == "working\n"
        with pytest.raises(RunBusy, match=f"process {process.pid} works on the run"), run.exclusive():
            pass
        # The page reads and writes judgements meanwhile.
        assert next_of(run, "ben") is not None
        process.kill()
        process.join(timeout=60)
        with run.exclusive(), pytest.raises(RunBusy, match=f"process {os.getpid()} "), run.exclusive():
            pass
        with run.exclusive():
            pass


def test_a_lock_that_does_not_end_is_an_error_of_ours(tmp_path: Path) -> None:
    with small_run(tmp_path) as holder, Run.open(tmp_path, timeout=0.05) as waiting:
        with holder.transaction(), pytest.raises(RunBusy, match=r"keeps .*run\.db locked"):
            put_text(waiting, "too early")
        assert get_text(waiting, put_text(waiting, "in time")) == "in time"


def test_threads_share_a_run(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=40) as run:

        def judge() -> None:
            while leased := next_of(run, "ann"):
                answer(run, leased.lease_id, stage=Stage.ALONE, choice=Choice.SECOND, now=NOON)

        threads = [threading.Thread(target=judge) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert len(live_judgements(run)) == 40
    assert verify(tmp_path) == []


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=400) as run:
        pages = run.database.execute("PRAGMA page_count").fetchone()[0]
        run.database.execute(f"PRAGMA max_page_count = {pages + 12}")
        stored = []
        with pytest.raises(DiskFull, match="no room left"):
            while leased := next_of(run, "ann"):
                stored.append(
                    answer(run, leased.lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=NOON, comment="x" * 99)
                )
        assert len(stored) > 5
        with pytest.raises(DiskFull), run.transaction():
            put_texts(run, [f"{n}" * 5000 for n in range(100)])
        assert live_judgements(run) == stored
        run.database.execute("PRAGMA max_page_count = 1000000")
        leased = (
            next_of(run, "ann")
            or draw_many(run, rater_id="ann", level=0, round=0, purpose=Purpose.TRAIN, count=1, now=NOON, resume=True)[
                0
            ]
        )
        stored.append(answer(run, leased.lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=NOON))
        assert live_judgements(run) == stored
        with pytest.raises(InvalidInput):
            get_text(run, "0")
    assert verify(tmp_path) == []
