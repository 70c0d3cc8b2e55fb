"""The rooms about what reward models know: with nothing, with one answer, and with numbers that are known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rrm.sessions import SessionKind, SessionStatus, create_session
from rrm.sessions.store import end_session
from rrm.store import Run, begin_step, finish_step, record_progress, step_key
from rrm.watching.choosing import choosings
from rrm.watching.fits import Fit, fits
from rrm.watching.honesty import honesty_of
from rrm.watching.optimisation import Moment, Optimisation, optimisations
from rrm.watching.room import Room
from rrm.watching.rooms import training_rooms
from rrm.watching.rooms_of_rewards import CHOOSING, HONESTY, SHIFT, choosing_room, honesty_room, shift_room
from rrm.watching.shares import Share, share
from rrm.watching.shift import AGENT, NEXT, OWN, Shifted, shifted
from tests.rrm.watched_runs import NOW, watched


def part(name: str, n: int, accuracy: float, half: float = 0.1, **more: float) -> dict[str, Any]:
    """Some answers as a record has them."""
    low, high = max(0.0, accuracy - half), min(1.0, accuracy + half)
    return {"name": name, "comparisons": n, "accuracy": accuracy, "low": low, "high": high, **more}


def honesty(**changed: object) -> dict[str, Any]:
    return {
        "members": 5,
        "overall": part("all", 90, 0.7),
        "thirds": [
            part("least", 30, 0.9, spread=0.01),
            part("middle", 30, 0.7, spread=0.05),
            part("most", 30, 0.5, spread=0.2),
        ],
        "auroc_spread": 0.66,
        "auroc_closeness": 0.61,
        "spearman": 0.31,
        "domains": [part("longer documents", 40, 0.6), part("shorter documents", 50, 0.78)],
        "worst_domain": "longer documents",
        **changed,
    }


def fit(result: Mapping[str, object], *, name: str = "Level 0, round 0", round: int = 0) -> Fit:
    return Fit(name, 0, round, True, result)


def asked(name: str, n: int, accuracy: float, loss: float) -> dict[str, Any]:
    return part(name, n, accuracy, loss=loss, spread=0.1, information=0.02)


def before(*parts: Mapping[str, object], held_out: Mapping[str, object] | None = None) -> dict[str, Any]:
    return {"before": {"model": "reward-model-0-0", "asked": list(parts), "held_out": held_out}}


def check(room: Room) -> None:
    """A room with numbers is whole: a row as long as the heads, and sentences that end."""
    assert room.table is not None
    assert all(len(row) == len(room.table.columns) for row in room.table.rows)
    assert room.svg is None or room.svg.startswith("<svg")
    assert all(remark.endswith(".") for remark in room.remarks)


def test_honesty_says_what_disagreement_is_worth() -> None:
    room = honesty_room(honesty_of(fit({"honesty": honesty()})))
    check(room)
    assert room.svg is not None and "most disagreement 50% right" in room.svg
    assert "wrong one in 66 of 100 cases" in room.remarks[0] and "one half in 61" in room.remarks[0]
    assert "error: +0.31" in room.remarks[0]
    assert "worst on longer documents: 60% (50% to 70%) of 40" in room.remarks[1]
    assert room.table is not None
    assert [(row[0], row[1]) for row in room.table.rows] == [
        ("all", 90), ("least disagreement", 30), ("middle disagreement", 30), ("most disagreement", 30),
        ("longer documents", 40), ("shorter documents", 50),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (honesty(members=1, thirds=[], spearman=None), "has a single member"),
        (
            honesty(overall=part("all", 1, 1.0), thirds=[], auroc_spread=None, auroc_closeness=None),
            "not both here",
        ),
        (honesty(thirds=[part("least", 1, 1.0), part("middle", 1, 0.0), part("most", 1, 0.5)]), "66 of 100"),
        (honesty(domains=[part("all documents", 90, 0.7)]), "66 of 100"),
        (honesty(domains=[]), "66 of 100"),
    ],
)
def test_honesty_survives_little(record: Mapping[str, object], said: str) -> None:
    room = honesty_room(honesty_of(fit({"honesty": record})))
    check(room)
    assert said in room.remarks[0]
    assert (room.svg is None) == (not record["thirds"])
    assert len(room.remarks) == (2 if len(record["domains"]) > 1 else 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("result", [{}, {"honesty": None}, {"honesty": {"members": 5}}, {"honesty": "?"}])
def test_a_fit_without_the_record_has_no_honesty(result: Mapping[str, object]) -> None:
    assert honesty_of(fit(result)) is None
    assert honesty_room(None) is HONESTY


def test_chosen_questions_stand_beside_random_ones() -> None:
    result = before(asked("spread", 80, 0.55, 0.7), asked("random", 20, 0.8, 0.5))
    found = choosings([fit({}), fit(result, name="Level 0, round 1", round=1)])
    assert [(one.name, one.before) for one in found] == [("Level 0, round 1", "reward-model-0-0")]
    assert found[0].random is not None and found[0].chosen is not None
    assert (found[0].random.right.value, found[0].chosen.right.value) == (0.8, 0.55)
    room = choosing_room(found)
    check(room)
    assert "80% (70% to 90%) of 20 answers to random questions" in room.remarks[0]
    assert "surprised it more (0.70 against 0.50 nats)" in room.remarks[0]
    assert room.table is not None and [row[1] for row in room.table.rows] == [
        "drawn at random", "chosen by disagreement",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([asked("bald", 1, 1.0, 0.1)], "nothing was drawn at random"),
        ([asked("random", 1, 0.0, 0.9), asked("double_thompson", 1, 1.0, 0.2)], "surprised it no more"),
    ],
)
def test_choosing_survives_little(parts: list[dict[str, Any]], said: str) -> None:
    room = choosing_room(choosings([fit(before(*parts))]))
    check(room)
    assert said in room.remarks[0] and room.svg is not None


@pytest.mark.parametrize("result", [{}, {"before": None}, before(), before(asked("random", 20, 0.8, 0.5))])
def test_without_chosen_questions_there_is_nothing_to_show(result: Mapping[str, object]) -> None:
    assert choosing_room(choosings([fit(result)])) is CHOOSING


def step(run: Run, name: str, result: Mapping[str, object], *, round: int = 0) -> None:
    begin_step(run, level=0, round=round, name=name, now=NOW)
    finish_step(run, step_key(level=0, round=round, name=name), result, now=NOW)


def test_shift_holds_a_model_s_own_answers_against_those_about_its_agent(tmp_path: Path) -> None:
    with watched(tmp_path / "run") as opened:
        run = opened.run
        step(run, "fit", {"honesty": honesty()})
        assert shift_room(shifted(run, fits(run)), []) is SHIFT
        step(run, "promote", {"reward_model": part("agent-0-0 and base", 60, 0.5, spread=0.3)})
        found = shifted(run, fits(run))
        assert [(one.where, one.written_by, one.right.value) for one in found] == [
            (OWN, None, 0.7), (AGENT, "agent-0-0 and base", 0.5),
        ]  # fmt: skip
        room = shift_room(found, [])
        check(room)
        assert "70% of 90 answers" in room.remarks[0] and "50% of 60 about its agent (-20 points)" in room.remarks[0]
        # 0.6 to 0.8 and 0.4 to 0.6 touch.
        assert "overlap" in room.remarks[0]
        step(run, "fit", before(held_out=part("agent-0-0", 30, 0.6, spread=0.2)), round=1)
        assert [(one.name, one.where) for one in shifted(run, fits(run))] == [
            ("Level 0, round 0", OWN), ("Level 0, round 0", NEXT), ("Level 0, round 0", AGENT),
        ]  # fmt: skip


def test_a_model_of_an_older_version_has_its_held_out_answers_beside_newer_ones(tmp_path: Path) -> None:
    with watched(tmp_path / "run") as opened:
        run = opened.run
        step(run, "fit", {"held_out": {"accuracy": 0.75, "comparisons": 12}})
        step(run, "fit", before(held_out=part("base", 30, 0.6)), round=1)
        own, following = shifted(run, fits(run))
        # Wilson's interval of 9 out of 12.
        assert own.right == share(9, 12) and (following.where, following.right.value) == (NEXT, 0.6)


def test_disagreement_along_the_way_is_drawn_where_it_was_measured(tmp_path: Path) -> None:
    with watched(tmp_path / "run") as opened:
        run = opened.run
        step(run, "fit", {"honesty": honesty()})
        step(run, "promote", {"reward_model": part("agent-0-0 and base", 1, 1.0, 0.5)})
        begin_step(run, level=0, round=0, name="optimise", now=NOW)
        key = step_key(level=0, round=0, name="optimise")
        record_progress(run, key, 0, {"reward": 0.1, "kl": 0.0}, now=NOW)
        plain = shift_room(shifted(run, fits(run)), optimisations(run))
        assert len(plain.remarks) == 1
        for place, spread in ((0, 0.2), (1, 0.5)):
            record = {"reward": 0.1, "kl": 1.0 * place, "member_spread": spread, "reward_spread": 1.0 - place}
            record_progress(run, key, place, record, now=NOW)
        trainings = optimisations(run)
        assert trainings[0].moments[1] == Moment(1, 0.1, 1.0, 0.0, 0.5)
        room = shift_room(shifted(run, fits(run)), trainings)
        check(room)
        assert "from 0.20 to 0.50 logits" in room.remarks[1] and "from 1.00 to 0.00" in room.remarks[1]
        assert room.svg is not None and plain.svg is not None and room.svg != plain.svg


def test_a_training_that_was_measured_from_its_middle_on_is_drawn_and_not_told() -> None:
    """A run that an older version began and this one ended."""
    moments = (Moment(0, 0.0, 0.0), Moment(1, 0.1, 1.0, 0.5, 0.3))
    training = Optimisation(0, 0, True, moments, None, None, None)
    right = Share(0.7, 0.6, 0.8, 90)
    rows = [Shifted("Level 0, round 0", 0, 0, where, None, right, None) for where in (OWN, AGENT)]
    room = shift_room(rows, [training])
    check(room)
    assert len(room.remarks) == 1 and room.svg is not None


def test_many_models_are_in_the_table_and_the_last_in_the_picture() -> None:
    found = choosings(
        [
            fit(before(asked("random", 5, 0.8, 0.4), asked("spread", 9, 0.6, 0.6)), name=f"Level 0, round {round}")
            for round in range(1, 20)
        ]
    )
    room = choosing_room(found)
    check(room)
    assert room.table is not None and len(room.table.rows) == 38
    assert room.svg is not None and "round 19" in room.svg and "round 3:" not in room.svg


def test_the_chosen_reward_model_is_the_one_whose_honesty_is_shown(tmp_path: Path) -> None:
    with watched(tmp_path / "run") as opened:
        run = opened.run
        step(run, "fit", {"honesty": honesty(), "held_out_predictions": [[0.7, 1.0]]})
        made = create_session(
            run, kind=SessionKind.REWARD_MODEL, level=0, round=0, settings={}, started_by="local", now=NOW
        )
        result = {"honesty": honesty(auroc_spread=0.99), "held_out_predictions": [[0.7, 1.0]], "changes": None}
        end_session(run, made.id, status=SessionStatus.FINISHED, seconds=1.0, now=NOW, result=result)
        for name, said in ((None, "Session 1"), ("Session 1", "Session 1"), ("Level 0, round 0", "Level 0, round 0")):
            rooms = {room.key: room for room in training_rooms(run, reward_model=name)}
            assert rooms["honesty"].remarks[0].startswith(f"{said}: ")
            assert rooms["calibration"].remarks[0].startswith(f"{said}: ")


def test_a_played_run_fills_the_rooms(finished: Path) -> None:
    with Run.open(finished) as run:
        rooms = {room.key: room for room in training_rooms(run)}
    for key in ("honesty", "shift"):
        check(rooms[key])
        assert rooms[key].svg is not None
    assert "members' disagreement about its completions went from" in rooms["shift"].remarks[-1]
    # A level has one round here, so nothing was chosen.
    assert rooms["choosing"] is CHOOSING
