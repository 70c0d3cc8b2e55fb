"""Sessions in real worker processes: watched, killed, stopped, resumed, refused; the result is the same."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rrm.errors import RunBusy, RunError
from rrm.judging.queue import undo
from rrm.opening import open_workbench
from rrm.rounds import play_round
from rrm.sessions import (
    SessionKind,
    SessionState,
    create_session,
    launch,
    request_stop,
    running_session,
    session,
    session_points,
    sessions,
    state_of,
)
from rrm.sessions.locking import log_file
from rrm.sessions.settings import start_reward_model
from rrm.store import (
    Purpose,
    Run,
    StepStatus,
    artifact,
    artifacts,
    live_judgements,
    progress,
    stale_judgements,
    steps,
    utc_now,
)
from rrm.store.verify import verify
from tests.nursery import forked
from tests.rrm.session_runs import (
    SETTINGS,
    copy_of,
    digests,
    ended,
    judged_run,
    killed,
    queued,
    until,
    worked_off,
    worker_of,
)

OPTIMISE = "0/0/optimise"


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with judgements; only to be copied."""
    return judged_run(tmp_path_factory.mktemp("judged") / "run")


@pytest.fixture
def run(judged: Path, tmp_path: Path) -> Iterator[Run]:
    with Run.open(copy_of(judged, tmp_path / "run")) as opened:
        yield opened


@pytest.fixture(scope="module")
def undisturbed(judged: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, object]:
    """What a session comes to when nothing happens: its model and its points."""
    with Run.open(copy_of(judged, tmp_path_factory.mktemp("undisturbed") / "run")) as opened:
        made = worked_off(opened, queued(opened))
        return digests(opened, made.id), session_points(opened, made.id)


def test_a_session_fits_a_model_and_tells_what_it_did(run: Run, undisturbed: tuple[object, object]) -> None:
    made = start_reward_model(run, level=0, settings=SETTINGS, started_by="local", now=utc_now())
    assert state_of(run, made) is SessionState.RUNNING
    state, found = ended(run, made.id)
    assert (state, found.error, found.attempts) == (SessionState.FINISHED, None, 1)
    assert found.result is not None and found.result["judgements"] == 48
    assert [point.record["judgements"] for point in session_points(run, made.id)][-1] == 48
    assert artifact(run, made.id).settings["members"] == 3
    assert found.seconds > 0
    assert (digests(run, made.id), session_points(run, made.id)) == undisturbed
    assert verify(run.folder) == []


def test_a_fit_killed_twice_ends_with_the_same_model(run: Run, undisturbed: tuple[object, object]) -> None:
    identifier = queued(run)
    for kill in (1, 2):
        launch(run, identifier, spawn=forked)
        until(lambda kill=kill: len(session_points(run, identifier)) >= kill)  # type: ignore[misc]
        killed(run, identifier)
    assert len(session_points(run, identifier)) < 6
    assert worked_off(run, identifier).attempts == 3
    assert (digests(run, identifier), session_points(run, identifier)) == undisturbed


def test_what_it_learns_from_is_settled_when_it_begins(run: Run, undisturbed: tuple[object, object]) -> None:
    identifier = queued(run)
    launch(run, identifier, spawn=forked)
    until((run.folder / "sessions" / identifier / "plan.json").exists)
    killed(run, identifier)
    # An answer is taken back while the session lies interrupted.
    last = live_judgements(run, purpose=Purpose.TRAIN)[-1]
    undo(run, rater_id=last.rater_id, judgement_id=last.id, now=utc_now())
    worked_off(run, identifier)
    assert (digests(run, identifier), session_points(run, identifier)) == undisturbed
    assert stale_judgements(run, identifier) == 1


def test_a_stopped_session_is_resumed_where_it_was(run: Run, undisturbed: tuple[object, object]) -> None:
    identifier = queued(run)
    launch(run, identifier, spawn=forked)
    until(lambda: len(session_points(run, identifier)) >= 1)
    assert request_stop(run, identifier, now=utc_now()).stop_requested
    state, stopped = ended(run, identifier)
    assert (state, stopped.error, stopped.stop_requested) == (SessionState.STOPPED, None, False)
    assert artifacts(run) == []
    resumed = worked_off(run, identifier)
    assert resumed.attempts == 2
    assert resumed.seconds > stopped.seconds > 0
    assert (digests(run, identifier), session_points(run, identifier)) == undisturbed


def test_sigterm_is_a_request_to_stop(run: Run) -> None:
    identifier = queued(run)
    launch(run, identifier, spawn=forked)
    until(lambda: len(session_points(run, identifier)) >= 1)
    os.kill(worker_of(run), signal.SIGTERM)
    assert ended(run, identifier)[0] is SessionState.STOPPED


def test_a_worker_outlives_whoever_started_it(run: Run) -> None:
    identifier = queued(run)
    script = (
        "import os, signal, sys; from pathlib import Path; from rrm.sessions import launch; from rrm.store import Run\n"
        "launch(Run.open(Path(sys.argv[1])), sys.argv[2]); os.killpg(0, signal.SIGKILL)"
    )
    starter = subprocess.run(
        [sys.executable, "-c", script, str(run.folder), identifier], start_new_session=True, check=False
    )
    assert starter.returncode == -signal.SIGKILL
    assert state_of(run, session(run, identifier)) is SessionState.RUNNING
    assert ended(run, identifier)[0] is SessionState.FINISHED


def test_one_works_at_a_time(run: Run) -> None:
    first, second = queued(run), queued(run)
    launch(run, first, spawn=forked)
    found = running_session(run)
    assert found is not None and found.id == first
    with pytest.raises(RunError, match="Session 1 is at work on this run"):
        launch(run, second, spawn=forked)
    with pytest.raises(RunError, match="Session 1 is running, so there is nothing to start"):
        launch(run, first, spawn=forked)
    with pytest.raises(RunError, match="Session 1 is at work"):
        start_reward_model(run, level=0, settings=SETTINGS, started_by="local", now=utc_now())
    with pytest.raises(RunBusy), open_workbench(run.folder):
        pass
    assert state_of(run, session(run, second)) is SessionState.QUEUED
    assert ended(run, first)[0] is SessionState.FINISHED
    assert running_session(run) is None


def test_a_command_in_a_terminal_keeps_sessions_away(run: Run) -> None:
    identifier = queued(run)
    with run.exclusive(), pytest.raises(RunBusy, match="a command in a terminal"):
        launch(run, identifier, spawn=forked)
    with run.exclusive(), pytest.raises(RunBusy, match="a command in a terminal"):
        start_reward_model(run, level=0, settings=SETTINGS, started_by="local", now=utc_now())
    assert [each.id for each in sessions(run)] == [identifier], "what could not begin is not listed"
    assert state_of(run, session(run, identifier)) is SessionState.QUEUED
    worked_off(run, identifier)
    with pytest.raises(RunError, match="is finished, so there is nothing to start"):
        launch(run, identifier, spawn=forked)


def test_a_failed_session_says_why_and_can_be_tried_again(run: Run) -> None:
    made = create_session(
        run, kind=SessionKind.REWARD_MODEL, level=1, round=0, settings=SETTINGS, started_by="local", now=utc_now()
    )
    for attempt in (1, 2):
        launch(run, made.id, spawn=forked)
        state, found = ended(run, made.id)
        assert (state, found.attempts) == (SessionState.FAILED, attempt)
        assert found.error == (
            "Level 1 has no judgements to learn from, and a reward model needs at least 8: judge 8 more."
        )
    assert "Traceback" in log_file(run.folder, made.id).read_text()


def test_a_round_killed_in_its_optimiser_steps_is_the_round_that_was_not(judged: Path, tmp_path: Path) -> None:
    plain = copy_of(judged, tmp_path / "plain")
    with open_workbench(plain) as bench:
        played = play_round(bench, level=0, round=0)
    with Run.open(copy_of(judged, tmp_path / "session")) as run:
        identifier = queued(run, SessionKind.ROUND)
        for steps_done in (1, 2):
            launch(run, identifier, spawn=forked)
            until(lambda count=steps_done: len(progress(run, OPTIMISE)) >= count)  # type: ignore[misc]
            killed(run, identifier)
        assert len(progress(run, OPTIMISE)) < 4
        found = worked_off(run, identifier)
        assert found.result is not None and found.result["finished"] is played.finished is True
        with Run.open(plain) as undisturbed:
            for each in ("reward-model-0-0", "agent-0-0"):
                assert digests(run, each) == digests(undisturbed, each)
            assert [step.result for step in steps(run)] == [step.result for step in steps(undisturbed)]


def test_a_round_stopped_in_its_optimiser_steps_did_not_fail(judged: Path, tmp_path: Path) -> None:
    with Run.open(copy_of(judged, tmp_path / "run")) as run:
        identifier = queued(run, SessionKind.ROUND, until="optimise")
        launch(run, identifier, spawn=forked)
        until(lambda: len(progress(run, OPTIMISE)) >= 1)
        request_stop(run, identifier, now=utc_now())
        state, _ = ended(run, identifier)
        assert state is SessionState.STOPPED
        assert {step.name: (step.status, step.error) for step in steps(run)}["optimise"] == (StepStatus.RUNNING, None)
        worked_off(run, identifier)
        assert steps(run)[-1].name == "optimise" and steps(run)[-1].finished
