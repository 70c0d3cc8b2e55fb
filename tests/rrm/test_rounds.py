"""A round is done once, resumes after a kill with the same result, and never reads the gold utility."""

import signal
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from rrm.errors import ConfigurationError, RunBusy, RunError
from rrm.judging.queue import answer, draw
from rrm.opening import open_workbench
from rrm.rounds import STEPS, climb, decide, next_round, play_round, round_is_over
from rrm.starting import start_run
from rrm.store import (
    Choice,
    Purpose,
    Rater,
    RaterKind,
    Run,
    Stage,
    artifacts,
    decisions,
    live_judgements,
    put_rater,
    steps,
    utc_now,
)
from rrm.store.verify import verify
from rrm.tasks.shiftlog.task import Shiftlog
from tests.nursery import NURSERY
from tests.rrm.small_runs import SMALL, climbed, go_on


def outcome(folder: Path) -> dict[str, object]:
    """Everything that two equal runs must share: answers, weights and results, without times."""
    with Run.open(folder) as run:
        return {
            "answers": [(one.comparison_id, one.stage, one.choice) for one in live_judgements(run)],
            "weights": {one.id: dict(one.files) for one in artifacts(run)},
            "digests": {one.id: one.judgement_digest for one in artifacts(run)},
            "results": {one.key: one.result for one in steps(run)},
            "decisions": [(one.artifact_id, one.promoted, dict(one.record)) for one in decisions(run)],
        }


def test_a_climb_does_every_step_of_every_level_and_verifies(finished: Path) -> None:
    with Run.open(finished) as run:
        done = [(one.level, one.name) for one in steps(run) if one.finished]
        assert done == [(level, name) for level in (0, 1) for name in STEPS]
        assert {one.id for one in artifacts(run)} == {
            "reward-model-0-0", "agent-0-0", "reward-model-1-0", "agent-1-0",
        }  # fmt: skip
        # Level 1 is answered before and after the aid, level 0 only without one.
        stages = {(one.comparison_id.split("-")[2], one.stage) for one in live_judgements(run, purpose=Purpose.TRAIN)}
        assert stages == {("0", Stage.ALONE), ("1", Stage.ALONE), ("1", Stage.AIDED)}
    assert verify(finished) == []


def test_a_second_climb_changes_nothing(finished: Path) -> None:
    before = outcome(finished)
    with open_workbench(finished) as bench:
        climb(bench)
    assert outcome(finished) == before


def test_gold_is_never_read_and_changes_nothing(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a round asked for the gold utility")

    monkeypatch.setattr(Shiftlog, "gold", refuse)
    assert outcome(climbed(tmp_path / "blind")) == outcome(finished)


def test_a_climb_killed_again_and_again_ends_with_the_same_result(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    start_run(folder, SMALL)
    kills = 0
    for _ in range(20):
        process = NURSERY.Process(target=go_on, args=(folder,))
        process.start()
        _kill_when_further(process, folder, more_than=_writes(folder) + 16)
        if process.exitcode != -signal.SIGKILL:
            break
        kills += 1
    assert process.exitcode == 0
    assert kills >= 3
    assert outcome(folder) == outcome(finished)
    assert verify(folder) == []


def _writes(folder: Path) -> int:
    """A count that grows with the work: rows of steps, answers and progress."""
    if not (folder / "run.db").exists():
        return 0
    try:
        with Run.open(folder) as run:
            query = (
                "SELECT (SELECT count(*) FROM steps) * 4 + (SELECT count(*) FROM judgements) / 10 "
                "+ (SELECT count(*) FROM progress) * 2 AS n"
            )
            return int(next(iter(run.database.query(query)))["n"])
    except RunError:
        return 0


def _kill_when_further(process: BaseProcess, folder: Path, *, more_than: int) -> None:
    """Kill -9 once the run has gone further than it was, unless the process has ended by itself."""
    while process.is_alive():
        if _writes(folder) > more_than:
            process.kill()
        process.join(timeout=0.02)


def test_another_seed_gives_another_run(finished: Path, tmp_path: Path) -> None:
    other = outcome(climbed(tmp_path / "other", "run.seed=1", "run.levels=1"))
    assert other["weights"]["agent-0-0"] != outcome(finished)["weights"]["agent-0-0"]  # type: ignore[index]


def test_people_are_waited_for_and_go_through_the_same_queue(tmp_path: Path) -> None:
    folder = tmp_path / "people"
    start_run(folder, [*SMALL, "run.levels=1", "judging.rater=people", "rounds.promotion=ask"])
    with open_workbench(folder) as bench:
        waiting = play_round(bench, level=0, round=0)
        assert (waiting.waiting, waiting.finished) == (30 + 12, False)
        put_rater(bench.run, Rater(id="ann", name="Ann", kind=RaterKind.PERSON))
        for purpose in (Purpose.TRAIN, Purpose.VALIDATION):
            _answer_all(bench.run, purpose)
        assert play_round(bench, level=0, round=0).waiting == 8
        _answer_all(bench.run, Purpose.PROMOTION)
        asked = play_round(bench, level=0, round=0)
        assert asked.waiting_for_decision
        assert next_round(bench) == (0, 0)
        decide(bench, level=0, round=0, promoted=True)
        assert bench.incumbent(0) == "agent-0-0"
        assert next_round(bench) is None
        with pytest.raises(RunError, match="waits for a decision"):
            decide(bench, level=0, round=0, promoted=False)


def _answer_all(run: Run, purpose: Purpose) -> None:
    while leased := draw(run, rater_id="ann", level=0, round=0, purpose=purpose, now=utc_now()):
        # Ann likes the shorter brief.
        shorter = Choice.FIRST if len(leased.first_text) <= len(leased.second_text) else Choice.SECOND
        answer(run, leased.lease_id, stage=Stage.ALONE, choice=shorter, now=utc_now())


def test_a_level_waits_for_the_one_below(tmp_path: Path) -> None:
    start_run(tmp_path / "run", SMALL)
    with open_workbench(tmp_path / "run") as bench, pytest.raises(ConfigurationError, match="which is not over"):
        play_round(bench, level=1, round=0)


def test_two_processes_cannot_work_on_one_run(tmp_path: Path) -> None:
    start_run(tmp_path / "run", SMALL)
    with open_workbench(tmp_path / "run"), pytest.raises(RunBusy), open_workbench(tmp_path / "run"):
        pass


def test_a_seed_cannot_change_half_way(finished: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"run\.seed"), open_workbench(finished, overrides=["run.seed=5"]):
        pass


def test_a_second_round_at_a_level_is_fitted_on_both(tmp_path: Path) -> None:
    folder = climbed(tmp_path / "run", "run.levels=1", "rounds.rounds_per_level=2")
    with open_workbench(folder) as bench:
        assert round_is_over(bench, level=0, round=1)
        used = [
            row["number"]
            for row in bench.run.database.query(
                "SELECT count(*) AS number FROM artifact_judgements WHERE artifact_id LIKE 'reward-model-%' "
                "GROUP BY artifact_id ORDER BY artifact_id"
            )
        ]
    assert used == [30, 60]
