"""Planted comparisons: what is known without gold, and how they stand among the others of a round of people."""

from pathlib import Path

import numpy as np
import pytest

from rrm.judging.planted import RIGHT, WRONG
from rrm.judging.queue import answer, draw_any
from rrm.opening import open_workbench
from rrm.people.accounts import LOCAL, ensure_rater
from rrm.rounds import play_round
from rrm.starting import start_run
from rrm.status import status
from rrm.steps.judging import missing_judgements
from rrm.steps.planting import plant
from rrm.steps.selecting import select
from rrm.store import (
    Choice,
    Purpose,
    Stage,
    StoredComparison,
    aids_for,
    comparisons,
    completion,
    completions,
    document,
    live_judgements,
)
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.task import Split
from rrm.workbench import Workbench
from tests.rrm.contracts import NoGold
from tests.rrm.small_runs import SMALL
from tests.rrm.store_samples import NOON

PEOPLE = (*SMALL, "judging.rater=people", "judging.planted_share=0.2", "judging.unaided_share=0.25")


def started(folder: Path, *overrides: str) -> Path:
    start_run(folder, [*PEOPLE, *overrides])
    return folder


def truth(level: int, index: int) -> dict[str, str]:
    found = Shiftlog(seed=0).document(split=Split.TEST, level=level, index=index)
    return {entry.claim.key: entry.claim.statement for entry in Shiftlog(seed=0).entries(found)}


@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_right_half_is_true_and_the_wrong_one_differs_in_one_claim(level: int) -> None:
    task, planted = NoGold(seed=0), 0
    for index in range(40):
        found = task.document(split=Split.TEST, level=level, index=index)
        item = task.plant(found, np.random.default_rng(index))
        if item is None:
            continue
        planted += 1
        right, wrong = task.claims(item.right), task.claims(item.wrong)
        facts = truth(level, index)
        assert all(facts[claim.key] == claim.statement for claim in right)
        lies = [claim for claim in wrong if facts[claim.key] != claim.statement]
        assert len(lies) == 1 and len(set(right) - set(wrong)) == 1 and lies[0].weight == 3.0
        assert len(item.aids) == len(found.parts)
        if item.aids:
            told = [claim for aid in item.aids for claim in task.claims(aid)]
            assert lies[0] in told, "the aid has the same flaw"
            assert sum(facts[claim.key] != claim.statement for claim in told) == 1
    assert planted >= 30


def test_gold_would_say_the_same() -> None:
    """Gold is asked here and never by the run."""
    task = Shiftlog(seed=0)
    for level in range(3):
        for index in range(20):
            found = task.document(split=Split.TEST, level=level, index=index)
            item = task.plant(found, np.random.default_rng(index))
            if item is not None:
                assert task.gold(found, item.right).utility > task.gold(found, item.wrong).utility


def test_a_log_with_nothing_to_tell_has_nothing_planted() -> None:
    task = Shiftlog(seed=0)
    quiet = [
        found
        for index in range(40)
        if task.plant(found := task.document(split=Split.TEST, level=0, index=index), np.random.default_rng(0)) is None
    ]
    assert quiet and all(entry.claim.weight == 0 for found in quiet for entry in task.entries(found))


def test_a_round_of_people_has_planted_comparisons_among_the_others(tmp_path: Path) -> None:
    folder = started(tmp_path / "run", "judging.raters_per_comparison=2")
    with open_workbench(folder) as bench:
        waiting = play_round(bench, level=0, round=0).waiting
        others = [each for each in comparisons(bench.run) if each.purpose is not Purpose.TEST]
        planted = comparisons(bench.run, purpose=Purpose.TEST)
        assert waiting == 2 * len(others) and {each.raters_planned for each in (*others, *planted)} == {2}
        assert len(planted) == pytest.approx(0.2 * len(others), abs=1)
        assert {each.reason for each in planted} == {"planted"}
        assert_half_are_right_first(bench, planted)
        ensure_rater(bench.run, LOCAL)
        drawn = draw_any(bench.run, rater_id=LOCAL.rater_id, count=100, now=NOON)
        places = [place for place, leased in enumerate(drawn) if leased.comparison.purpose is Purpose.TEST]
        assert len(places) == len(planted) and max(np.diff([-1, *places, len(drawn)])) <= 10, "evenly mixed"
    assert status(folder).missing_judgements == waiting, "nobody waits for a planted answer"


def assert_half_are_right_first(bench: Workbench, planted: list[StoredComparison]) -> None:
    first = [completion(bench.run, each.first_completion_id).agent_id for each in planted]
    second = [completion(bench.run, each.second_completion_id).agent_id for each in planted]
    assert set(zip(first, second, strict=True)) == {(RIGHT, WRONG), (WRONG, RIGHT)}
    assert {document(bench.run, each.document_id).split for each in planted} == {"test"}


def answer_everything(bench: Workbench) -> None:
    """Every comparison that people are asked, by gold's choice of the first: which one does not matter here."""
    ensure_rater(bench.run, LOCAL)
    while drawn := draw_any(bench.run, rater_id=LOCAL.rater_id, count=50, now=NOON):
        for leased in drawn:
            stages = (Stage.ALONE, Stage.AIDED) if leased.comparison.aids_planned else (Stage.ALONE,)
            for stage in stages:
                choice = Choice.FIRST if len(leased.first_text) < len(leased.second_text) else Choice.SECOND
                answer(bench.run, leased.lease_id, stage=stage, choice=choice, now=NOON)


def test_planted_comparisons_change_nothing_that_is_fitted(tmp_path: Path) -> None:
    results = []
    for share in ("0.0", "0.5"):
        with open_workbench(started(tmp_path / share, f"judging.planted_share={share}")) as bench:
            play_round(bench, level=0, round=0)
            answer_everything(bench)
            results.append(play_round(bench, level=0, round=0, until="fit").steps["fit"])
    assert results[0] == results[1]


def test_from_level_one_on_the_aid_has_the_flaw_and_a_share_has_no_aid(tmp_path: Path) -> None:
    with open_workbench(started(tmp_path / "run")) as bench:
        while (result := play_round(bench, level=0, round=0)).waiting:
            answer_everything(bench)
        assert result.finished
        waiting = play_round(bench, level=1, round=0).waiting
        asked = [each for each in comparisons(bench.run, level=1) if each.purpose is not Purpose.TEST]
        planted = comparisons(bench.run, level=1, purpose=Purpose.TEST)
        unaided = [each for each in asked if not each.aids_planned]
        assert 0 < len(unaided) < len(asked) / 2
        assert planted and all(each.aids_planned for each in planted)
        for each in planted:
            aids = aids_for(bench.run, each.id)
            assert {aid.agent_id for aid in aids} == {"planted-aid"} and [aid.part_position for aid in aids] == [
                0,
                1,
                2,
            ]
        assert waiting == len(asked) == missing(bench)
        answer_everything(bench)
        assert missing(bench) == 0
        assert play_round(bench, level=1, round=0, until="fit").waiting == 0
        final = live_judgements(bench.run, level=1, purpose=Purpose.TRAIN)
        assert {each.stage for each in final} == {Stage.ALONE, Stage.AIDED}


def missing(bench: Workbench) -> int:
    return missing_judgements(bench, level=1, round=0, purposes=(Purpose.TRAIN, Purpose.VALIDATION))


def test_a_promotion_is_judged_with_aids_only(tmp_path: Path) -> None:
    with open_workbench(started(tmp_path / "run", "judging.unaided_share=1.0")) as bench:
        while not play_round(bench, level=0, round=0).finished:
            answer_everything(bench)
        play_round(bench, level=1, round=0)
        answer_everything(bench)
        play_round(bench, level=1, round=0)
        aided = {each.purpose: each.aids_planned for each in comparisons(bench.run, level=1)}
    assert aided[Purpose.TRAIN] is False and aided[Purpose.VALIDATION] is False and aided[Purpose.PROMOTION] is True


def test_planting_again_plants_the_same(tmp_path: Path) -> None:
    with open_workbench(started(tmp_path / "run")) as bench:
        play_round(bench, level=0, round=0, until="sample")
        select(bench, level=0, round=0)
        before = comparisons(bench.run, purpose=Purpose.TEST)
        assert plant(bench, level=0, round=0, count=len(before)) == len(before)
        select(bench, level=0, round=0)
        assert comparisons(bench.run, purpose=Purpose.TEST) == before
        assert len(completions(bench.run, agent_id=RIGHT)) == len(before)


def test_simulated_raters_are_asked_nothing_of_it(finished: Path) -> None:
    with open_workbench(finished) as bench:
        assert not comparisons(bench.run, purpose=Purpose.TEST)
        assert all(each.aids_planned for each in comparisons(bench.run, level=1))
        assert {each.raters_planned for each in comparisons(bench.run)} == {1}
