"""The shared prompt must change the cost only: values and gradients are those of the plain computation."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import Gemma2Config, Gemma2ForCausalLM

from agents.policy import Policy
from agents.shared_prompt import Decoder, Prefill, completion_pass, left_pad, prefill, rows_per_prompt

PROMPTS = [[1, 2, 3, 4, 5, 6, 7], [3], [5, 1, 1, 2]]
GROUP = 3
TOKENS = torch.randint(0, 8, (len(PROMPTS) * GROUP, 5), generator=torch.Generator().manual_seed(3))


def gradients(policy: Policy, value: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*policy.model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(value, parameters), strict=True))


def weighted(logits: Tensor) -> Tensor:
    """A number that depends on every logit, each with another weight."""
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(4))
    return (torch.log_softmax(logits, dim=-1) * weights).mean()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("key_heads", [1, 2])
def test_logits_and_gradient_are_those_of_the_plain_computation(
    make_policy: Callable[..., Policy], plain_logits: Callable[..., Tensor], attention: str, key_heads: int
) -> None:
    policy = make_policy(0, attention=attention, key_heads=key_heads)
    shared = prefill(policy.model, PROMPTS, pad_id=policy.pad_id)
    logits = completion_pass(policy.model, shared, TOKENS, group=GROUP).logits
    rows = [plain_logits(policy, PROMPTS[row // GROUP], tokens.tolist()) for row, tokens in enumerate(TOKENS)]
    plain = torch.stack(rows)
    torch.testing.assert_close(logits, plain, atol=1e-5, rtol=1e-5)
    expected = gradients(policy, weighted(plain))
    for name, gradient in gradients(policy, weighted(logits)).items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-5, msg=name)
    assert max(float(gradient.abs().max()) for gradient in expected.values()) > 1e-2


def test_hidden_states_are_those_after_reading_each_token(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(0)
    with torch.no_grad():
        shared = prefill(policy.model, PROMPTS, pad_id=policy.pad_id)
        hidden = completion_pass(policy.model, shared, TOKENS, group=GROUP).hidden
        for row, tokens in enumerate(TOKENS):
            prompt = PROMPTS[row // GROUP]
            plain = policy.model.model(input_ids=torch.tensor([[*prompt, *tokens.tolist()]])).last_hidden_state[0]
            torch.testing.assert_close(hidden[row], plain[len(prompt) :], atol=1e-5, rtol=1e-5)


def test_states_are_those_in_which_each_token_is_chosen(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(0)
    with torch.no_grad():
        shared = prefill(policy.model, PROMPTS, pad_id=policy.pad_id)
        seen = completion_pass(policy.model, shared, TOKENS, group=GROUP)
    assert torch.equal(seen.states[:, 1:], seen.hidden[:, :-1])
    assert torch.equal(seen.states[:, 0], shared.last_hidden.repeat_interleave(GROUP, dim=0))
    torch.testing.assert_close(policy.model.lm_head(seen.states), seen.logits, atol=1e-5, rtol=1e-5)


def test_a_model_that_changes_its_logits_after_the_output_layer_is_followed() -> None:
    """Gemma 2 caps its logits at c tanh(z / c): what is shared must go through all of its forward pass."""
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=8,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        final_logit_softcapping=5.0,
        initializer_range=0.2,
        attn_implementation="eager",
    )
    model = Gemma2ForCausalLM(config).eval()
    with torch.no_grad():
        shared = prefill(model, PROMPTS, pad_id=0)
        logits = completion_pass(model, shared, TOKENS, group=GROUP).logits
        for row, tokens in enumerate(TOKENS.tolist()):
            prompt = PROMPTS[row // GROUP]
            plain = model(input_ids=torch.tensor([[*prompt, *tokens]]), use_cache=False).logits[0, len(prompt) - 1 : -1]
            torch.testing.assert_close(logits[row], plain, atol=1e-5, rtol=1e-5)
    assert 2.0 < float(logits.abs().max()) < 5.0


@torch.no_grad()
def test_decoding_token_by_token_is_the_pass_over_all_tokens(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(1)
    shared = prefill(policy.model, PROMPTS, pad_id=policy.pad_id)
    logits = completion_pass(policy.model, shared, TOKENS, group=GROUP).logits
    decoder = Decoder(policy.model, shared, group=GROUP, max_new_tokens=TOKENS.shape[1])
    for time in range(TOKENS.shape[1] - 1):
        torch.testing.assert_close(decoder.step(TOKENS[:, time]), logits[:, time + 1], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_decoding_under_autocast_is_close(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(1, spread=0.2)
    exact = completion_pass(policy.model, prefill(policy.model, PROMPTS, pad_id=0), TOKENS, group=GROUP).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        shared = prefill(policy.model, PROMPTS, pad_id=0)
        decoder = Decoder(policy.model, shared, group=GROUP, max_new_tokens=TOKENS.shape[1])
        for time in range(TOKENS.shape[1] - 1):
            step = decoder.step(TOKENS[:, time])
            assert step.dtype == torch.float32
            torch.testing.assert_close(step, exact[:, time + 1], atol=0.05, rtol=0.05)


def test_a_detached_prefill_has_equal_numbers_and_no_graph(make_policy: Callable[..., Policy]) -> None:
    shared = prefill(make_policy(0).model, PROMPTS, pad_id=0)
    detached = shared.detach()
    assert shared.next_logits.requires_grad and not detached.next_logits.requires_grad
    for pair, detached_pair in zip(shared.keys_and_values, detached.keys_and_values, strict=True):
        for tensor, other in zip(pair, detached_pair, strict=True):
            assert tensor.requires_grad and not other.requires_grad
            assert torch.equal(tensor, other)


@pytest.mark.parametrize(
    ("length", "group", "time", "rows"),
    [(500, 8, 50, 1), (500, 16, 50, 2), (1000, 16, 50, 1), (10, 64, 256, 32), (10, 7, 512, 7), (10, 1, 900, 1)],
)
def test_large_groups_are_laid_out_in_several_rows(length: int, group: int, time: int, rows: int) -> None:
    """A row may be as long as the prompt, at least 512: 16 x 50 = 800 needs two rows behind 500 tokens."""
    mask = torch.ones(2, length, dtype=torch.bool)
    shared = Prefill(keys_and_values=(), mask=mask, next_logits=torch.zeros(2, 8), last_hidden=torch.zeros(2, 4))
    assert rows_per_prompt(shared, group=group, time=time) == rows


def test_several_rows_compute_the_same(make_policy: Callable[..., Policy]) -> None:
    """150 completions of 5 tokens (750 places) take two rows; each group of 3 of them takes one."""
    policy = make_policy(0)
    tokens = torch.randint(0, 8, (2 * 150, 5), generator=torch.Generator().manual_seed(5))
    shared = prefill(policy.model, PROMPTS[:2], pad_id=0)
    assert rows_per_prompt(shared, group=150, time=5) == 2
    large = completion_pass(policy.model, shared, tokens, group=150)
    decoder = Decoder(policy.model, shared, group=150, max_new_tokens=5)
    torch.testing.assert_close(decoder.step(tokens[:, 0]), large.logits[:, 1], atol=1e-5, rtol=1e-5)
    some = torch.tensor([0, 70, 149, 150, 200, 299])
    shared = prefill(policy.model, PROMPTS[:2], pad_id=0)
    small = completion_pass(policy.model, shared, tokens[some], group=3)
    torch.testing.assert_close(large.logits[some], small.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(large.hidden[some], small.hidden, atol=1e-5, rtol=1e-5)
    first = gradients(policy, weighted(large.logits[some]))
    second = gradients(policy, weighted(small.logits))
    assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)


def test_padding_stands_on_the_left() -> None:
    tokens, mask = left_pad([[5, 6], [7]], pad_id=9, device=torch.device("cpu"))
    assert tokens.tolist() == [[5, 6], [9, 7]]
    assert mask.tolist() == [[True, True], [False, True]]
