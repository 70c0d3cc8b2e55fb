"""A policy with a state of its own for every prefix: what can be asked of a distribution over completions, it can be.

What an objective ends at does not depend on the network, so most tests of ends train this one, at a tenth of the price
of a transformer. It keeps no cache, so it goes the way of `agents.plain_passes`; that a prompt may be shared by its
group, with the same probabilities and gradients, is tested on transformers (test_shared_prompt.py).
"""

from typing import Any

import torch
from torch import Tensor
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from agents.policy import Policy
from tests.agents.conftest import word_tokenizer

LONGEST = 6
"""Tokens of a prompt and its completion."""
SCALE = 10.0
"""Of the states over their weights: a learning rate then moves about as much as in a transformer of this size."""


class PrefixConfig(PretrainedConfig):
    """Sizes; `max_position_embeddings` is the longest text that has states."""

    model_type = "prefix"

    def __init__(self, vocab_size: int = 3, hidden_size: int = 16, **settings: Any) -> None:
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        self.max_position_embeddings = LONGEST
        self.num_hidden_layers = self.num_attention_heads = 1
        super().__init__(**settings)


class PrefixModel(PreTrainedModel, GenerationMixin):
    """Logits W s(prefix), with a free s for every text of at most LONGEST tokens."""

    config_class = PrefixConfig

    def __init__(self, config: PrefixConfig) -> None:
        super().__init__(config)
        prefixes = sum(config.vocab_size**length for length in range(LONGEST + 1))
        self.states = torch.nn.Embedding(prefixes, config.hidden_size)
        self.head = torch.nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> torch.nn.Module:
        """States stand where another model has embeddings."""
        return self.states

    def get_output_embeddings(self) -> torch.nn.Module:
        """The layer over the vocabulary."""
        return self.head

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, use_cache: bool = False) -> Any:
        """Padding is on the right, behind what it could be mistaken for."""
        number = torch.zeros_like(input_ids[:, 0])
        numbers = []
        for token in input_ids.unbind(1):
            # Texts in the order of their length, then of their tokens: 0 is the empty one.
            number = number * self.config.vocab_size + 1 + token
            numbers.append(number)
        return CausalLMOutput(logits=self.head(SCALE * self.states(torch.stack(numbers, dim=1))))


def prefix_policy(seed: int, *, vocabulary: int, spread: float) -> Policy:
    """From a seed; `spread` is the standard deviation of the weights over the vocabulary, that of states is 1."""
    model = PrefixModel(PrefixConfig(vocab_size=vocabulary, eos_token_id=0, bos_token_id=None))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model.states.weight.normal_(0.0, 1.0 / SCALE, generator=generator)
        model.head.weight.normal_(0.0, spread, generator=generator)
    return Policy(model, word_tokenizer(vocabulary))
