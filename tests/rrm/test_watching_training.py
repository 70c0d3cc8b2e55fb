"""Figures about reward models and agents, against numbers computed by hand; rooms and what they say."""

from pathlib import Path

import pytest

from rrm.store import Run, begin_step, finish_step, record_progress, step_key, step_result
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.transcripts import transcripts_file, written_transcripts
from rrm.watching.depth import error_by_depth
from rrm.watching.memory import Memory
from rrm.watching.optimisation import Moment, Worth, moments, optimisations
from rrm.watching.pictures import smoothed
from rrm.watching.pictures_of_training import series
from rrm.watching.reliability import bins_of, reliabilities
from rrm.watching.room import Room, Show
from rrm.watching.rooms import judging_rooms, reward_model_names, training_rooms
from rrm.watching.rooms_of_agents import learning_room, newest_transcripts, spending_room
from rrm.watching.rooms_of_judging import sides_in_words
from rrm.watching.shares import share
from tests.rrm.test_inspecting import made
from tests.rrm.watched_runs import NOW, RIGHT, ask, give, watched


def test_bins_fold_to_the_preferred_side() -> None:
    found = bins_of([(0.9, 1.0), (0.1, 0.0), (0.98, 0.0), (0.55, 0.5), (0.42, 1.0)])
    # 0.9 and 0.1 say the same, as do 0.42 and 0.58; a tie agrees by half.
    assert [one.predicted for one in found] == pytest.approx([(0.55 + 0.58) / 2, 0.9, 0.98])
    assert [one.answered.value for one in found] == pytest.approx([0.25, 1.0, 0.0])
    assert [one.answered.n for one in found] == [2, 2, 1]


def test_bins_do_not_care_which_completion_stood_first() -> None:
    pairs = [(0.9, 1.0), (0.3, 1.0), (0.61, 0.5), (0.99, 1.0), (0.5, 0.0)]
    swapped = [(1 - p, 1 - y) for p, y in pairs if p != 0.5]
    assert [one.answered for one in bins_of(swapped)] == [
        one.answered for one in bins_of([p for p in pairs if p[0] != 0.5])
    ]
    assert bins_of([]) == ()


def test_every_fitted_reward_model_has_its_reliability(finished: Path) -> None:
    with Run.open(finished) as run:
        found = reliabilities(run)
        result = step_result(run, step_key(level=1, round=0, name="fit"))
    assert [one.name for one in found] == ["Level 0, round 0", "Level 1, round 0"]
    assert result is not None
    predictions, held_out = result["held_out_predictions"], result["held_out"]
    assert isinstance(predictions, list) and isinstance(held_out, dict)
    last = found[-1]
    assert last.judgements == len(predictions) == held_out["comparisons"] == sum(one.answered.n for one in last.bins)
    assert (last.accuracy, last.ece, last.temperature) == tuple(
        held_out[name] for name in ("accuracy", "ece", "temperature")
    )
    # The stored predictions are those that the figures were computed from.
    right = sum(y if p > 0.5 else 1 - y for p, y in predictions) / len(predictions)
    assert right == pytest.approx(last.accuracy)


def test_reward_along_the_distance_with_what_a_report_measured(tmp_path: Path) -> None:
    with watched(tmp_path / "run") as opened:
        run = opened.run
        key = step_key(level=0, round=0, name="optimise")
        begin_step(run, level=0, round=0, name="optimise", now=NOW)
        for step, (reward, kl) in enumerate([(0.5, 0.0), (1.5, 4.0), (2.0, 9.0)]):
            record_progress(run, key, step, {"reward": reward, "kl": kl}, now=NOW)
        running = optimisations(run)[0]
        assert (running.finished, running.base, running.agent, running.win_rate) == (False, None, None, None)
        assert running.moments == (Moment(0, 0.5, 0.0), Moment(1, 1.5, 4.0), Moment(2, 2.0, 9.0))
        assert [one.distance for one in running.moments] == [0.0, 2.0, 3.0]
        results = {
            "optimise": {"agent": "agent-0-0"},
            "promote": {"win_rate": 0.75, "low": 0.5, "high": 0.9, "judgements": 8},
            "measure": {
                "level": 0,
                "policy": {"base": {"gold": 0.2, "kl": 0.0}, "agent": {"gold": 0.6, "kl": 9.0}},
                "rater": {"alone": {"accuracy": 0.9, "n": 10}, "assistant": None, "assisted": None},
            },
        }
        for name, result in results.items():
            begin_step(run, level=0, round=0, name=name, now=NOW)
            finish_step(run, step_key(level=0, round=0, name=name), result, now=NOW)
        done = optimisations(run)[0]
        assert (done.finished, done.base, done.agent) == (True, Worth(0.2, 0.0), Worth(0.6, 9.0))
        assert done.win_rate is not None
        assert (done.win_rate.value, done.win_rate.low, done.win_rate.high, done.win_rate.n) == (0.75, 0.5, 0.9, 8)
        error = error_by_depth(run, [])
        assert [(one.level, one.way, one.source) for one in error] == [(0, "alone", "report")]
        assert error[0].share.value == pytest.approx(0.1)


def test_every_figure_of_a_step_is_read_whatever_version_wrote_it(tmp_path: Path) -> None:
    with watched(tmp_path / "run") as opened:
        run, key = opened.run, step_key(level=0, round=0, name="optimise")
        begin_step(run, level=0, round=0, name="optimise", now=NOW)
        record_progress(run, key, 0, {"reward": 0.5, "kl": 1.0}, now=NOW)
        whole = {
            "reward": 1.0, "kl": 4.0, "beta": 0.2, "entropy": 0.5, "distinct": 0.75, "gold": None,
            "measures": {"clipped_share": 0.125, "advantage_spread": 2.0, "odd": "text"},
        }  # fmt: skip
        record_progress(run, key, 1, whole, now=NOW)
        record_progress(run, key, 2, {**whole, "gold": 0.9, "measures": {}}, now=NOW)
        found = moments(run, level=0, round=0)
        assert found[0] == Moment(0, 0.5, 1.0)
        assert (found[1].beta, found[1].entropy, found[1].distinct, found[1].gold) == (0.2, 0.5, 0.75, None)
        assert found[1].measures == (("advantage_spread", 2.0), ("clipped_share", 0.125))
        assert (found[2].gold, found[2].measures) == (0.9, ())
        assert dict(series(found)) == {
            "reward": ((0, 0.5), (1, 1.0), (2, 1.0)),
            "gold utility": ((2, 0.9),),
            "KL, nats a completion": ((0, 1.0), (1, 4.0), (2, 4.0)),
            "price of a nat, beta": ((1, 0.2), (2, 0.2)),
            "entropy, nats a token": ((1, 0.5), (2, 0.5)),
            "different completions, share": ((1, 0.75), (2, 0.75)),
            "advantage spread": ((1, 2.0),),
            "clipped share": ((1, 0.125),),
        }
        room = learning_room(optimisations(run))
        assert (
            room.table is not None
            and room.svg is not None
            and room.remarks == ("The agent of level 0, round 0, 3 steps so far.",)
        )
        assert room.table.rows[2] == ("KL, nats a completion", 1.0, 4.0, 1.0, 4.0)


def test_the_longest_transcript_of_the_newest_agent_of_a_level_is_shown(copied: Path) -> None:
    with Run.open(copied) as run:
        for path in run.models.glob("*.transcripts.json"):
            path.unlink()
        empty = spending_room(newest_transcripts(run))
        assert (empty.table, empty.transcripts) == (None, ()) and empty.empty.endswith(".")
        short, long = (made(*costs, budget=4.0) for costs in ((0.5,), (0.25, 2.0)))
        transcripts_file(run, "agent-0-0").write_bytes(written_transcripts((short, long)))
        transcripts_file(run, "agent-1-0").write_text("[{")
        room = spending_room(newest_transcripts(run))
        rooms = training_rooms(run)
    assert room == rooms[-1] and room.transcripts == (long,)
    assert room.table is not None and [row[2] for row in room.table.rows] == [0.5, 2.25]
    assert room.svg is not None and "budget 4" in room.svg
    assert room.remarks == ("What was kept of agent-1-0 cannot be read; rrm inspect shows new transcripts of it.",)


def test_a_line_is_the_mean_of_a_window() -> None:
    assert smoothed([1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]
    assert smoothed([float(value) for value in range(16)]) == [value + 0.5 for value in range(15)]


def test_rooms_of_an_empty_run_say_what_to_do(tmp_path: Path) -> None:
    with watched(tmp_path / "run") as opened:
        rooms = (*judging_rooms(opened.run, opened.task), *training_rooms(opened.run))
        assert reward_model_names(opened.run) == []
    assert [room.key for room in rooms] == [
        "accuracy", "depth", "agreement", "pace", "cost",
        "calibration", "honesty", "shift", "choosing", "optimisation", "learning", "spending",
    ]  # fmt: skip
    assert all(room.table is None and room.svg is None and room.empty.endswith(".") for room in rooms)


def test_where_nobody_knows_what_texts_are_worth_no_report_is_promised(finished: Path) -> None:
    with Run.open(finished) as run:
        known, own = (
            next(room for room in training_rooms(run, gold=gold) if room.key == "optimisation")
            for gold in (True, False)
        )
    assert (known.table, known.svg) == (own.table, own.svg)
    assert "rrm report" in " ".join(known.remarks) and "rrm report" not in " ".join(own.remarks)
    assert "nobody but people can say" in own.reading and "worth" not in own.title


def test_rooms_of_a_climbed_run_have_a_figure_and_its_numbers(finished: Path) -> None:
    with Run.open(finished) as run:
        rooms = {room.key: room for room in (*judging_rooms(run, Shiftlog(seed=run.seed)), *training_rooms(run))}
        first = training_rooms(run, reward_model="Level 0, round 0")[0]
        unknown = training_rooms(run, reward_model="no such model")[0]
    # The pace is of people, and none took part; a level has one round here, so no question was chosen by a model.
    assert {key for key, room in rooms.items() if room.table is None} == {"pace", "choosing"}
    for room in rooms.values():
        if room.table is not None:
            assert room.svg is not None and room.svg.startswith("<svg")
            assert all(len(row) == len(room.table.columns) for row in room.table.rows)
    assert first != rooms["calibration"] == unknown
    accuracy = rooms["accuracy"].table
    assert accuracy is not None
    assert [column.title for column in accuracy.columns] == ["Level", "Rater", "Answer", "Answers", "Compared", "Right"]
    assert {row[1] for row in accuracy.rows} == {"simulated rater"}
    assert accuracy.columns[-1].show is Show.INTERVAL


def test_figures_are_computed_once_for_each_state_of_the_store(tmp_path: Path) -> None:
    computed: list[int] = []

    def compute() -> tuple[Room, ...]:
        computed.append(len(computed))
        return ()

    with watched(tmp_path / "run") as opened:
        memory: Memory[tuple[Room, ...]] = Memory(opened.run)
        asked = ask(opened, 0)
        for _ in range(3):
            memory.recall("judging", compute)
        assert computed == [0]
        memory.recall("training", compute)
        assert computed == [0, 1]
        give(opened, {asked: RIGHT})
        memory.recall("judging", compute)
        memory.recall("judging", compute)
        assert computed == [0, 1, 2]
        begin_step(opened.run, level=0, round=0, name="fit", now=NOW)
        memory.recall("judging", compute)
        assert computed == [0, 1, 2, 3]


def test_words_about_sides_follow_the_interval() -> None:
    some, many = share(5, 8), share(700, 800)
    assert some is not None and many is not None
    assert sides_in_words(some).endswith("as chance would have it.")
    assert "more than chance explains" in sides_in_words(many)
