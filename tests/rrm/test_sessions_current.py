"""Which reward model is current, and the order in which people are asked by it."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from reward_models.errors import InvalidInput
from rrm.config import Configuration
from rrm.errors import RunCorrupt, RunError
from rrm.judging.desk import Desk
from rrm.judging.queue import answer, draw_any
from rrm.people.accounts import Person, Role
from rrm.run_folder import open_run_folder
from rrm.sessions import SessionKind, SessionState, SessionStatus, create_session, request_stop, session, state_of
from rrm.sessions.current import (
    Prediction,
    asking_order,
    current_model,
    make_current,
    predictions_file,
    predictions_of,
    written_predictions,
)
from rrm.sessions.store import begin_attempt, end_session, record_heartbeat
from rrm.store import (
    ArtifactKind,
    Choice,
    Purpose,
    Rater,
    RaterKind,
    Run,
    Stage,
    artifacts,
    comparisons,
    decisions,
    promoted_agent,
    put_rater,
    register_artifact,
    utc_now,
)
from rrm.store.transaction import rows
from rrm.store.waiting import asked_because, reasons
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.writing import write_whole
from tests.ui.page.filled_runs import people_run

NOW = "2026-01-02T03:04:05Z"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with open_run_folder(people_run(tmp_path / "run", comparisons=60)) as opened:
        put_rater(opened.run, Rater("ann", "Ann", RaterKind.PERSON))
        yield opened.run


def finished_session(run: Run, spreads: dict[str, float]) -> str:
    """A session that has made a model, without the work."""
    made = create_session(
        run, kind=SessionKind.REWARD_MODEL, level=0, round=0, settings={}, started_by="local", now=NOW
    ).id
    predictions = [Prediction(one, None, 0.6, None, spread) for one, spread in spreads.items()]
    write_whole(predictions_file(run.folder, made), written_predictions(predictions))
    model(run, made)
    end_session(run, made, status=SessionStatus.FINISHED, seconds=1.0, now=NOW, result={})
    return made


def model(run: Run, identifier: str) -> None:
    folder = run.models / identifier
    folder.mkdir()
    (folder / "weights").write_text(identifier)
    register_artifact(
        run,
        id=identifier,
        kind=ArtifactKind.REWARD_MODEL,
        level=0,
        round=0,
        folder=f"models/{identifier}",
        settings={},
        now=NOW,
    )


def places(run: Run, purpose: str) -> dict[str, float]:
    found = rows(run.database, "SELECT comparison_id, place FROM waiting WHERE purpose = ?", (purpose,))
    return {str(row["comparison_id"]): float(row["place"] or 0) for row in found}


def spreads_of(run: Run) -> dict[str, float]:
    """Spreads in an order that has nothing to do with that of asking."""
    known = [each.id for each in comparisons(run, purpose=Purpose.TRAIN)]
    return {identifier: (place * 7 % len(known)) / 100 for place, identifier in enumerate(known)}


def test_what_waits_is_asked_by_spread_with_a_random_share(run: Run) -> None:
    spreads, before, held_out = spreads_of(run), places(run, "train"), places(run, "validation")
    made = finished_session(run, spreads)
    assert make_current(run, made, by="local", now=utc_now()) == 48
    after = places(run, "train")
    assert sorted(after.values()) == sorted(before.values())
    assert places(run, "validation") == held_out
    order = sorted(after, key=lambda identifier: after[identifier])
    reasons = [asked_because(run, identifier) for identifier in order]
    assert reasons.count("random") == 10 and reasons.count("spread") == 38
    by_spread = [spreads[one] for one, reason in zip(order, reasons, strict=True) if reason == "spread"]
    assert by_spread == sorted(by_spread, reverse=True)
    drawn = draw_any(run, rater_id="ann", count=60, now=utc_now())
    assert [one.comparison.id for one in drawn if one.comparison.purpose is Purpose.TRAIN] == order


def test_what_was_judged_keeps_its_place(run: Run) -> None:
    leased = draw_any(run, rater_id="ann", count=1, now=utc_now())[0]
    answer(run, leased.lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=utc_now())
    before = places(run, "train")[leased.comparison.id]
    assert make_current(run, finished_session(run, spreads_of(run)), by="local", now=utc_now()) == 47
    assert places(run, "train")[leased.comparison.id] == before


def test_what_waits_is_asked_in_the_order_that_the_session_left(run: Run) -> None:
    waits = list(places(run, "train"))
    wanted = sorted(waits, key=lambda identifier: identifier[::-1])
    made = finished_session(run, dict.fromkeys(waits, 0.1))
    # The last two began to wait after the session had ended, and are asked behind the others.
    kept = [
        Prediction(one, None, 0.6, None, 0.1, place, "bald" if place % 2 else "random")
        for place, one in enumerate(wanted[:-2])
    ]
    late = [Prediction(one, None, 0.6, None, 0.1) for one in wanted[-2:]]
    write_whole(predictions_file(run.folder, made), written_predictions([*late, *kept]))
    make_current(run, made, by="local", now=utc_now())
    after = places(run, "train")
    order = sorted(after, key=lambda identifier: after[identifier])
    assert order[:-2] == wanted[:-2] and set(order[-2:]) == set(wanted[-2:])
    assert [asked_because(run, one) for one in order[:4]] == ["random", "bald", "random", "bald"]
    assert reasons(run, order[:2]) == {order[0]: "random", order[1]: "bald"}


def test_predictions_of_an_older_session_are_read(run: Run) -> None:
    made = finished_session(run, {})
    stored = {"comparison_id": "c", "before": None, "after": 0.6, "spread_before": None, "spread": 0.1}
    write_whole(predictions_file(run.folder, made), json.dumps([stored]).encode())
    assert predictions_of(run, made) == [Prediction("c", None, 0.6, None, 0.1, None, None)]


def test_a_random_share_is_in_every_beginning() -> None:
    order = asking_order([float(place) for place in range(1000)], random=Random(0))
    assert sorted(place for place, _ in order) == list(range(1000))
    for begin in range(0, 1000, 200):
        share = sum(reason == "random" for _, reason in order[begin : begin + 200]) / 200
        assert 0.1 < share < 0.3
    assert asking_order([], random=Random(0)) == []
    assert asking_order([0.5], random=Random(0)) == [(0, "random")]


def test_the_last_choice_counts_and_is_made_once(run: Run) -> None:
    one, other = finished_session(run, spreads_of(run)), finished_session(run, spreads_of(run))
    for chosen, decided in ((one, 1), (one, 1), (other, 2), (one, 3), (other, 4)):
        make_current(run, chosen, by="ann", now=utc_now())
        found = current_model(run, 0)
        assert found is not None and found.id == chosen
        assert len(decisions(run, level=0)) == decided
    assert decisions(run)[-1].record == {"by": "ann", "before": one}
    assert promoted_agent(run, 0) is None


def test_a_round_s_own_model_is_current_until_somebody_chooses(run: Run) -> None:
    assert current_model(run, 0) is None
    made = finished_session(run, spreads_of(run))
    assert current_model(run, 0) is None
    model(run, "reward-model-0-0")
    assert [each.id for each in artifacts(run)] == [made, "reward-model-0-0"]
    found = current_model(run, 0)
    assert found is not None and found.id == "reward-model-0-0"
    make_current(run, made, by="local", now=utc_now())
    found = current_model(run, 0)
    assert found is not None and found.id == made


def test_only_a_finished_reward_model_can_be_current(run: Run) -> None:
    made = create_session(
        run, kind=SessionKind.REWARD_MODEL, level=0, round=0, settings={}, started_by="local", now=NOW
    )
    with pytest.raises(RunError, match="Session 1 has no finished reward model"):
        make_current(run, made.id, by="local", now=utc_now())
    played = create_session(run, kind=SessionKind.ROUND, level=0, round=0, settings={}, started_by="local", now=NOW)
    end_session(run, played.id, status=SessionStatus.FINISHED, seconds=1.0, now=NOW, result={})
    with pytest.raises(RunError, match="Session 2 has no finished reward model"):
        make_current(run, played.id, by="local", now=utc_now())
    broken = finished_session(run, {})
    predictions_file(run.folder, broken).unlink()
    with pytest.raises(RunCorrupt, match="start another session"):
        make_current(run, broken, by="local", now=utc_now())
    assert decisions(run) == []


def test_a_session_goes_through_its_states(run: Run) -> None:
    made = create_session(run, kind=SessionKind.ROUND, level=0, round=0, settings={}, started_by="local", now=NOW)
    assert state_of(run, made) is SessionState.QUEUED
    # Begun, and nobody holds its lock: its process has died.
    begin_attempt(run, made.id, now=NOW)
    record_heartbeat(run, made.id, message="optimise", done=2, total=4, seconds=5.0, now=NOW)
    assert state_of(run, session(run, made.id)) is SessionState.INTERRUPTED
    stopped = request_stop(run, made.id, now=NOW)
    assert state_of(run, stopped) is SessionState.STOPPED
    # The time before the pause stays counted.
    assert (stopped.seconds, begin_attempt(run, made.id, now=NOW).seconds) == (5.0, 5.0)
    end_session(run, made.id, status=SessionStatus.FINISHED, seconds=8.0, now=NOW, result={"finished": True})
    with pytest.raises(RunError, match="Session 1 is finished already"):
        request_stop(run, made.id, now=NOW)
    with pytest.raises(RunError, match="start a new one"):
        begin_attempt(run, made.id, now=NOW)
    with pytest.raises(InvalidInput, match="no session 'session-9'"):
        session(run, "session-9")


def test_what_the_current_model_says_is_told_with_who_wrote_what_by_side(run: Run) -> None:
    made = finished_session(run, spreads_of(run))
    make_current(run, made, by="local", now=NOW)
    config = Configuration.model_validate({"judging": {"repeat_share": 0.0}})
    desk = Desk(run=run, task=Shiftlog(seed=0), config=config, person=Person("ann", "Ann", Role.RATER))
    told = []
    for drawn in draw_any(run, rater_id="ann", count=12, now=utc_now()):
        answer(run, drawn.lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=utc_now())
        expected = 0.6 if drawn.first_on_left else 0.4
        said = desk.reveal(drawn.lease_id, now=utc_now()).left_probability
        if drawn.comparison.purpose is Purpose.TRAIN:
            assert said == pytest.approx(expected)
            told.append(expected)
        else:
            assert said is None, "the session predicted nothing about it"
    assert set(told) == {0.4, 0.6}
