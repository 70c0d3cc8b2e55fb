"""Policies small enough to enumerate: random Llama models of two layers over words, built in memory."""

import itertools
from collections.abc import Callable, Sequence

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from agents.policy import Policy


def word_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """Token 0 is `</s>`, the end, then w1, w2, ...; there is no padding token."""
    words = {"</s>": 0, **{f"w{number}": number for number in range(1, vocabulary)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w1"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


@pytest.fixture(scope="session")
def make_policy() -> Callable[..., Policy]:
    """Build a policy from a seed; `spread` is the standard deviation of its weights."""

    def make(
        seed: int, *, vocabulary: int = 8, spread: float = 0.5, key_heads: int = 1, attention: str = "sdpa"
    ) -> Policy:
        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=key_heads,
            max_position_embeddings=32,
            bos_token_id=None,
            eos_token_id=0,
            attn_implementation=attention,
        )
        model = LlamaForCausalLM(config)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 2:
                    parameter.normal_(0.0, spread, generator=generator)
        return Policy(model, word_tokenizer(vocabulary))

    return make


@pytest.fixture(scope="session")
def plain_logits() -> Callable[[Policy, Sequence[int], Sequence[int]], Tensor]:
    """The plain computation: prompt and completion in one row, no padding, no cache; one row of logits per token."""

    def compute(policy: Policy, prompt: Sequence[int], completion: Sequence[int]) -> Tensor:
        row = torch.tensor([[*prompt, *completion]])
        logits: Tensor = policy.model(input_ids=row, use_cache=False).logits[0]
        return logits[len(prompt) - 1 : -1]

    return compute


@pytest.fixture(scope="session")
def every_completion() -> Callable[[int, int], list[tuple[int, ...]]]:
    """All completions of at most `length` tokens; token 0 ends one."""

    def enumerate_all(vocabulary: int, length: int) -> list[tuple[int, ...]]:
        words = range(1, vocabulary)
        ended = [(*body, 0) for size in range(length) for body in itertools.product(words, repeat=size)]
        return ended + list(itertools.product(words, repeat=length))

    return enumerate_all
