"""Exact recovery of the law, and a share of variance explained that agrees with scikit-learn."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from reward_models.best_of_n import best_of_n_distance
from reward_models.errors import InvalidInput, NonFinite
from reward_models.overoptimization_law import OveroptimizationLaw, fit_law, r_squared

COEFFICIENT = st.floats(-3, 3)
DISTANCES = torch.tensor([best_of_n_distance(2**power) for power in range(9)], dtype=torch.float64)


def test_two_points_by_hand() -> None:
    """R(1) = alpha - beta = 1 and R(2) = 2 alpha - 4 beta = 1: alpha = 3/2, beta = 1/2, peak at 3/2 with gain 9/8."""
    law = fit_law(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0]))
    assert (law.alpha, law.beta, law.peak) == pytest.approx((1.5, 0.5, 1.5))
    assert law.gain(torch.tensor([0.0, 1.5, 3.0])).tolist() == pytest.approx([0.0, 1.125, 0.0], abs=1e-12)


@given(COEFFICIENT, COEFFICIENT)
def test_exact_recovery_and_extrapolation(alpha: float, beta: float) -> None:
    truth = OveroptimizationLaw(alpha=alpha, beta=beta)
    found = fit_law(DISTANCES, truth.gain(DISTANCES))
    assert (found.alpha, found.beta) == pytest.approx((alpha, beta), abs=1e-9)
    far = torch.tensor([best_of_n_distance(60_000)])
    torch.testing.assert_close(found.gain(far), truth.gain(far), atol=1e-8, rtol=1e-8)


def test_least_squares_agrees_with_scikit_learn() -> None:
    noisy = torch.randn(len(DISTANCES), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    columns = np.stack([DISTANCES.numpy(), -(DISTANCES.numpy() ** 2)], axis=1)
    expected = LinearRegression(fit_intercept=False).fit(columns, noisy.numpy())
    law = fit_law(DISTANCES, noisy)
    assert [law.alpha, law.beta] == pytest.approx(expected.coef_.tolist())
    explained = r_squared(law.gain(DISTANCES), noisy)
    assert explained == pytest.approx(r2_score(noisy.numpy(), expected.predict(columns)))


def test_the_law_has_a_peak_only_where_it_climbs_and_turns() -> None:
    assert OveroptimizationLaw(alpha=1.0, beta=0.25).peak == 2.0
    for alpha, beta in ((1.0, 0.0), (1.0, -0.1), (-1.0, 0.25), (0.0, 1.0)):
        assert OveroptimizationLaw(alpha=alpha, beta=beta).peak is None


def test_r_squared_by_hand() -> None:
    """Observed 1, 2, 3 vary by 2 around their mean. Predictions off by 1, 0, 0 leave 1 of it: R^2 = 1/2."""
    observed = torch.tensor([1.0, 2.0, 3.0])
    assert r_squared(torch.tensor([2.0, 2.0, 3.0]), observed) == pytest.approx(0.5)
    assert r_squared(observed, observed) == 1.0
    assert r_squared(torch.full((3,), 2.0), observed) == 0.0
    assert r_squared(torch.tensor([3.0, 2.0, 1.0]), observed) == pytest.approx(-3.0)
    assert r_squared(observed, torch.ones(3)) is None


def test_refuses_what_it_cannot_use() -> None:
    d = torch.tensor([0.0, 1.0, 1.0])
    with pytest.raises(InvalidInput, match="two different positive"):
        fit_law(d, d)
    with pytest.raises(InvalidInput, match="one number of each"):
        r_squared(torch.ones(0), torch.ones(0))
    with pytest.raises(NonFinite):
        fit_law(torch.tensor([1.0, 2.0]), torch.tensor([1.0, math.nan]))
