"""Plain passes have the values and gradients of the plain computation, whatever is padding and however it is cut."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from agents import passes, plain_passes, shared_prompt
from agents.policy import Policy

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


@pytest.mark.parametrize("places", [plain_passes.PLACES, 1, 30])
def test_values_and_gradient_are_those_of_the_plain_computation(
    make_policy: Callable[..., Policy],
    plain_logits: Callable[..., Tensor],
    monkeypatch: pytest.MonkeyPatch,
    places: int,
) -> None:
    """All rows at once, one at a time, or two (12 tokens each) at a time."""
    monkeypatch.setattr(plain_passes, "PLACES", places)
    policy = make_policy(0)
    read = plain_passes.prefill(policy.model, PROMPTS, pad_id=policy.pad_id)
    found = plain_passes.completion_pass(policy.model, read, TOKENS, group=GROUP)
    rows = [plain_logits(policy, PROMPTS[row // GROUP], tokens.tolist()) for row, tokens in enumerate(TOKENS)]
    plain = torch.stack(rows)
    torch.testing.assert_close(found.logits, plain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(read.next_logits, plain[::GROUP, 0].detach(), atol=1e-5, rtol=1e-5)
    assert read.detach() is read and not read.next_logits.requires_grad and not read.last_hidden.requires_grad
    expected = gradients(policy, weighted(plain))
    for name, gradient in gradients(policy, weighted(found.logits)).items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-5, msg=name)
    assert max(float(gradient.abs().max()) for gradient in expected.values()) > 1e-2


@torch.no_grad()
def test_states_stand_before_and_after_each_token(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(0)
    read = plain_passes.prefill(policy.model, PROMPTS, pad_id=policy.pad_id)
    found = plain_passes.completion_pass(policy.model, read, TOKENS, group=GROUP)
    for row, tokens in enumerate(TOKENS):
        prompt = PROMPTS[row // GROUP]
        plain = policy.model.model(input_ids=torch.tensor([[*prompt, *tokens.tolist()]])).last_hidden_state[0]
        torch.testing.assert_close(found.hidden[row], plain[len(prompt) :], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.states[row], plain[len(prompt) - 1 : -1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.states[::GROUP, 0], read.last_hidden, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_plain_and_shared_passes_agree(make_policy: Callable[..., Policy]) -> None:
    """Two independent computations of everything that a pass yields."""
    policy = make_policy(3)
    plain = plain_passes.prefill(policy.model, PROMPTS, pad_id=policy.pad_id)
    shared = shared_prompt.prefill(policy.model, PROMPTS, pad_id=policy.pad_id)
    one = plain_passes.completion_pass(policy.model, plain, TOKENS, group=GROUP)
    other = shared_prompt.completion_pass(policy.model, shared, TOKENS, group=GROUP)
    for name in ("logits", "hidden", "states"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_decoding_token_by_token_is_the_pass_over_all_tokens(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(1)
    read = plain_passes.prefill(policy.model, PROMPTS, pad_id=policy.pad_id)
    logits = plain_passes.completion_pass(policy.model, read, TOKENS, group=GROUP).logits
    decoder = passes.Decoder(policy.model, read, group=GROUP, max_new_tokens=TOKENS.shape[1])
    for time in range(TOKENS.shape[1] - 1):
        torch.testing.assert_close(decoder.step(TOKENS[:, time]), logits[:, time + 1], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_fills_rows_up_changes_nothing(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(1)
    found = []
    for pad in (0, 6):
        read = plain_passes.prefill(policy.model, PROMPTS, pad_id=pad)
        found.append((read, plain_passes.completion_pass(policy.model, read, TOKENS, group=GROUP)))
    assert torch.equal(found[0][0].next_logits, found[1][0].next_logits)
    assert torch.equal(found[0][1].logits, found[1][1].logits)


def test_autocast_keeps_the_gradient(make_policy: Callable[..., Policy]) -> None:
    """Reading prompts without gradient must leave no casts behind that cut the gradient of the pass after it."""
    policy = make_policy(0, spread=0.2)
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            read = plain_passes.prefill(policy.model, PROMPTS, pad_id=policy.pad_id)
            logits = plain_passes.completion_pass(policy.model, read, TOKENS, group=GROUP).logits
        assert logits.dtype == torch.float32
        found.append(torch.cat([part.flatten() for part in gradients(policy, weighted(logits)).values()]))
    assert float(torch.nn.functional.cosine_similarity(*found, dim=0)) > 0.98
