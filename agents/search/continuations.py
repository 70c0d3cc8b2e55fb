"""Completions that go on from given beginnings, behind prompts that are read once."""

from collections.abc import Sequence

import torch

from agents.decoding import encode_prompts
from agents.passes import prefill
from agents.policy import Policy
from agents.rollout import Rollouts, rollout


class Continuations:
    """Draws completions from given beginnings, again and again, of the same prompts."""

    def __init__(self, policy: Policy, prompts: Sequence[str], *, reference: Policy, max_new_tokens: int) -> None:
        """Read the prompts with the policy; `InvalidInput` as `encode_prompts`."""
        self._policy, self._reference, self._prompts = policy, reference, prompts
        self._max_new_tokens = max_new_tokens
        tokens = encode_prompts(policy, prompts, group=1, max_new_tokens=max_new_tokens)
        with torch.no_grad(), policy.active() as model:
            self._shared = prefill(model, tokens, pad_id=policy.pad_id)

    def draw(self, beginnings: Sequence[Sequence[Sequence[int]]], generator: torch.Generator) -> Rollouts:
        """One completion of each beginning (tokens); every prompt has equally many of them."""
        return rollout(
            self._policy,
            self._reference,
            self._prompts,
            group=len(beginnings[0]),
            max_new_tokens=self._max_new_tokens,
            generator=generator,
            shared=self._shared,
            beginnings=[tokens for of_prompt in beginnings for tokens in of_prompt],
        )
