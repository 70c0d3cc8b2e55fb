"""Who is given which comparison, and for how long."""

from pathlib import Path

import pytest

from reward_models.errors import InvalidInput
from rrm.judging.queue import answer, draw, draw_many, give_back, live_judgements, open_leases, renew
from rrm.judging.repeats import draw_repeat
from rrm.store import Choice, Leased, Purpose, Run, Stage
from tests.rrm.store_samples import NOON, seconds, small_run


def drawn(run: Run, rater: str, *, at: float = 0, resume: bool = False) -> Leased | None:
    return draw(
        run,
        rater_id=rater,
        level=0,
        round=0,
        purpose=Purpose.TRAIN,
        now=seconds(at),
        lease_seconds=100.0,
        resume=resume,
    )


def name(leased: Leased | None) -> str | None:
    return leased.comparison.id if leased else None


def finish(run: Run, leased: Leased | None, *, at: float = 0) -> None:
    assert leased is not None
    answer(run, leased.lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=seconds(at))


def test_what_a_rater_is_given(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        leased = drawn(run, "ann")
        assert leased is not None
        assert (leased.comparison.id, leased.comparison.prompt) == ("p0", "Brief this: Log 0")
        assert (leased.first_text, leased.second_text) == ("Brief 0, 0", "Brief 0, 1")
        assert (leased.rater_id, leased.repeat, leased.answered_alone) == ("ann", 0, False)
        assert leased.expires_at == "2026-01-02T12:01:40.000000Z"


def test_each_comparison_goes_out_once(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        assert [name(drawn(run, rater)) for rater in ("ann", "ben", "ann", "ben", "ann")] == [
            "p0",
            "p1",
            "p2",
            None,
            None,
        ]


def test_never_twice_to_one_rater(tmp_path: Path) -> None:
    with small_run(tmp_path, raters_planned=2) as run:
        seen = []
        # A thousand seconds lie between two draws, so that no open lease is what keeps them apart.
        for number in range(5):
            leased = drawn(run, "ann", at=number * 1000)
            if leased:
                finish(run, leased, at=number * 1000)
                seen.append(leased.comparison.id)
        assert seen == ["p0", "p1", "p2"]
        assert name(drawn(run, "ben")) == "p0"
        # Two raters are planned and are on p0 now.
        assert name(drawn(run, "cal")) == "p1"


def test_as_many_raters_as_planned(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=1, raters_planned=2) as run:
        finish(run, drawn(run, "ann"))
        assert name(drawn(run, "ben")) == "p0"
        assert name(drawn(run, "cal")) is None
        assert name(drawn(run, "cal", at=101)) == "p0"


def test_a_lease_runs_out(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=1) as run:
        mine = drawn(run, "ann")
        assert mine is not None
        assert name(drawn(run, "ben", at=99)) is None
        assert name(drawn(run, "ben", at=100)) == "p0"
        assert name(drawn(run, "ann", at=150)) is None
        # Work that comes late is kept.
        finish(run, mine, at=160)
        assert [each.rater_id for each in live_judgements(run)] == ["ann"]


def test_a_sign_of_life_keeps_a_lease(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=1) as run:
        mine = drawn(run, "ann")
        assert mine is not None
        renew(run, mine.lease_id, now=seconds(90), lease_seconds=100.0)
        assert name(drawn(run, "ben", at=189)) is None
        assert name(drawn(run, "ben", at=190)) == "p0"


def test_giving_back(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=1) as run:
        mine = drawn(run, "ann")
        assert mine is not None
        give_back(run, mine.lease_id, now=seconds(1))
        assert name(drawn(run, "ben", at=2)) == "p0"
        assert open_leases(run, rater_id="ann", now=seconds(2)) == []


def test_resuming_after_a_kill_or_a_reload(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        held = drawn(run, "ann")
        assert held is not None
        assert open_leases(run, rater_id="ann", now=seconds(5)) == [held]
        assert name(drawn(run, "ann", at=6)) == "p1"
        again = drawn(run, "ann", at=7, resume=True)
        assert again is not None
        assert (again.lease_id, again.first_on_left) == (held.lease_id, held.first_on_left)
        assert again.expires_at == "2026-01-02T12:01:47.000000Z"
        assert name(drawn(run, "ben", at=8, resume=True)) == "p2"


def test_many_at_once_are_what_one_by_one_gives(tmp_path: Path) -> None:
    with small_run(tmp_path / "one", comparisons=6) as one, small_run(tmp_path / "many", comparisons=6) as many:
        singly = [drawn(one, "ann") for _ in range(4)]
        assert (
            draw_many(
                many, rater_id="ann", level=0, round=0, purpose=Purpose.TRAIN, count=4, now=NOON, lease_seconds=100.0
            )
            == singly
        )
        assert draw_many(many, rater_id="ann", level=0, round=1, purpose=Purpose.TRAIN, count=4, now=NOON) == []
        assert draw_many(many, rater_id="ann", level=0, round=0, purpose=Purpose.TEST, count=4, now=NOON) == []


def test_sides_are_a_fair_coin(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=400) as run:
        leased = draw_many(run, rater_id="ann", level=0, round=0, purpose=Purpose.TRAIN, count=400, now=NOON)
        left = sum(each.first_on_left for each in leased)
        # 400 tosses have mean 200 and deviation 10; the coin is fixed by the run's seed, so this never flickers.
        assert 160 <= left <= 240


def test_a_repeat_shows_the_sides_swapped_and_counts_apart(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        finish(run, drawn(run, "ann"), at=1)
        finish(run, drawn(run, "ann"), at=2)
        (first, _) = live_judgements(run)

        def repeated(rater: str) -> Leased | None:
            return draw_repeat(run, rater_id=rater, now=seconds(9), answers_between=1)

        assert repeated("ben") is None
        again = repeated("ann")
        assert again is not None
        sides = {
            bool(row["repeat"]): row["first_on_left"]
            for row in run.database.query("SELECT * FROM leases WHERE comparison_id = 'p0'")
        }
        assert (again.comparison.id, again.repeat, sides[True]) == ("p0", 1, 1 - sides[False])
        finish(run, again, at=10)
        assert name(repeated("ann")) == "p1"
        assert name(repeated("ann")) is None
        assert len(live_judgements(run)) == 2
        assert [each.repeat for each in live_judgements(run, repeats=True)] == [0, 0, 1]
        assert live_judgements(run)[0] == first


def test_an_unknown_rater_is_refused(tmp_path: Path) -> None:
    with small_run(tmp_path) as run, pytest.raises(InvalidInput, match="FOREIGN KEY"):
        drawn(run, "zoe")
