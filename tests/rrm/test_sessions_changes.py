"""What changed, in numbers that are known and in words."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rrm.judging.queue import answer, draw_any, undo
from rrm.judging.reveals import is_unblinded
from rrm.run_folder import open_run_folder
from rrm.sessions.changes import (
    MOST_SHOWN,
    Changes,
    Flip,
    agreement,
    flips_among,
    flips_to_show,
    in_words,
    paired_difference,
)
from rrm.sessions.current import Prediction
from rrm.statistics import Estimate
from rrm.store import Choice, Rater, RaterKind, Stage, comparisons, put_rater, utc_now
from tests.ui.page.filled_runs import people_run

SOME = Changes(
    before="session-1",
    held_out=96,
    cross_validated=False,
    accuracy_before=0.74,
    accuracy_after=0.81,
    difference=Estimate(0.07, 0.01, 0.13, ()),
    comparisons=800,
    spread_before=0.08,
    spread_after=0.061,
    flipped=37,
    flips=(),
)


@pytest.mark.parametrize(
    ("probability", "label", "agrees"),
    [(0.9, 1.0, 1.0), (0.9, 0.0, 0.0), (0.2, 0.0, 1.0), (0.9, 0.5, 0.5), (0.5, 1.0, 0.5)],
)
def test_agreement_counts_a_tie_as_half(probability: float, label: float, agrees: float) -> None:
    assert agreement(probability, label) == agrees


def test_the_difference_is_paired() -> None:
    # The same right and wrong answers in both models: their difference is 0 without any doubt.
    labels = [1.0, 0.0] * 20
    before = [0.9] * 40
    same = paired_difference(before, before, labels)
    assert same is not None and (same.mean, same.low, same.high) == (0.0, 0.0, 0.0)
    # 10 of 40 become right and none wrong: a quarter better, and clearly so.
    after = [0.1 if place < 20 and label == 0.0 else 0.9 for place, label in enumerate(labels)]
    better = paired_difference(before, after, labels)
    assert better is not None and better.mean == pytest.approx(0.25)
    assert better.low is not None and better.high is not None
    assert 0.1 < better.low < 0.25 < better.high < 0.4
    assert paired_difference(before[:19], after[:19], labels[:19]) is None


def test_flips_are_counted_and_the_largest_of_judged_ones_come_first() -> None:
    predictions = [
        Prediction("stays", 0.6, 0.9, 0.1, 0.1),
        Prediction("small", 0.49, 0.51, 0.1, 0.1),
        Prediction("large", 0.9, 0.1, 0.1, 0.1),
        Prediction("judged", 0.4, 0.6, 0.1, 0.1),
        Prediction("no side before", 0.5, 0.9, 0.1, 0.1),
    ]
    count, shown = flips_among(predictions, judged=frozenset({"judged"}))
    assert count == 3
    assert [flip.comparison_id for flip in shown] == ["judged", "large", "small"]
    many = [Prediction(str(number), 0.4, 0.6, 0.1, 0.1) for number in range(50)]
    count, shown = flips_among(many, judged=frozenset())
    assert (count, len(shown)) == (50, MOST_SHOWN)
    assert flips_among([Prediction("first model", None, 0.9, None, 0.1)], judged=frozenset()) == (0, ())


def test_a_prediction_reaches_nobody_who_has_still_to_judge(tmp_path: Path) -> None:
    with open_run_folder(people_run(tmp_path / "run", comparisons=6)) as opened:
        run = opened.run
        put_rater(run, Rater("ann", "Ann", RaterKind.PERSON))
        known = {each.id: each for each in comparisons(run)}
        changes = replace(SOME, flips=tuple(Flip(identifier, 0.4, 0.7) for identifier in known))
        assert flips_to_show(run, changes, to="ann", now=utc_now()) == []
        leased = draw_any(run, rater_id="ann", count=1, now=utc_now())[0]
        answer(run, leased.lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=utc_now())
        (shown,) = flips_to_show(run, changes, to="ann", now=utc_now())
        assert (shown.prompt, shown.first, shown.second) == (
            leased.comparison.prompt,
            leased.first_text,
            leased.second_text,
        )
        assert is_unblinded(run, comparison_id=leased.comparison.id, rater_id="ann")
        # Taken back, it waits again.
        undo(run, rater_id="ann", now=utc_now())
        assert flips_to_show(run, changes, to="ann", now=utc_now()) == []


def test_changes_survive_the_store() -> None:
    changes = replace(SOME, flips=(Flip("one", 0.4, 0.6),))
    assert Changes.from_json(json.loads(json.dumps(changes.to_json()))) == changes
    without = replace(SOME, difference=None)
    assert Changes.from_json(json.loads(json.dumps(without.to_json()))) == without


def test_words_for_a_clear_gain() -> None:
    assert in_words(SOME) == (
        "It now agrees with 81% of the answers it never saw (before: 74%, on the same 96 answers).",
        "It became better: with 95% confidence by 1 to 13 points in 100.",
        "Its members disagree by 6.1 points in 100 on average about who wins (before: 8.0), over 800 comparisons.",
        "37 of 800 predictions changed sides.",
    )


def test_words_are_honest_about_noise() -> None:
    worse = replace(SOME, difference=Estimate(-0.07, -0.13, -0.01, ()))
    assert in_words(worse)[1] == "It became worse: with 95% confidence by 1 to 13 points in 100."
    noise = replace(SOME, difference=Estimate(0.07, -0.01, 0.15, ()))
    assert in_words(noise)[1] == (
        "That is too small a difference to tell from chance: with 95% confidence it lies between -1 and +15 points."
    )
    few = replace(SOME, held_out=12, difference=None)
    assert in_words(few)[1] == "12 held-out answers are too few to tell whether it became better."
    same = replace(SOME, difference=Estimate(0.0, 0.0, 0.0, ()))
    assert in_words(same)[1] == "On these answers both models choose the same sides."


def test_words_without_a_model_before_and_without_held_out_answers() -> None:
    first = replace(SOME, before=None, accuracy_before=None, difference=None, spread_before=None, flipped=0)
    assert in_words(first) == (
        "It agrees with 81% of the 96 answers it never saw; tossing a coin would agree with 50%.",
        "Its members disagree by 6.1 points in 100 on average about who wins, over 800 comparisons.",
    )
    crossed = replace(first, cross_validated=True)
    assert in_words(crossed)[0].startswith("Nothing was held out")
    lonely = replace(SOME, spread_after=None)
    assert "With a single member there is no disagreement to measure." in in_words(lonely)
    none = replace(SOME, flipped=0)
    assert in_words(none)[-1] == "None of 800 predictions changed sides."
