import torch
from torch import Tensor

from reward_models.conjugate_gradients import Hessian, conjugate_gradients, shared_preconditioner


def hessian(*, problems: int = 3, comparisons: int = 40, width: int = 6) -> tuple[Hessian, Tensor]:
    """Hessians of unlike weights and strengths, and a right side for each."""
    generator = torch.Generator().manual_seed(0)
    differences, sums = torch.randn(2, comparisons, width, generator=generator, dtype=torch.float64)
    weights = torch.rand(2, problems, comparisons, generator=generator, dtype=torch.float64)
    l2 = torch.tensor([0.1, 1.0, 100.0], dtype=torch.float64)[:problems]
    right = torch.randn(problems, width, generator=generator, dtype=torch.float64)
    return Hessian(differences, sums, weights[0], 0.1 * weights[1], l2), right


def dense(these: Hessian, problem: int) -> Tensor:
    matrix = these.differences.T @ torch.diag(these.of_differences[problem]) @ these.differences
    matrix = matrix + these.sums.T @ torch.diag(these.of_sums[problem]) @ these.sums
    return matrix + these.l2[problem] * torch.eye(len(matrix), dtype=matrix.dtype)


def test_a_product_is_that_of_the_matrix_written_out() -> None:
    these, right = hessian()
    for problem in range(3):
        torch.testing.assert_close(these.times(right)[problem], dense(these, problem) @ right[problem])


def test_problems_that_are_the_shared_matrix_are_solved_by_the_first_step() -> None:
    these, right = hessian(problems=1)
    precondition = shared_preconditioner(these.differences, these.sums, these.of_differences[0], these.of_sums[0])
    one = torch.ones(1, dtype=torch.float64)
    expected = torch.linalg.solve(dense(these, 0), right[0])
    torch.testing.assert_close(precondition(right, one, these.l2)[0], expected)
    torch.testing.assert_close(conjugate_gradients(these, right, precondition, one)[0], expected)


def test_every_problem_comes_as_near_as_promised_and_a_negligible_one_is_left_alone() -> None:
    these, right = hessian()
    precondition = shared_preconditioner(
        these.differences, these.sums, these.of_differences.mean(dim=0), these.of_sums.mean(dim=0)
    )
    shares = torch.ones(3, dtype=torch.float64)
    right[1] *= 1e-6
    found = conjugate_gradients(these, right, precondition, shares, negligible=1e-9)
    assert found[1].eq(0.0).all()
    for problem in (0, 2):
        residual = right[problem] - dense(these, problem) @ found[problem]
        size = [vector @ precondition(vector[None], shares[:1], these.l2[problem, None])[0]
                for vector in (residual, right[problem])]  # fmt: skip
        # A tenth of the length is a hundredth of the square.
        assert size[0] <= 0.01 * size[1]
        # The quadratic model x H x / 2 - b x is lower than at 0.
        assert 0.5 * found[problem] @ dense(these, problem) @ found[problem] < right[problem] @ found[problem]
