"""Token after token: the distributions that a policy acts with, within its limit where it has one, and what is taken.

Sampling inverts the cumulative distribution at a uniform number, and greedy decoding takes the likeliest token; both go
through `decode`, so that what acts is the same for all.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from agents.passes import Decoder, Prefill, prefill
from agents.policy import Policy
from reward_models.errors import InvalidInput


def encode_prompts(
    policy: Policy, prompts: Sequence[str], *, group: int, max_new_tokens: int
) -> tuple[tuple[int, ...], ...]:
    """Tokens of each prompt; `InvalidInput` if there is none, or one does not fit the context with its completion."""
    if not prompts or group < 1 or max_new_tokens < 1:
        raise InvalidInput(
            f"Needed: at least one prompt, group >= 1 and max_new_tokens >= 1; got {len(prompts)} prompts, group "
            f"{group}, max_new_tokens {max_new_tokens}."
        )
    tokens = tuple(tuple(policy.encode_prompt(prompt)) for prompt in prompts)
    context = policy.context
    longest = max(len(prompt) for prompt in tokens)
    if context is not None and longest + max_new_tokens > context:
        raise InvalidInput(
            f"A prompt of {longest} tokens and {max_new_tokens} new ones do not fit the model's context of {context}; "
            "shorten the prompt, or brief its parts."
        )
    return tokens


def inverse_cumulative(
    log_probabilities: Float[Tensor, "sequences vocabulary"], uniform: Float64[Tensor, " sequences"]
) -> Int[Tensor, " sequences"]:
    """The first token whose cumulative probability exceeds a uniform number in [0, 1); never one of probability 0."""
    cumulative = log_probabilities.double().exp().cumsum(dim=-1)
    threshold = uniform[:, None] * cumulative[:, -1:]
    last = log_probabilities.shape[-1] - 1
    return torch.searchsorted(cumulative, threshold, right=True)[:, 0].clamp(max=last)


class Actor:
    """The distributions that a policy acts with, token by token; within its limit, where it has one."""

    def __init__(
        self,
        policy: Policy,
        prompts: Sequence[str],
        *,
        group: int,
        max_new_tokens: int,
        shared: Prefill | None = None,
    ) -> None:
        self._network = Network(policy, prompts, group=group, max_new_tokens=max_new_tokens, shared=shared)
        self._limited = policy.limited
        self.reference_distribution: list[Tensor] = []
        """The reference's log-probabilities of the next token, where there is a limit; else nothing."""
        if policy.limited is not None:
            reference = policy.limited.reference
            self._reference = Network(reference, prompts, group=group, max_new_tokens=max_new_tokens)
            self._left = self._network.logits.new_full((len(prompts) * group,), policy.limited.limit.allowance)

    def distribution(self) -> Tensor:
        """Log-probabilities of the next token."""
        found = torch.log_softmax(self._network.logits, dim=-1)
        if self._limited is None:
            return found
        reference = torch.log_softmax(self._reference.logits, dim=-1)
        self.reference_distribution = [reference]
        acting = self._limited.limit.act(found, reference, self._left)
        self._left = acting.left
        return acting.log_probabilities

    def read(self, token: Tensor) -> None:
        """Go on behind these tokens."""
        self._network.read(token)
        if self._limited is not None:
            self._reference.read(token)


class Network:
    """One network that reads token by token behind its own prompts."""

    def __init__(
        self,
        policy: Policy,
        prompts: Sequence[str],
        *,
        group: int,
        max_new_tokens: int,
        shared: Prefill | None = None,
    ) -> None:
        self._policy = policy
        tokens = encode_prompts(policy, prompts, group=group, max_new_tokens=max_new_tokens)
        with policy.active() as model:
            shared = prefill(model, tokens, pad_id=policy.pad_id) if shared is None else shared.detach()
            self._decoder = Decoder(model, shared, group=group, max_new_tokens=max_new_tokens)
        self.logits = shared.next_logits.repeat_interleave(group, dim=0)

    def read(self, token: Tensor) -> None:
        """Go on behind these tokens."""
        with self._policy.active():
            self.logits = self._decoder.step(token)


def likeliest(distribution: Float[Tensor, "sequences vocabulary"], time: int) -> Int[Tensor, " sequences"]:
    """The token of the highest probability, at any time."""
    return distribution.argmax(dim=-1)


def decode(
    actor: Actor, choose: Callable[[Tensor, int], Tensor], *, policy: Policy, max_new_tokens: int
) -> tuple[Int[Tensor, "sequences time"], Bool[Tensor, "sequences time"]]:
    """Tokens as `choose(distribution, time)` picks them, and their mask; ends early once all completions have ended."""
    distribution = actor.distribution()
    ended = torch.zeros(len(distribution), dtype=torch.bool, device=distribution.device)
    stops = torch.tensor(policy.stop_ids, device=distribution.device)
    tokens: list[Tensor] = []
    mask: list[Tensor] = []
    for time in range(max_new_tokens):
        token = choose(distribution, time).masked_fill(ended, policy.pad_id)
        tokens.append(token)
        mask.append(~ended)
        ended = ended | torch.isin(token, stops)
        if bool(ended.all()) or time + 1 == max_new_tokens:
            break
        actor.read(token)
        distribution = actor.distribution()
    return torch.stack(tokens, dim=1), torch.stack(mask, dim=1)
