"""Backtracking alone, on functions whose answer is known."""

import math

import pytest

from agents.second_order.line_search import Accepted, Trial, backtrack


def test_the_whole_step_is_taken_where_it_keeps_its_promise() -> None:
    asked: list[float] = []

    def attempt(share: float) -> Trial:
        asked.append(share)
        return Trial(gain=share, kl=0.01 * share**2)

    assert backtrack(attempt, max_kl=0.01) == Accepted(1.0, Trial(1.0, 0.01))
    assert asked == [1.0]


def test_the_first_that_improves_within_the_region_is_taken() -> None:
    """s - 3 s^2 is positive below 1/3, and 0.2 s^2 <= 0.01 below 0.2236: of 1, 1/2, 1/4, 1/8 it is the last."""
    found = backtrack(lambda share: Trial(share - 3 * share**2, 0.2 * share**2), max_kl=0.01)
    assert found is not None
    assert found.share == 0.125
    assert found.trial == Trial(0.125 - 3 / 64, 0.2 / 64)
    # Without the trust region 1/4 will do, and with shrink 0.9 the first below 1/3 is 0.9^11.
    loose = backtrack(lambda share: Trial(share - 3 * share**2, 0.0), max_kl=0.01)
    fine = backtrack(lambda share: Trial(share - 3 * share**2, 0.0), max_kl=0.01, shrink=0.9, trials=20)
    assert loose is not None and fine is not None
    assert (loose.share, fine.share) == (0.25, 0.9**11)


@pytest.mark.parametrize(
    "trial",
    [Trial(0.0, 0.0), Trial(-1.0, 0.0), Trial(1.0, 0.02), Trial(math.nan, 0.0), Trial(1.0, math.nan)],
    ids=["no gain", "a loss", "too far", "gain is not finite", "KL is not finite"],
)
def test_it_refuses_after_the_last_trial(trial: Trial) -> None:
    asked: list[float] = []

    def attempt(share: float) -> Trial:
        asked.append(share)
        return trial

    assert backtrack(attempt, max_kl=0.01, trials=3) is None
    assert asked == [1.0, 0.5, 0.25]
