"""Sampling, greedy decoding and reading, against the plain computation and against enumeration."""

import math
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from agents.decoding import inverse_cumulative
from agents.divergence import exact_kl
from agents.policy import Policy
from agents.rollout import greedy, rollout, sample, trace
from reward_models.errors import InvalidInput, NonFinite

PROMPTS = ["w1 w2 w3 w4", "w2", "w3 w3"]


def noise(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def log_probability(plain: Callable[..., Tensor], policy: Policy, prompt: str, completion: tuple[int, ...]) -> float:
    logits = plain(policy, policy.encode_prompt(prompt), completion).double()
    return float(torch.log_softmax(logits, -1).gather(-1, torch.tensor(completion)[:, None]).sum())


@torch.no_grad()
def test_completions_come_as_often_as_their_probability_says(
    make_policy: Callable[..., Policy],
    plain_logits: Callable[..., Tensor],
    every_completion: Callable[[int, int], list[tuple[int, ...]]],
) -> None:
    """15 completions, 2 x 5,000 draws, chi-square of 14 degrees of freedom: above 36.1 once in 1,000 seeds."""
    policy = make_policy(2, vocabulary=3)
    draws = 5000
    drawn = sample(policy, PROMPTS[:2], group=draws, max_new_tokens=3, generator=noise(0))
    completions = every_completion(3, 3)
    for number, prompt in enumerate(PROMPTS[:2]):
        rows = slice(number * draws, (number + 1) * draws)
        pairs = zip(drawn.tokens[rows].tolist(), drawn.mask[rows].sum(1).tolist(), strict=True)
        counts = Counter(tuple(tokens[:length]) for tokens, length in pairs)
        expected = {one: draws * math.exp(log_probability(plain_logits, policy, prompt, one)) for one in completions}
        assert sum(expected.values()) == pytest.approx(draws, rel=1e-5)
        assert set(counts) <= set(expected)
        assert sum((counts[one] - mean) ** 2 / mean for one, mean in expected.items()) < 36.1


@torch.no_grad()
def test_reported_log_probabilities_are_those_of_the_plain_computation(
    make_policy: Callable[..., Policy], plain_logits: Callable[..., Tensor]
) -> None:
    policy = make_policy(3)
    drawn = sample(policy, PROMPTS, group=4, max_new_tokens=6, generator=noise(1), keep_distributions=True)
    assert drawn.distributions is not None
    for row, length in enumerate(drawn.mask.sum(1).tolist()):
        tokens = tuple(drawn.tokens[row, :length].tolist())
        plain = log_probability(plain_logits, policy, PROMPTS[row // 4], tokens)
        assert float(drawn.log_probabilities[row].sum()) == pytest.approx(plain, abs=1e-4)
        kept = drawn.distributions[row, :length].gather(-1, drawn.tokens[row, :length, None])[:, 0]
        assert torch.equal(kept, drawn.log_probabilities[row, :length])
        assert drawn.completions[row] == policy.decode(list(tokens))


def test_the_mask_ends_with_the_end_token(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(3, vocabulary=4)
    drawn = sample(policy, PROMPTS, group=8, max_new_tokens=5, generator=noise(2))
    lengths = drawn.mask.sum(1).tolist()
    assert len(set(lengths)) > 2
    for tokens, mask, length in zip(drawn.tokens.tolist(), drawn.mask.tolist(), lengths, strict=True):
        assert mask == [True] * length + [False] * (len(mask) - length)
        assert 0 not in tokens[: length - 1]
        assert length == drawn.tokens.shape[1] or tokens[length - 1] == 0
        assert set(tokens[length:]) <= {policy.pad_id}
    assert bool((drawn.log_probabilities[~drawn.mask] == 0).all())


def test_sampling_stops_when_all_have_ended(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(3)
    with torch.no_grad():
        policy.model.lm_head.weight.zero_()  # uniform over 8 tokens: the longest of 6 ends long before 200
    policy.model.config.max_position_embeddings = 512
    drawn = sample(policy, PROMPTS, group=2, max_new_tokens=200, generator=noise(0))
    assert drawn.tokens.shape[1] == int(drawn.mask.sum(1).max()) < 200
    assert bool((drawn.tokens[drawn.mask] == 0).sum() == 6)


def test_the_generator_alone_decides(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(3)
    before = torch.get_rng_state()
    first = sample(policy, PROMPTS, group=3, max_new_tokens=5, generator=noise(7))
    torch.rand(3)
    second = sample(policy, PROMPTS, group=3, max_new_tokens=5, generator=noise(7))
    third = sample(policy, PROMPTS, group=3, max_new_tokens=5, generator=noise(8))
    assert torch.equal(first.tokens, second.tokens)
    assert first.completions != third.completions
    torch.set_rng_state(before)
    sample(policy, PROMPTS, group=3, max_new_tokens=5, generator=noise(7))
    assert torch.equal(torch.get_rng_state(), before)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=6).filter(any), st.floats(0, 1, exclude_max=True))
def test_inverse_cumulative(weights: list[int], uniform: float) -> None:
    """The chosen token is possible, and the uniform number lies in its interval of the cumulative distribution."""
    probability = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    threshold = torch.tensor([uniform], dtype=torch.float64)
    token = int(inverse_cumulative(probability.log().float()[None], threshold)[0])
    assert weights[token] > 0
    assert sum(weights[:token]) / sum(weights) - 1e-6 <= uniform <= sum(weights[: token + 1]) / sum(weights) + 1e-6


@torch.no_grad()
def test_greedy_takes_the_likeliest_token_at_every_step(
    make_policy: Callable[..., Policy], plain_logits: Callable[..., Tensor]
) -> None:
    policy = make_policy(4)
    prompts = [*PROMPTS, "w5 w6 w7", "w1"]
    expected = []
    for prompt in prompts:
        tokens: list[int] = []
        while len(tokens) < 5 and 0 not in tokens:
            tokens.append(int(plain_logits(policy, policy.encode_prompt(prompt), [*tokens, 0])[-1].argmax()))
        expected.append(policy.decode(tokens))
    assert len(set(expected)) > 1
    for chunk in (1, 2, 16):
        assert greedy(policy, prompts, 5, chunk=chunk) == tuple(expected)


@torch.no_grad()
@pytest.mark.parametrize("chunk", [1, 2, 16])
def test_trace_is_the_plain_computation_in_the_order_given(
    make_policy: Callable[..., Policy], plain_logits: Callable[..., Tensor], chunk: int
) -> None:
    policy = make_policy(5)
    completions = [["w1", "w2 w3 w4 w5"], ["", "w7"], ["w6 w6", "w2"]]
    seen = trace(policy, PROMPTS, completions, chunk=chunk)
    assert seen.mask.sum(1).tolist() == [2, 5, 1, 2, 3, 2]
    texts = [(prompt, text) for prompt, pair in zip(PROMPTS, completions, strict=True) for text in pair]
    for row, (prompt, text) in enumerate(texts):
        before, tokens = policy.encode_prompt(prompt), policy.encode_completion(text)
        plain = torch.log_softmax(plain_logits(policy, before, tokens), -1).gather(-1, torch.tensor(tokens)[:, None])
        torch.testing.assert_close(seen.log_probabilities[row, : len(tokens)], plain[:, 0], atol=1e-5, rtol=1e-5)
        hidden = policy.model.model(input_ids=torch.tensor([[*before, *tokens]])).last_hidden_state[0]
        torch.testing.assert_close(seen.hidden[row, : len(tokens)], hidden[len(before) :], atol=1e-5, rtol=1e-5)
        assert bool((seen.log_probabilities[row, len(tokens) :] == 0).all())
        assert bool((seen.hidden[row, len(tokens) :] == 0).all())


@torch.no_grad()
def test_rollout_reads_the_samples_with_the_reference(
    make_policy: Callable[..., Policy], plain_logits: Callable[..., Tensor]
) -> None:
    policy, reference = make_policy(6), make_policy(7)
    result = rollout(policy, reference, PROMPTS, group=3, max_new_tokens=5, generator=noise(3))
    same = sample(policy, PROMPTS, group=3, max_new_tokens=5, generator=noise(3))
    assert torch.equal(result.samples.tokens, same.tokens)
    for row, length in enumerate(same.mask.sum(1).tolist()):
        prompt = policy.encode_prompt(PROMPTS[row // 3])
        tokens = same.tokens[row, :length]
        of_policy = plain_logits(policy, prompt, tokens.tolist())
        of_reference = plain_logits(reference, prompt, tokens.tolist())
        torch.testing.assert_close(result.kl[row, :length], exact_kl(of_policy, of_reference), atol=1e-4, rtol=1e-4)
        logs = torch.log_softmax(of_policy, -1)
        torch.testing.assert_close(result.entropy[row, :length], -(logs.exp() * logs).sum(-1), atol=1e-4, rtol=1e-4)
        read = torch.log_softmax(of_reference, -1).gather(-1, tokens[:, None])[:, 0]
        torch.testing.assert_close(result.reference.log_probabilities[row, :length], read, atol=1e-4, rtol=1e-4)
        assert float(result.kl[row, length:].sum()) == float(result.entropy[row, length:].sum()) == 0.0


@torch.no_grad()
def test_the_policy_itself_as_reference_is_at_distance_zero(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(6)
    result = rollout(policy, policy.copy(), PROMPTS, group=3, max_new_tokens=5, generator=noise(3))
    assert float(result.kl.abs().max()) < 1e-5
    torch.testing.assert_close(
        result.reference.log_probabilities, result.samples.log_probabilities, atol=1e-5, rtol=1e-5
    )


@torch.no_grad()
def test_expected_kl_along_samples_is_the_kl_of_sequences(
    make_policy: Callable[..., Policy],
    plain_logits: Callable[..., Tensor],
    every_completion: Callable[[int, int], list[tuple[int, ...]]],
) -> None:
    """Chain rule: sum_y p(y) log p(y)/q(y) = E sum_t KL_t. 4,000 draws; the tolerance is four standard errors."""
    policy, reference = make_policy(8, vocabulary=3, spread=0.4), make_policy(9, vocabulary=3, spread=0.4)
    enumerated = 0.0
    for one in every_completion(3, 3):
        log_p = log_probability(plain_logits, policy, PROMPTS[1], one)
        enumerated += math.exp(log_p) * (log_p - log_probability(plain_logits, reference, PROMPTS[1], one))
    kl = rollout(policy, reference, PROMPTS[1:2], group=4000, max_new_tokens=3, generator=noise(5)).kl.sum(1)
    assert float(kl.mean()) == pytest.approx(enumerated, abs=4 * float(kl.std()) / math.sqrt(4000))


def test_what_does_not_fit_the_context_is_refused(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(1)
    with pytest.raises(InvalidInput, match="A prompt of 30 tokens and 3 new ones do not fit the model's context of 32"):
        sample(policy, [" ".join(["w1"] * 30)], group=1, max_new_tokens=3, generator=noise(0))


def test_unusable_arguments_are_refused(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(1)
    with pytest.raises(InvalidInput, match="at least one prompt"):
        greedy(policy, [], 3)
    with pytest.raises(InvalidInput, match="group 0"):
        sample(policy, PROMPTS, group=0, max_new_tokens=3, generator=noise(0))
    for ragged in ([["w1"], ["w1", "w2"], ["w1"]], [["w1"]], [[], [], []]):
        with pytest.raises(InvalidInput, match="same number"):
            trace(policy, PROMPTS, ragged)


def test_logits_that_are_not_finite_are_refused(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(1)
    with torch.no_grad():
        policy.model.lm_head.weight[3] = float("nan")
    with pytest.raises(NonFinite, match="NaN or infinite"):
        sample(policy, PROMPTS, group=2, max_new_tokens=3, generator=noise(0))
