import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from reward_models import newton
from reward_models.errors import NonFinite
from reward_models.newton import Problem, objective, solve


def problem(
    *,
    seed: int = 0,
    comparisons: int = 60,
    features: int = 4,
    rater_error: float = 0.0,
    centring: float = 0.0,
    margins: bool = False,
) -> Problem:
    """Three problems of different weights, strengths and starts over the same comparisons."""
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, comparisons, features, generator=generator, dtype=torch.float64)
    return Problem(
        first=first,
        second=second,
        labels=torch.randint(2, (comparisons,), generator=generator).double(),
        weights=torch.randint(0, 4, (3, comparisons), generator=generator).double(),
        l2=torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64),
        starts=torch.randn(3, features, generator=generator, dtype=torch.float64),
        rater_error=rater_error,
        centring=centring,
        margins=2.0 * torch.rand(comparisons, generator=generator, dtype=torch.float64) if margins else None,
    )


@pytest.fixture(params=["exact", "iterative"])
def road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which of the two ways to a step a test takes."""
    monkeypatch.setattr(newton, "DENSE_WORK", 2**62 if request.param == "exact" else 0)
    return str(request.param)


def test_one_feature_is_solved_by_hand() -> None:
    # Three comparisons of difference 1, labels 1, 1, 0, no pull to speak of: sigmoid(w) = 2/3, so w = log 2.
    ones = torch.ones(3, 1, dtype=torch.float64)
    labels = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    single = torch.full((1,), 1e-12, dtype=torch.float64)
    found = solve(Problem(ones, 0.0 * ones, labels, ones.T.contiguous(), single, torch.zeros(1, 1).double(), 0.0, 0.0))
    assert found.weights.item() == pytest.approx(math.log(2.0))
    assert found.converged


def test_a_margin_is_solved_by_hand() -> None:
    # With x = e^w and k = e^m the slope 2 sigmoid(m - w) = sigmoid(m + w) says x^2 - k x - 2 = 0; k = 1 gives x = 2 as
    # above, k = 2 gives x = 1 + sqrt(3).
    ones = torch.ones(3, 1, dtype=torch.float64)
    labels = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    single, start = torch.full((1,), 1e-12, dtype=torch.float64), torch.zeros(1, 1).double()
    leads = torch.full((3,), math.log(2.0), dtype=torch.float64)
    found = solve(Problem(ones, 0.0 * ones, labels, ones.T.contiguous(), single, start, 0.0, 0.0, leads))
    assert found.weights.item() == pytest.approx(math.log(1.0 + math.sqrt(3.0)))


@pytest.mark.parametrize("rater_error", [0.0, 0.1])
@pytest.mark.parametrize("centring", [0.0, 0.05])
@pytest.mark.parametrize("features", [4, 200])
@pytest.mark.parametrize("margins", [False, True])
@pytest.mark.usefixtures("road")
def test_the_gradient_vanishes_at_the_solution(
    rater_error: float, centring: float, features: int, margins: bool
) -> None:
    # 200 features of 60 comparisons lie in a space of 120: there the reduced basis is used.
    these = problem(features=features, rater_error=rater_error, centring=centring, margins=margins)
    weights = solve(these).weights.requires_grad_()
    (gradient,) = torch.autograd.grad(objective(these, weights).sum(), weights)
    # Half the squared decrement g H^-1 g / 2 is below 1e-10, and H here is below 1,000: |g| < sqrt(2e-7) = 4.5e-4.
    assert gradient.abs().max().item() < 4.5e-4
    start = these.starts.clone().requires_grad_()
    assert torch.autograd.grad(objective(these, start).sum(), start)[0].abs().max().item() > 10.0


@pytest.mark.parametrize("margins", [False, True])
def test_an_exact_step_has_the_curvature_of_the_objective(margins: bool) -> None:
    # Where the curvature is right Newton's method squares its error: from 1 to 1e-10 in about five steps.
    these = problem(comparisons=200, margins=margins)
    assert solve(these, tolerance=1e-16).iterations <= 7


@pytest.mark.parametrize("features", [4, 80])
@pytest.mark.parametrize("margins", [False, True])
def test_both_roads_lead_to_the_same_place(features: int, margins: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    these = problem(comparisons=30, features=features, centring=0.01, margins=margins)
    exact = solve(these, tolerance=1e-14)
    monkeypatch.setattr(newton, "DENSE_WORK", 0)
    iterative = solve(these, tolerance=1e-14)
    assert exact.converged and iterative.converged
    torch.testing.assert_close(iterative.weights, exact.weights, rtol=0.0, atol=1e-6)


@pytest.mark.usefixtures("road")
def test_it_agrees_with_the_logistic_regression_of_scikit_learn() -> None:
    these = replace(problem(), starts=torch.zeros(3, 4, dtype=torch.float64))
    found = solve(these).weights
    for row in range(3):
        # C is the inverse precision of the prior; without intercept, on differences.
        reference = LogisticRegression(C=1.0 / these.l2[row].item(), fit_intercept=False, tol=1e-10, max_iter=10_000)
        reference.fit(
            (these.first - these.second).numpy(), these.labels.numpy(), sample_weight=these.weights[row].numpy()
        )
        assert found[row].tolist() == pytest.approx(reference.coef_[0].tolist(), abs=1e-5)


@pytest.mark.usefixtures("road")
def test_problems_solved_together_are_those_solved_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    these = problem(centring=0.01)
    together = solve(these).weights
    monkeypatch.setattr(newton, "BATCH_ELEMENTS", 1)
    torch.testing.assert_close(solve(these).weights, together, rtol=0.0, atol=1e-8)


@pytest.mark.usefixtures("road")
def test_weight_two_is_two_copies() -> None:
    these = problem()
    copies = replace(
        these,
        first=these.first.repeat(2, 1),
        second=these.second.repeat(2, 1),
        labels=these.labels.repeat(2),
        weights=these.weights.repeat(1, 2),
    )
    torch.testing.assert_close(solve(replace(these, weights=2.0 * these.weights)).weights, solve(copies).weights)


@pytest.mark.usefixtures("road")
def test_without_comparisons_that_count_a_head_stays_at_its_start() -> None:
    these = problem()
    silent = replace(these, weights=0.0 * these.weights)
    assert torch.equal(solve(silent).weights, these.starts)


@pytest.mark.usefixtures("road")
def test_a_strong_pull_leads_to_the_start_and_separable_labels_are_held() -> None:
    these = problem()
    strong = replace(these, l2=torch.full((3,), 1e9, dtype=torch.float64))
    torch.testing.assert_close(solve(strong).weights, these.starts, rtol=0.0, atol=1e-5)
    separable = replace(these, labels=((these.first - these.second)[:, 0] > 0).double())
    assert solve(separable).converged


@pytest.mark.usefixtures("road")
def test_huge_features_neither_overflow_nor_stop_the_descent() -> None:
    these = problem()
    huge = replace(these, first=1e4 * these.first, second=1e4 * these.second)
    found = solve(huge)
    assert bool((objective(huge, found.weights) <= objective(huge, huge.starts)).all())
    assert bool(torch.isfinite(found.weights).all())


@pytest.mark.usefixtures("road")
def test_the_objective_never_rises_and_the_watcher_sees_each_step() -> None:
    seen: list[tuple[int, float]] = []
    found = solve(problem(rater_error=0.1), on_step=lambda iteration, value: seen.append((iteration, value)))
    assert [iteration for iteration, _ in seen] == list(range(1, found.iterations + 1))
    values = [value for _, value in seen]
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(values))


def test_running_out_of_iterations_is_said() -> None:
    found = solve(problem(), max_iterations=1)
    assert (found.iterations, found.converged) == (1, False)


def test_an_objective_that_is_not_finite_is_refused() -> None:
    these = problem()
    with pytest.raises(NonFinite, match="objective"):
        solve(replace(these, first=torch.full_like(these.first, torch.nan)))
