"""What a session learns, forecasts and compares, done in this process; and what it refuses, in words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from rrm.errors import ConfigurationError, RunError
from rrm.judging.queue import answer, draw_any
from rrm.opening import open_workbench
from rrm.rewards.held_out import held_out_figures
from rrm.rewards.reading import read
from rrm.rounds import STEPS
from rrm.run_folder import open_run_folder
from rrm.sessions import Session, SessionKind, SessionStatus, create_session, session_points, sessions
from rrm.sessions.changes import Changes
from rrm.sessions.current import current_model, make_current, predictions_of
from rrm.sessions.learning import shares
from rrm.sessions.reading import read_completions
from rrm.sessions.reward_model import work_on_reward_model
from rrm.sessions.round import round_settings
from rrm.sessions.settings import (
    Judged,
    checked_settings,
    judged_levels,
    start_reward_model,
    suggested_level,
)
from rrm.sessions.store import end_session
from rrm.steps.fitting import final_judgements
from rrm.store import (
    Choice,
    Purpose,
    Rater,
    RaterKind,
    Run,
    Stage,
    artifact,
    comparison,
    comparisons,
    completion,
    put_rater,
    utc_now,
)
from rrm.store.canonical import canonical_json
from rrm.workbench import Workbench
from tests.rrm.session_runs import SETTINGS
from tests.ui.page.filled_runs import people_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return people_run(tmp_path / "run", comparisons=120, documents=30)


def judge(
    run: Run,
    count: int,
    *,
    purposes: tuple[Purpose, ...] = (Purpose.TRAIN, Purpose.VALIDATION),
    shorter: bool = True,
) -> None:
    """Ann answers so many comparisons: the shorter brief is better (or the longer), equal ones tie."""
    put_rater(run, Rater("ann", "Ann", RaterKind.PERSON))
    for leased in draw_any(run, rater_id="ann", count=count, now=utc_now()):
        if leased.comparison.purpose in purposes:
            longer = len(leased.first_text) - len(leased.second_text)
            likes_first = longer < 0 if shorter else longer > 0
            choice = Choice.TIE if longer == 0 else Choice.FIRST if likes_first else Choice.SECOND
            answer(run, leased.lease_id, stage=Stage.ALONE, choice=choice, now=utc_now())


def done(bench: Workbench, **settings: object) -> tuple[Session, Mapping[str, Any]]:
    """A session that has done its work, and its result."""
    made = create_session(
        bench.run,
        kind=SessionKind.REWARD_MODEL,
        level=0,
        round=0,
        settings={**SETTINGS, **settings},
        started_by="local",
        now=utc_now(),
    )
    result = work_on_reward_model(bench, made)
    end_session(bench.run, made.id, status=SessionStatus.FINISHED, seconds=1.0, now=utc_now(), result=result)
    return made, result


def test_the_second_session_is_measured_against_the_one_that_was_current(folder: Path) -> None:
    with open_workbench(folder) as bench:
        judge(bench.run, 40)
        first, told = done(bench)
        assert told["changes"]["before"] is None
        make_current(bench.run, first.id, by="local", now=utc_now())
        # Ann has changed her mind, and so do the predictions.
        judge(bench.run, 80, shorter=False)
        # It reads other features than the model before, which goes on reading its own.
        second, told = done(bench, features=["mean_hidden"])
        changes = Changes.from_json(told["changes"])
        assert changes.before == first.id
        assert changes.held_out == 24 and changes.difference is not None
        before = {one.comparison_id: one.after for one in predictions_of(bench.run, first.id)}
        flipped = 0
        for one in predictions_of(bench.run, second.id):
            assert one.before == pytest.approx(before[one.comparison_id], abs=1e-6)
            flipped += (before[one.comparison_id] > 0.5) != (one.after > 0.5)
        assert changes.flipped == flipped > 0
        made_current = current_model(bench.run, 0)
        assert made_current is not None and made_current.id == first.id


def test_a_certain_prediction_that_was_wrong_has_a_loss_that_can_be_stored() -> None:
    """Few judgements can make a model so sure that its probability rounds to 1."""
    certain = torch.full((2, 2), 100.0, dtype=torch.float64)
    figures = held_out_figures(certain, torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert figures["nll"] == pytest.approx(50.0)
    assert '"accuracy":0.5' in canonical_json(figures)


def test_the_held_out_figures_are_those_of_the_saved_model(folder: Path) -> None:
    with open_workbench(folder) as bench:
        judge(bench.run, 120)
        made, told = done(bench)
        rewards = bench.rewards(artifact(bench.run, made.id))
        right = 0.0
        held_out = final_judgements(bench, level=0, last_round=0, purpose=Purpose.VALIDATION)
        for one in held_out:
            asked = comparison(bench.run, one.comparison_id)
            texts = [
                completion(bench.run, side).text for side in (asked.first_completion_id, asked.second_completion_id)
            ]
            scores = rewards.scores(read(bench.base, [asked.prompt], [texts], names=rewards.reads)).mean(dim=0)
            if one.choice is Choice.TIE:
                right += 0.5
            else:
                right += float((scores[0] > scores[1]).item() == (one.choice is Choice.FIRST))
        assert told["changes"]["accuracy_after"] == pytest.approx(right / len(held_out))
        assert told["changes"]["held_out"] == len(held_out) == 24
        points = [point.record for point in session_points(bench.run, made.id)]
        assert points[-1]["accuracy"] == told["changes"]["accuracy_after"]
        assert points[-1]["spread"] == pytest.approx(told["changes"]["spread_after"])
        agreed = [
            0.5 if label == 0.5 else float((p > 0.5) == (label == 1)) for p, label in told["held_out_predictions"]
        ]
        assert sum(agreed) == pytest.approx(right)


def test_without_held_out_answers_it_is_cross_validated_and_says_so(folder: Path) -> None:
    with open_workbench(folder) as bench:
        judge(bench.run, 60, purposes=(Purpose.TRAIN,))
        _, told = done(bench)
        assert told["held_out"] is None
        assert told["held_out_predictions"] == []
        assert told["changes"]["cross_validated"] is True
        assert told["changes"]["held_out"] == told["judgements"] == 48
        assert told["changes"]["accuracy_after"] == told["fit"]["held_out_after"]["accuracy"]


def test_a_single_member_has_no_spread(folder: Path) -> None:
    with open_workbench(folder) as bench:
        judge(bench.run, 30)
        made, told = done(bench, members=1)
        assert told["changes"]["spread_after"] is None
        assert {point.record["spread"] for point in session_points(bench.run, made.id)} == {None}


def test_what_was_read_is_not_read_again_and_what_was_cut_off_is(folder: Path, tmp_path: Path) -> None:
    with open_workbench(folder) as bench:
        wanted, names = comparisons(bench.run), ("likelihood_statistics",)
        parts = tmp_path / "parts"
        read = read_completions(bench, wanted, names=names, folder=parts).reading
        part = parts / "00000"
        whole = part.read_bytes()
        stored = load(whole)
        part.write_bytes(save({name: torch.zeros_like(values) for name, values in stored.items()}))
        again = read_completions(bench, wanted, names=names, folder=parts).reading
        assert float(again.features[names[0]].abs().sum()) == 0.0
        part.write_bytes(whole[:100])
        again = read_completions(bench, wanted, names=names, folder=parts).reading
        assert torch.equal(again.features[names[0]], read.features[names[0]])
        assert part.read_bytes() == whole
        # Other features are not in it.
        both = read_completions(bench, wanted, names=(*names, "mean_hidden"), folder=parts).reading
        assert torch.equal(both.features[names[0]], read.features[names[0]])


def test_equal_judgements_and_settings_give_an_equal_model(folder: Path) -> None:
    with open_workbench(folder) as bench:
        judge(bench.run, 30)
        (first, _), (second, _) = done(bench), done(bench)
        assert artifact(bench.run, first.id).files == artifact(bench.run, second.id).files


def test_too_few_judgements_are_refused_in_words(folder: Path) -> None:
    with open_run_folder(folder) as opened:
        judge(opened.run, 7)
        assert judged_levels(opened.run) == {0: Judged(judgements=6, last_round=0)}
        with pytest.raises(RunError, match=r"Level 0 has 6 judgements.*needs at least 8: judge 2 more"):
            start_reward_model(opened.run, level=0, settings=SETTINGS, started_by="local", now=utc_now())
        with pytest.raises(RunError, match="Level 1 has no judgements"):
            start_reward_model(opened.run, level=1, settings=SETTINGS, started_by="local", now=utc_now())
        assert sessions(opened.run) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"members": 0}, "The setting members cannot be used"),
        ({"features": []}, "The setting features cannot be used"),
        ({"features": ["smell"]}, "The setting features cannot be used"),
        ({"features": ["last_hidden", "last_hidden"]}, "The setting features cannot be used: name each feature once"),
        ({"kind": "forest"}, "The setting kind cannot be used"),
        ({"random_share": 0.0}, "The setting random share cannot be used"),
        ({"conservative": "entropic", "coefficient": 0.0}, "These settings cannot be used: 'entropic' divides"),
        ({"acquisition": "double_thompson", "members": 1}, "These settings cannot be used: .* at least two"),
        ({"rater_error": 1.0}, "The setting rater error cannot be used"),
        ({"colour": "red"}, "The setting colour cannot be used"),
    ],
)
def test_settings_that_cannot_be_used_are_named(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        checked_settings({**SETTINGS, **wrong})


def test_what_an_older_session_did_not_choose_is_as_it_was_then(folder: Path) -> None:
    """Sessions of before had members, features and a rater error only: heads, asked by spread, a fifth at random."""
    chosen = checked_settings(SETTINGS)
    assert (chosen.kind, chosen.acquisition, chosen.random_share, chosen.diversity) == ("heads", "spread", 0.2, 0.0)
    assert (chosen.members, chosen.features) == (3, ("likelihood_statistics", "summed_hidden"))
    with open_run_folder(folder) as opened:
        assert checked_settings(opened.config.reward.model_dump(mode="json")) == opened.config.reward


def test_settings_of_a_round_are_checked() -> None:
    assert (round_settings({}).until, round_settings({}).climb) == (STEPS[-1], False)
    with pytest.raises(ConfigurationError, match="no step 'dance'"):
        round_settings({"until": "dance"})
    with pytest.raises(ConfigurationError, match="`until`, `climb` and `agent` only"):
        round_settings({"from": "fit"})


@pytest.mark.parametrize(
    ("judged", "level"),
    [
        ({}, 0),
        ({0: Judged(800, 0), 1: Judged(40, 0)}, 1),
        ({0: Judged(800, 0), 1: Judged(3, 0)}, 0),
        ({1: Judged(3, 0)}, 1),
    ],
)
def test_the_level_is_picked_where_judgements_are(judged: dict[int, Judged], level: int) -> None:
    assert suggested_level(judged) == level


@pytest.mark.parametrize("judgements", [2, 8, 9, 48, 800, 100_000])
def test_shares_grow_evenly_up_to_all(judgements: int) -> None:
    found = shares(judgements)
    assert found[-1] == judgements and found == sorted(set(found)) and len(found) <= 6
    if judgements >= 800:
        steps = torch.tensor(found, dtype=torch.float64).log().diff()
        assert float(steps.max() - steps.min()) < 0.05
