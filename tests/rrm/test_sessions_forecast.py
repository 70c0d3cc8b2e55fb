"""Forecasts from curves whose law is known, and silence where a curve says nothing."""

import numpy as np
import pytest

from rrm.sessions.forecast import FURTHEST, CurvePoint, forecast, rounded

SHARES = (25, 50, 100, 200, 400, 800)


def curve(
    accuracy: tuple[float, float, float], spread: tuple[float, float, float] | None = None, *, answers: int = 10_000
) -> list[CurvePoint]:
    """Points of limit + scale n^(-rate) laws."""

    def at(law: tuple[float, float, float], share: int) -> float:
        limit, scale, rate = law
        return float(limit + scale * share**-rate)

    return [
        CurvePoint(
            judgements=share,
            accuracy=at(accuracy, share),
            answers=answers,
            loss=0.5,
            spread=at(spread, share) if spread is not None else None,
        )
        for share in SHARES
    ]


@pytest.mark.parametrize("law", [(0.9, -1.5, 0.5), (0.85, -0.8, 0.35), (0.95, -4.0, 0.75)])
def test_the_judgements_for_a_point_of_accuracy_are_those_of_the_law(law: tuple[float, float, float]) -> None:
    limit, scale, rate = law
    now = limit + scale * 800**-rate
    # limit + scale n^(-rate) = now + 0.01
    needed = ((limit - now - 0.01) / -scale) ** (-1 / rate) - 800
    found = forecast(curve(law))
    assert found.goal == "accuracy"
    assert found.judgements == pytest.approx(needed, rel=0.01)
    assert rounded(found.judgements or 0) in found.sentence


def test_little_noise_moves_a_forecast_little() -> None:
    generator = np.random.default_rng(0)
    law = (0.9, -1.5, 0.5)
    exact = forecast(curve(law)).judgements
    noisy = [
        forecast(
            [
                CurvePoint(p.judgements, p.accuracy + generator.normal(0, 0.002), p.answers, p.loss, p.spread)
                for p in curve(law)
            ]
        ).judgements
        for _ in range(50)
    ]
    assert exact is not None
    assert np.median([one for one in noisy if one is not None]) == pytest.approx(exact, rel=0.25)


def test_where_accuracy_says_nothing_the_spread_is_read() -> None:
    # 30 answers cannot tell 70% from 75%, but the members' disagreement halves.
    found = forecast(curve((0.75, -0.25, 0.5), (0.0, 0.8, 0.5), answers=30))
    assert found.goal == "spread"
    # spread n^(-1/2) is a tenth lower at n / 0.81
    assert found.judgements == pytest.approx(800 / 0.81 - 800, rel=0.01)
    assert "a tenth less" in found.sentence


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (curve((0.75, -0.25, 0.5), answers=30), "with 30 answers to test on"),
        (curve((0.75, -0.25, 0.5), (0.05, 0.001, 0.5), answers=30), "no more than chance moves it"),
        (curve((0.9, -1.5, 0.5))[:3], "too few judgements"),
        (curve((0.8, -40.0, 1.5)), "become flat"),
        (curve((0.7, 0.5, 0.5)), "chance"),
    ],
)
def test_it_says_why_it_cannot_tell(points: list[CurvePoint], reason: str) -> None:
    found = forecast(points)
    assert (found.judgements, found.goal) == (None, None)
    assert "cannot be told yet" in found.sentence
    assert reason in found.sentence


def test_nothing_is_foretold_beyond_ten_times_the_judgements() -> None:
    slow = (1.0, -0.6, 0.2)
    found = forecast([CurvePoint(p.judgements, p.accuracy, 10**6, p.loss, None) for p in curve(slow)])
    # A point more needs 15% of the judgements here; a law this slow but ten times smaller needs more than ten times.
    assert found.judgements is not None and found.judgements < 800
    slower = [CurvePoint(p.judgements, 0.7 + (p.accuracy - 0.7) / 30, 10**8, p.loss, None) for p in curve(slow)]
    assert forecast(slower).judgements is None
    assert FURTHEST == 10


@pytest.mark.parametrize(("number", "text"), [(7, "7"), (38, "38"), (383, "380"), (12_345, "12,000")])
def test_a_forecast_is_told_in_two_digits(number: int, text: str) -> None:
    assert rounded(number) == text
