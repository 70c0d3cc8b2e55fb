import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_models.errors import InvalidInput, NonFinite
from reward_models.features import (
    EXTRACTORS,
    STATISTICS,
    extract,
    last_hidden,
    likelihood_statistics,
    mean_hidden,
    summed_hidden,
)
from reward_models.trace import CompletionTrace


def two_completions() -> CompletionTrace:
    """Three tokens and one token; the padding holds values that would show if they were read."""
    return CompletionTrace(
        log_probabilities=torch.tensor([[-0.5, -3.0, -5.5], [-1.5, -99.0, torch.nan]]),
        hidden=torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]], [[7.0, 8.0], [99.0, 99.0], [torch.nan, 99.0]]]),
        mask=torch.tensor([[True, True, True], [True, False, False]]),
    )


def random_trace(seed: int, sequences: int = 4, time: int = 6, width: int = 3) -> CompletionTrace:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, time + 1, (sequences, 1), generator=generator)
    return CompletionTrace(
        log_probabilities=-3.0 * torch.rand(sequences, time, generator=generator) ** 2,
        hidden=torch.randn(sequences, time, width, generator=generator),
        mask=torch.arange(time) < lengths,
    )


def test_likelihood_statistics_are_those_computed_by_hand() -> None:
    # First: mean -9/3 = -3, sum -9, min -5.5, 3 tokens.
    # Excess above 1: 0 + 2 + 4.5 = 6.5; above 2: 1 + 3.5 = 4.5; above 4: 1.5.
    # Second: one token of -1.5; excess above 1 is 0.5.
    expected = [[-3.0, -9.0, -5.5, 3.0, 6.5, 4.5, 1.5], [-1.5, -1.5, -1.5, 1.0, 0.5, 0.0, 0.0]]
    found = likelihood_statistics(two_completions())
    assert found.tolist() == expected
    assert found.shape[1] == len(STATISTICS)


def test_hidden_features_are_those_computed_by_hand() -> None:
    trace = two_completions()
    assert summed_hidden(trace).tolist() == [[9.0, 15.0], [7.0, 8.0]]
    assert mean_hidden(trace).tolist() == [[3.0, 5.0], [7.0, 8.0]]
    assert last_hidden(trace).tolist() == [[5.0, 9.0], [7.0, 8.0]]


def test_last_hidden_finds_the_last_token_that_counts_wherever_the_padding_is() -> None:
    trace = CompletionTrace(
        log_probabilities=torch.zeros(1, 4),
        hidden=torch.arange(4.0)[None, :, None],
        mask=torch.tensor([[False, True, True, False]]),
    )
    assert last_hidden(trace).tolist() == [[2.0]]


def test_extract_puts_features_side_by_side_in_the_order_of_the_names() -> None:
    trace = two_completions()
    found = extract(trace, ("mean_hidden", "likelihood_statistics"))
    assert torch.equal(found, torch.cat([mean_hidden(trace), likelihood_statistics(trace)], dim=1))


@pytest.mark.parametrize("names", [("mean_hiden",), (), ("mean_hidden", "mean_hidden")])
def test_extract_refuses_names_it_does_not_know_or_twice(names: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput, match="last_hidden, likelihood_statistics, mean_hidden, summed_hidden"):
        extract(two_completions(), names)


def test_a_completion_without_tokens_is_named() -> None:
    trace = two_completions()
    empty = CompletionTrace(trace.log_probabilities, trace.hidden, torch.tensor([[True] * 3, [False] * 3]))
    for name in EXTRACTORS:
        with pytest.raises(InvalidInput, match=r"completions \[1\] have no token"):
            extract(empty, (name,))


def test_a_value_that_is_not_finite_on_a_counted_token_is_refused() -> None:
    trace = two_completions()
    counted = CompletionTrace(trace.log_probabilities, trace.hidden, torch.ones(2, 3, dtype=torch.bool))
    for name in EXTRACTORS:
        with pytest.raises(NonFinite, match=r"completions \[1\]"):
            extract(counted, (name,))


def test_a_trace_of_unequal_parts_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"must share \(sequences, time\)"):
        # Plain shapes, which the annotations alone would let through outside the tests.
        CompletionTrace.__post_init__(_unchecked(torch.zeros(2, 3), torch.zeros(2, 4, 1), torch.ones(2, 3).bool()))


def _unchecked(log_probabilities: torch.Tensor, hidden: torch.Tensor, mask: torch.Tensor) -> CompletionTrace:
    trace = object.__new__(CompletionTrace)
    for name, value in {"log_probabilities": log_probabilities, "hidden": hidden, "mask": mask}.items():
        object.__setattr__(trace, name, value)
    return trace


def test_half_precision_passes_are_summed_in_single_precision() -> None:
    # 256 + 1 is 256 in bfloat16, so summing 300 ones there would stop at 256.
    trace = CompletionTrace(
        log_probabilities=-torch.ones(1, 300, dtype=torch.bfloat16),
        hidden=torch.ones(1, 300, 1, dtype=torch.bfloat16),
        mask=torch.ones(1, 300, dtype=torch.bool),
    )
    found = extract(trace, ("summed_hidden", "likelihood_statistics"))
    assert found.dtype == torch.float32
    assert found[0, :3].tolist() == [300.0, -1.0, -300.0]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), extra=st.integers(1, 4))
def test_padding_changes_no_feature(seed: int, extra: int) -> None:
    trace = random_trace(seed)
    rows = len(trace)
    padded = CompletionTrace(
        log_probabilities=torch.cat([trace.log_probabilities, torch.full((rows, extra), -7.0)], dim=1),
        hidden=torch.cat([trace.hidden, torch.full((rows, extra, 3), 7.0)], dim=1),
        mask=torch.cat([trace.mask, torch.zeros(rows, extra, dtype=torch.bool)], dim=1),
    )
    names = tuple(EXTRACTORS)
    torch.testing.assert_close(extract(padded, names), extract(trace, names))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_statistics_agree_with_a_loop_over_tokens(seed: int) -> None:
    trace = random_trace(seed)
    for row, found in enumerate(likelihood_statistics(trace).tolist()):
        values = [v for v, m in zip(trace.log_probabilities[row].tolist(), trace.mask[row].tolist(), strict=True) if m]
        excess = [sum(max(0.0, -value - threshold) for value in values) for threshold in (1, 2, 4)]
        assert found == pytest.approx(
            [sum(values) / len(values), sum(values), min(values), len(values), *excess], abs=1e-5
        )
