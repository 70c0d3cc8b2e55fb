"""The ladder says how every round stands, who helps, and what to do next; leads start, pause and decide."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rrm.errors import NotAllowed, RunBusy, RunError
from rrm.judging.queue import answer, draw_any
from rrm.ladder import ladder
from rrm.opening import open_workbench
from rrm.people.accounts import LOCAL, Person, Role
from rrm.playing import decide, pause, play
from rrm.rounds import play_round
from rrm.run_folder import RunFolder, open_run_folder
from rrm.rungs import Ladder, RoundState
from rrm.sessions import SessionKind, create_session, session, sessions, state_of
from rrm.sessions.records import SessionState, SessionStatus
from rrm.sessions.store import begin_attempt, end_session
from rrm.standing import STEPS, assistant, decide_promotion, decision_on, incumbent, next_round
from rrm.starting import start_run
from rrm.store import (
    Choice,
    Rater,
    RaterKind,
    Run,
    Stage,
    begin_step,
    decisions,
    fail_step,
    put_rater,
    step_key,
    utc_now,
)
from tests.rrm.session_runs import ended
from tests.rrm.small_runs import SMALL
from tests.rrm.watched_runs import NOW

RATER = Person(rater_id="ann", name="Ann", role=Role.RATER)
LEAD = Person(rater_id="lea", name="Lea", role=Role.LEAD)
PEOPLE = (*SMALL, "judging.rater=people", "judging.planted_share=0", "judging.repeat_share=0", "rounds.promotion=ask")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of people whose first round waits for judgements."""
    folder = tmp_path_factory.mktemp("asked") / "run"
    start_run(folder, PEOPLE)
    with open_workbench(folder) as bench:
        play_round(bench, level=0, round=0)
    return folder


@pytest.fixture(scope="module")
def undecided(asked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, judged and trained: its promotion waits for a decision."""
    folder = Path(shutil.copytree(asked, tmp_path_factory.mktemp("undecided") / "run"))
    with open_workbench(folder) as bench:
        for _ in range(2):
            answer_all(bench.run)
            play_round(bench, level=0, round=0)
    return folder


def answer_all(run: Run) -> None:
    put_rater(run, Rater("ann", "Ann", RaterKind.PERSON))
    while leased := draw_any(run, rater_id="ann", count=50, now=utc_now()):
        for lease in leased:
            shorter = Choice.FIRST if len(lease.first_text) <= len(lease.second_text) else Choice.SECOND
            answer(run, lease.lease_id, stage=Stage.ALONE, choice=shorter, now=utc_now())


@contextmanager
def opened(folder: Path, tmp_path: Path) -> Iterator[RunFolder]:
    """A copy to work on."""
    copied = shutil.copytree(folder, tmp_path / "copy", dirs_exist_ok=True)
    with open_run_folder(Path(copied)) as found:
        yield found


def look(found: RunFolder) -> Ladder:
    return ladder(found.run, found.config)


def states(found: RunFolder) -> list[RoundState]:
    return [one.state for level in look(found).levels for one in level.rounds]


def test_a_new_run_is_ready_at_the_bottom(tmp_path: Path) -> None:
    start_run(tmp_path / "run", [*PEOPLE, "rounds.rounds_per_level=2"])
    with open_run_folder(tmp_path / "run") as found:
        seen = look(found)
        assert states(found) == [RoundState.READY, *[RoundState.NOT_BEGUN] * 3]
    assert [(level.agent, level.assistant) for level in seen.levels] == [("base", None), ("base", "base")]
    assert seen.current is not None
    assert (seen.current.level, seen.current.round, seen.current.done) == (0, 0, 0)
    assert "about 42 comparisons" in seen.current.todo
    assert [step.name for step in seen.current.steps] == list(STEPS)
    assert {step.status for step in seen.current.steps} == {"to do"}
    assert (seen.rater, seen.session, seen.worked_on) == ("people", None, False)


def test_a_climbed_run_is_over_everywhere(finished: Path) -> None:
    with open_run_folder(finished) as found:
        seen, decided = look(found), decisions(found.run)
    assert seen.current is None
    assert seen.rater == "simulated"
    verdicts = [RoundState.PROMOTED if one.promoted else RoundState.REFUSED for one in decided]
    assert [level.state for level in seen.levels] == verdicts
    for level, decision in zip(seen.levels, decided, strict=True):
        one = level.rounds[0]
        assert one.evidence is not None and one.evidence.wins is not None
        assert (one.evidence.wins.value, one.evidence.wins.n) == (decision.record["win_rate"], 8)
        assert (one.evidence.new, one.evidence.old) == (f"agent-{level.level}-0", "base")
        assert one.decided_by is None
        assert all(step.status == "done" and step.attempts == 1 for step in one.steps)
        assert all(step.seconds is not None and step.seconds >= 0 for step in one.steps)


def test_it_waits_for_judgements_and_then_goes_on(asked: Path, tmp_path: Path) -> None:
    with opened(asked, tmp_path) as found:
        one = look(found).current
        assert one is not None
        assert (one.state, one.missing, one.done) == (RoundState.WAITS_FOR_JUDGEMENTS, 30 + 12, 3)
        assert one.todo.startswith("42 judgements are missing.")
        answer_all(found.run)
        one = look(found).current
        assert one is not None
        assert (one.state, one.missing) == (RoundState.READY, 0)
        assert one.todo == "Nothing is missing: go on with it."


def test_a_step_that_failed_and_one_that_was_killed(asked: Path, tmp_path: Path) -> None:
    with opened(asked, tmp_path) as found:
        answer_all(found.run)
        begin_step(found.run, level=0, round=0, name="judge", now=utc_now())
        assert states(found)[0] is RoundState.INTERRUPTED
        with found.run.exclusive():
            # Somebody holds the run: a command in a terminal.
            assert states(found)[0] is RoundState.RUNNING
        fail_step(found.run, step_key(level=0, round=0, name="judge"), "RunError: the disk is full", now=utc_now())
        one = look(found).current
        assert one is not None
        assert (one.state, one.steps[3].error) == (RoundState.FAILED, "the disk is full.")
        assert one.todo == "the disk is full. Resume it to try again."


@pytest.mark.parametrize(
    ("status", "state"), [(SessionStatus.STOPPED, RoundState.PAUSED), (SessionStatus.FAILED, RoundState.FAILED)]
)
def test_how_a_session_ended_is_how_its_round_stands(tmp_path: Path, status: SessionStatus, state: RoundState) -> None:
    start_run(tmp_path / "run", PEOPLE)
    with open_run_folder(tmp_path / "run") as found:
        made = create_session(
            found.run, kind=SessionKind.ROUND, level=0, round=0, settings={}, started_by="lea", now=NOW
        ).id
        begin_attempt(found.run, made, now=NOW)
        assert states(found)[0] is RoundState.INTERRUPTED
        end_session(found.run, made, status=status, seconds=1.0, error="It broke.", now=NOW)
        assert states(found)[0] is state
        # Work that came later, from a terminal, is what counts then.
        begin_step(found.run, level=0, round=0, name="sample", now=utc_now())
        assert states(found)[0] is RoundState.INTERRUPTED


def test_a_promotion_waits_for_a_decision_with_its_evidence(undecided: Path, tmp_path: Path) -> None:
    with opened(undecided, tmp_path) as found:
        one = look(found).current
        assert one is not None
        assert one.state is RoundState.WAITS_FOR_DECISION
        assert one.evidence is not None and one.evidence.wins is not None
        assert one.evidence.wins.n == 8
        assert one.evidence.beats == (one.evidence.wins.low > 0.5)
        with pytest.raises(NotAllowed, match="only a lead"):
            decide(found.run, level=0, round=0, promoted=True, by=RATER, now=NOW)
        decide(found.run, level=0, round=0, promoted=True, by=LEAD, now=NOW)
        seen = look(found)
        assert seen.levels[0].rounds[0].decided_by == "lea"
        assert (seen.levels[0].agent, seen.levels[1].assistant) == ("agent-0-0", "agent-0-0")
        assert states(found) == [RoundState.PROMOTED, RoundState.READY]
        with pytest.raises(RunError, match="waits for a decision"):
            decide(found.run, level=0, round=0, promoted=False, by=LEAD, now=NOW)


def test_a_refused_agent_does_not_stand(undecided: Path, tmp_path: Path) -> None:
    with opened(undecided, tmp_path) as found:
        decide(found.run, level=0, round=0, promoted=False, by=LEAD, now=NOW)
        assert states(found) == [RoundState.REFUSED, RoundState.READY]
        assert look(found).levels[1].assistant == "base"
        decision = decision_on(found.run, level=0, round=0)
        assert decision is not None
        assert (decision.promoted, decision.record["decided_by"]) == (False, "lea")


def test_who_stands_is_what_the_workbench_says(undecided: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(undecided, tmp_path / "run"))
    with open_workbench(folder) as bench:
        decide_promotion(bench.run, level=0, round=0, promoted=True, now=NOW)
        for level in (0, 1):
            assert bench.incumbent(level) == incumbent(bench.run, level)
            assert bench.assistant(level) == assistant(bench.run, bench.config, level)
        assert next_round(bench.run, bench.config) == (1, 0)


def test_a_rater_may_look_but_not_act(tmp_path: Path) -> None:
    start_run(tmp_path / "run", PEOPLE)
    with open_run_folder(tmp_path / "run") as found:
        with pytest.raises(NotAllowed, match="Ann is a rater"):
            play(found.run, found.config, by=RATER, climb=False, now=NOW)
        with pytest.raises(NotAllowed, match="Ann is a rater"):
            pause(found.run, by=RATER, now=NOW)
        assert sessions(found.run) == []
        with pytest.raises(RunError, match="nothing to pause"):
            pause(found.run, by=LOCAL, now=NOW)


@pytest.mark.usefixtures("forked_workers")
def test_a_round_is_started_in_a_worker_and_waits_for_people(tmp_path: Path) -> None:
    start_run(tmp_path / "run", PEOPLE)
    with open_run_folder(tmp_path / "run") as found:
        made = play(found.run, found.config, by=LEAD, climb=False, now=utc_now())
        assert (made.kind, made.level, made.round, made.started_by) == (SessionKind.ROUND, 0, 0, "lea")
        assert states(found)[0] is RoundState.RUNNING
        assert look(found).worked_on
        with pytest.raises(RunBusy, match=f"Session {made.number} is at work"):
            play(found.run, found.config, by=LEAD, climb=False, now=utc_now())
        state, _ = ended(found.run, made.id)
        assert state is SessionState.FINISHED
        one = look(found).current
        assert one is not None
        assert (one.state, one.missing) == (RoundState.WAITS_FOR_JUDGEMENTS, 42)


@pytest.mark.usefixtures("forked_workers")
def test_a_round_is_paused_and_resumed_as_the_same_session(tmp_path: Path) -> None:
    start_run(tmp_path / "run", [*SMALL, "agent.steps=400", "run.levels=1"])
    with open_run_folder(tmp_path / "run") as found:
        made = play(found.run, found.config, by=LEAD, climb=False, now=utc_now())
        stopping = pause(found.run, by=LEAD, now=utc_now())
        assert stopping.stop_requested
        state, _ = ended(found.run, made.id)
        assert state is SessionState.STOPPED
        assert states(found) == [RoundState.PAUSED]
        again = play(found.run, found.config, by=LEAD, climb=False, now=utc_now())
        assert (again.id, again.attempts) == (made.id, 2)
        pause(found.run, by=LEAD, now=utc_now())
        ended(found.run, made.id)
        # With another wish it is another session.
        other = play(found.run, found.config, by=LEAD, climb=True, now=utc_now())
        assert (other.id != made.id, other.settings) == (True, {"climb": True})
        pause(found.run, by=LEAD, now=utc_now())
        ended(found.run, other.id)
        assert state_of(found.run, session(found.run, other.id)) is SessionState.STOPPED


def test_at_the_top_there_is_nothing_to_start(finished: Path) -> None:
    with open_run_folder(finished) as found, pytest.raises(RunError, match="Every round of this run is over"):
        play(found.run, found.config, by=LEAD, climb=False, now=NOW)
