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
    *, seed: int = 0, comparisons: int = 60, features: int = 4, rater_error: float = 0.0, centring: float = 0.0
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
    )


def test_one_feature_is_solved_by_hand() -> None:
    # Three comparisons of difference 1, labels 1, 1, 0, no pull to speak of: sigmoid(w) = 2/3, so w = log 2.
    ones = torch.ones(3, 1, dtype=torch.float64)
    labels = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    single = torch.full((1,), 1e-12, dtype=torch.float64)
    found = solve(Problem(ones, 0.0 * ones, labels, ones.T.contiguous(), single, torch.zeros(1, 1).double(), 0.0, 0.0))
    assert found.weights.item() == pytest.approx(math.log(2.0))
    assert found.converged


@pytest.mark.parametrize("rater_error", [0.0, 0.1])
@pytest.mark.parametrize("centring", [0.0, 0.05])
@pytest.mark.parametrize("features", [4, 200])
def test_the_gradient_vanishes_at_the_solution(rater_error: float, centring: float, features: int) -> None:
    # 200 features of 60 comparisons lie in a space of 120: there the reduced basis is used.
    these = problem(features=features, rater_error=rater_error, centring=centring)
    weights = solve(these).weights.requires_grad_()
    (gradient,) = torch.autograd.grad(objective(these, weights).sum(), weights)
    # Half the squared decrement g H^-1 g / 2 is below 1e-10, and H here is below 1,000: |g| < sqrt(2e-7) = 4.5e-4.
    assert gradient.abs().max().item() < 4.5e-4
    start = these.starts.clone().requires_grad_()
    assert torch.autograd.grad(objective(these, start).sum(), start)[0].abs().max().item() > 10.0


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


def test_problems_solved_together_are_those_solved_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    these = problem(centring=0.01)
    together = solve(these).weights
    monkeypatch.setattr(newton, "BATCH_ELEMENTS", 1)
    torch.testing.assert_close(solve(these).weights, together, rtol=0.0, atol=1e-8)


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


def test_without_comparisons_that_count_a_head_stays_at_its_start() -> None:
    these = problem()
    silent = replace(these, weights=0.0 * these.weights)
    assert torch.equal(solve(silent).weights, these.starts)


def test_a_strong_pull_leads_to_the_start_and_separable_labels_are_held() -> None:
    these = problem()
    strong = replace(these, l2=torch.full((3,), 1e9, dtype=torch.float64))
    torch.testing.assert_close(solve(strong).weights, these.starts, rtol=0.0, atol=1e-5)
    separable = replace(these, labels=((these.first - these.second)[:, 0] > 0).double())
    assert solve(separable).converged


def test_huge_features_neither_overflow_nor_stop_the_descent() -> None:
    these = problem()
    huge = replace(these, first=1e4 * these.first, second=1e4 * these.second)
    found = solve(huge)
    assert bool((objective(huge, found.weights) <= objective(huge, huge.starts)).all())
    assert bool(torch.isfinite(found.weights).all())


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
