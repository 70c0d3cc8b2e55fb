"""Where a training stood at a KL, what search makes of a pool, and the standings, by hand."""

import math
from pathlib import Path

import pytest
import torch

from reward_models.best_of_n import best_of_n_kl
from reward_models.errors import ArtifactError
from rrm.contest.contest import NAMES, _best_of_curve
from rrm.contest.figure import COLOURS, contest_figure
from rrm.contest.result import Contest
from rrm.contest.searching import (
    Pools,
    SearchPoint,
    best_of,
    nearest_size,
    pool_size,
    quantilized,
    read_pools,
    write_pools,
)
from rrm.contest.trajectory import Examination, Trajectory


def examined(step: int, distance: float, gold: float, proxy: float = 0.0) -> Examination:
    return Examination(step=step, kl=distance**2, gold=gold, proxy=proxy, entropy=0.5, distinct=0.25, tokens=4.0)


def way(*points: tuple[float, float]) -> Trajectory:
    """Examinations every ten steps at these (d, gold); the proxy is twice the gold."""
    found = [examined(10 * place, d, gold, 2.0 * gold) for place, (d, gold) in enumerate(points)]
    return Trajectory(tuple(found), seconds=1.0)


def test_between_two_examinations_gold_is_linear_in_the_distance() -> None:
    """From d = 0, gold 0 to d = 2, gold 1: at KL 2.25 is d = 1.5, three quarters of the way."""
    found = way((0.0, 0.0), (2.0, 1.0)).at_kl(2.25)
    assert found is not None
    assert (found.gold, found.proxy) == (pytest.approx(0.75), pytest.approx(1.5))


def test_passes_of_the_second_half_are_averaged() -> None:
    """d = 1 is passed at gold 0.1 (step 0 to 10, early), 0.5 (20 to 30) and 0.7 (30 to 40): (0.5 + 0.7) / 2."""
    found = way((0.0, 0.0), (2.0, 0.2), (1.5, 0.4), (0.5, 0.6), (1.5, 0.8)).at_kl(1.0)
    assert found is not None
    assert found.gold == pytest.approx(0.6)


def test_without_a_late_pass_the_last_one_counts() -> None:
    """d = 1 is passed at 0.1 (0 to 10), then at 0.3 (10 to 20), and never again."""
    found = way((0.0, 0.0), (2.0, 0.2), (0.5, 0.35), (0.6, 0.5), (0.6, 0.5), (0.6, 0.6)).at_kl(1.0)
    assert found is not None
    assert found.gold == pytest.approx(0.2 + (1.0 / 1.5) * 0.15)


def test_a_kl_that_was_never_reached_has_no_gold() -> None:
    assert way((0.0, 0.0), (0.9, 1.0)).at_kl(1.0) is None


def test_standing_on_the_kl_counts_once() -> None:
    """d = 1 exactly at gold 0.5, then on to d = 2 and back over gold 0.9: two passes, not three."""
    found = way((0.0, 0.0), (1.0, 0.5), (2.0, 0.6), (0.0, 1.2)).at_kl(1.0)
    assert found is not None
    assert found.gold == pytest.approx(0.9)
    alone = way((0.0, 0.0), (1.0, 0.5), (2.0, 0.6)).at_kl(1.0)
    assert alone is not None and alone.gold == pytest.approx(0.5)


def test_rounding_below_zero_is_no_distance() -> None:
    assert Examination(0, -1e-9, 0.0, 0.0, 0.0, 0.0, 1.0).distance == 0.0


def test_the_nearest_size_to_a_kl() -> None:
    """log n - (n - 1)/n is 0.193 at 2, 0.432 at 3 and 0.636 at 4."""
    assert [nearest_size(kl) for kl in (0.1, 0.3, 0.5, 0.6)] == [2, 2, 3, 4]
    for kl in (0.5, 1.0, 2.0, 4.0):
        assert pool_size(kl) >= 4 * nearest_size(kl)


def test_search_by_hand() -> None:
    """Two prompts of four samples, by proxy 9 > 5 > 3 > 1 and 8 > 6 > 4 > 2.

    q = exp(-log 2) keeps the best two: golds 1, 2 and 10, 20, so 8.25. Of the six pairs of each prompt the best sample
    wins three, the second two, the third one: (3 x 1 + 2 x 2 + 1 x 4) / 6 = 11 / 6 and (30 + 40 + 40) / 6 = 110 / 6.
    """
    proxy = torch.tensor([[3.0, 9.0, 1.0, 5.0], [2.0, 4.0, 6.0, 8.0]], dtype=torch.float64)
    gold = torch.tensor([[4.0, 1.0, 8.0, 2.0], [80.0, 40.0, 20.0, 10.0]], dtype=torch.float64)
    drawn = Pools(proxy=proxy, gold=gold, seconds=0.0)
    half = quantilized(drawn, math.log(2.0))
    assert (half.gold, half.proxy, half.kl) == pytest.approx((8.25, 7.0, math.log(2.0)))
    assert best_of(drawn, 2).gold == pytest.approx((11 + 110) / 12)
    assert quantilized(drawn, 1e-12).gold == pytest.approx(float(gold.mean()))


def test_search_on_uniform_scores_is_what_theory_says() -> None:
    """Scores uniform on [0, 1]: the best of n earn n/(n + 1), the best share q earns 1 - q/2."""
    samples = 4000
    scores = torch.linspace(0.0, 1.0, samples)[None].double()
    drawn = Pools(proxy=scores, gold=1.0 - scores, seconds=0.0)
    best = best_of(drawn, 4)
    assert best.kl == best_of_n_kl(4)
    assert best.proxy == pytest.approx(4 / 5, abs=1e-3) and best.gold == pytest.approx(1 / 5, abs=1e-3)
    found = quantilized(drawn, math.log(4.0))
    assert found.proxy == pytest.approx(1 - 1 / 8, abs=1e-3) and found.gold == pytest.approx(1 / 8, abs=1e-3)
    curve = _best_of_curve([drawn, drawn])
    assert [point.kl for point in curve[:3]] == [best_of_n_kl(size) for size in (1, 2, 4)]
    assert curve[0].proxy == pytest.approx(0.5) and len(curve) == 11  # 1 to 1,024, half the pool at most


def test_pools_are_kept_whole(tmp_path: Path) -> None:
    drawn = Pools(proxy=torch.rand(2, 3).double(), gold=torch.rand(2, 3).double(), seconds=1.5)
    assert read_pools(tmp_path / "pools") is None
    write_pools(drawn, tmp_path / "pools")
    again = read_pools(tmp_path / "pools")
    assert again is not None and again.seconds == 1.5
    assert torch.equal(again.proxy, drawn.proxy) and torch.equal(again.gold, drawn.gold)
    (tmp_path / "pools").write_bytes(b"half")
    with pytest.raises(ArtifactError, match="no readable pool"):
        read_pools(tmp_path / "pools")


def contest(folder_name: str = "nowhere") -> Contest:
    return Contest(
        folder=Path(folder_name),
        setting={},
        kl=1.0,
        trajectories={
            "rloo": [way((0.0, 0.0), (2.0, 0.4)), way((0.0, 0.0), (2.0, 0.8))],
            "ppo": [way((0.0, 0.0), (2.0, 0.6)), way((0.0, 0.0), (0.5, 0.9))],
            "supervised": [way((0.0, 0.0), (0.5, 0.2)), way((0.0, 0.0), (0.5, 0.4))],
        },
        search={"best of 6": [SearchPoint(0.96, 0.7, 1.0), SearchPoint(0.96, 0.9, 1.2)]}
        | {"quantilizer": [SearchPoint(1.0, 0.6, 0.9), SearchPoint(1.0, 0.8, 1.1)]},
        search_seconds=2.0,
        best_of=[SearchPoint(0.0, 0.0, 0.0), SearchPoint(0.19, 0.3, 0.4)],
    )


def test_standings_by_hand() -> None:
    """At d = 1: rloo 0.2 and 0.4, ppo 0.3 and nothing, so that ppo leads by 0.1 in the one seed that has both."""
    rloo, ppo, supervised, best, _ = contest().standings()
    assert rloo.gold is not None and rloo.gold.seeds == pytest.approx((0.2, 0.4))
    assert rloo.reached == 2 and rloo.over_yardstick is None
    # The mean of two is 0.3; t at 0.975 with one degree of freedom is 12.706, times 0.1414 / sqrt(2) = 0.1.
    assert rloo.gold.low == pytest.approx(0.3 - 1.2706, abs=1e-3)
    assert ppo.reached == 1 and ppo.over_yardstick is not None
    assert ppo.over_yardstick.seeds == pytest.approx((0.1,)) and ppo.over_yardstick.low is None
    assert supervised.reached == 0 and supervised.gold is None and supervised.over_yardstick is None
    assert supervised.end_gold.mean == pytest.approx(0.3) and supervised.kl.mean == pytest.approx(0.25)
    assert best.over_yardstick is not None and best.over_yardstick.seeds == pytest.approx((0.5, 0.5))
    assert best.entropy is None and best.seconds == 2.0


def test_the_table_shows_intervals_and_leaves_out_what_is_not_there() -> None:
    rows = contest().table()
    assert rows[0]["gold at 1 nats"] == "0.30 [-0.97, 1.57]"
    assert rows[2]["gold at 1 nats"] is None
    assert [row["objective"] for row in rows] == ["rloo", "ppo", "supervised", "best of 6", "quantilizer"]


def test_without_the_yardstick_nothing_is_compared_with_it() -> None:
    found = contest()
    alone = Contest(**{**vars(found), "trajectories": {"ppo": found.trajectories["ppo"]}})
    assert [standing.over_yardstick for standing in alone.standings()] == [None] * 3


def test_each_objective_has_a_colour_of_its_own() -> None:
    assert COLOURS.keys() >= set(NAMES)
    assert len(set(COLOURS.values())) == len(COLOURS)
    gold, proxy = contest_figure(contest()).axes
    for axis, factor in ((gold, 1.0), (proxy, 2.0)):
        line = next(line for line in axis.get_lines() if line.get_color() == COLOURS["rloo"])
        assert list(line.get_xdata()) == [0.0, 2.0]
        assert list(line.get_ydata()) == pytest.approx([0.0, factor * 0.6])


def test_what_runs_away_is_outside_of_the_picture_and_said_to_be() -> None:
    found = contest()
    away = Contest(
        **{**vars(found), "trajectories": {**found.trajectories, "trpo": [way((0.0, 0.0), (9.0, -50.0))] * 2}}
    )
    figure = contest_figure(away)
    for axis in figure.axes:
        assert axis.get_xlim()[1] < 9.0 and axis.get_ylim()[0] > -1.0
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "trpo (outside)" in labels and "ppo" in labels
