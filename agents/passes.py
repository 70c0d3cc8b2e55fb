"""The three passes that everything here is made of: over prompts, over completions behind them, and token by token.

Where the model allows it, a prompt is computed once for its whole group (`shared_prompt`); elsewhere each completion is
read behind its own prompt (`plain_passes`), which is slow and has the same probabilities. `can_share` decides. A model
whose attention has a window shares its prompts as long as prompt and completion fit into it.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import get_layer_types_and_kwargs

from agents import plain_passes, shared_prompt
from agents.plain_passes import PlainPrefill
from agents.shared_prompt import CompletionPass as CompletionPass
from reward_models.loading import padding_position

KEYS_AND_VALUES = {"full_attention", "sliding_attention", "chunked_attention"}
"""The kinds of layers that keep nothing else of what they have read."""
TAKES_ANY_MASK = {"eager", "sdpa"}
"""The implementations of attention that read an additive mask of every place with every other."""


@dataclass(frozen=True)
class WindowedPrefill:
    """Prompts of a model with a window: shared as far as it reaches, and their tokens for what is longer."""

    shared: shared_prompt.Prefill
    """What holds while prompt and completion fit into the window."""
    prompts: tuple[tuple[int, ...], ...]
    """Tokens of each prompt."""
    pad_id: int
    """What fills rows up."""

    @property
    def next_logits(self) -> Float[Tensor, "prompts vocabulary"]:
        """Logits of the first completion token."""
        return self.shared.next_logits

    @property
    def last_hidden(self) -> Float[Tensor, "prompts width"]:
        """The last hidden state, in which the first completion token is chosen."""
        return self.shared.last_hidden

    def detach(self) -> "WindowedPrefill":
        """The same numbers without their graph."""
        return replace(self, shared=self.shared.detach())

    def for_completions(self, model: PreTrainedModel, time: int) -> shared_prompt.Prefill | PlainPrefill:
        """What completions of up to `time` tokens stand behind."""
        if can_share(model, max(len(prompt) for prompt in self.prompts) + time):
            return self.shared
        return PlainPrefill(
            prompts=self.prompts, pad_id=self.pad_id, next_logits=self.next_logits, last_hidden=self.last_hidden
        )


Prefill = shared_prompt.Prefill | PlainPrefill | WindowedPrefill
"""All have `next_logits`, `last_hidden` and `detach`; the rest is for the passes here."""


def can_share(model: PreTrainedModel, length: int) -> bool:
    """Whether a prompt can be computed once for completions that make it up to `length` tokens long.

    Sharing lays the completions of a group side by side behind one prompt, each token at the position it would have
    alone, under a mask that hides the others. So a model cannot share

    - if a layer keeps anything but keys and values: a recurrent state (Mamba, RWKV, hybrids) or a convolution runs
      through the neighbour's tokens, whatever the mask says;
    - if its forward pass takes no position ids or no cache, or it counts positions itself: ALiBi (BLOOM, MPT) and
      padding-aware positions (RoBERTa) are measured by the place in the row;
    - if its attention is not that of the library's common interface, which hands a mask on as it is: older models cut
      their own causal mask out of a table, by the place in the row (GPT-Neo), and foreign code does what it likes;
    - if its attention is computed by something that takes no such mask (flash and flex attention);
    - if a window is shorter than `length`: the mask knows of none, so all must fit into it.
    """
    parameters = inspect.signature(_forward(model)).parameters
    kinds = _kinds_of_layers(model)
    return (
        model._supports_attention_backend
        and {"position_ids", "past_key_values", "use_cache"} <= parameters.keys()
        and not getattr(model.config.get_text_config(), "alibi", False)
        and padding_position(model) is None
        and model.config._attn_implementation in TAKES_ANY_MASK
        and kinds.keys() <= KEYS_AND_VALUES
        and all(window is None or length <= window for window in kinds.values())
    )


def prefill(model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, pad_id: int) -> Prefill:
    """Read P prompts for completions behind them. The next pass over completions takes the gradient through them."""
    longest = max(len(prompt) for prompt in prompts)
    if not can_share(model, longest + 1):
        return plain_passes.prefill(model, prompts, pad_id=pad_id)
    shared = shared_prompt.prefill(model, prompts, pad_id=pad_id)
    if all(window is None for window in _kinds_of_layers(model).values()):
        return shared
    return WindowedPrefill(shared=shared, prompts=tuple(tuple(prompt) for prompt in prompts), pad_id=pad_id)


def completion_pass(
    model: PreTrainedModel, shared: Prefill, tokens: Int[Tensor, "sequences time"], *, group: int
) -> CompletionPass:
    """Logits and hidden states of right-padded completions, `group` of them per prompt of `shared`, in prompt order."""
    if isinstance(shared, WindowedPrefill):
        shared = shared.for_completions(model, tokens.shape[1])
    if isinstance(shared, PlainPrefill):
        return plain_passes.completion_pass(model, shared, tokens, group=group)
    return shared_prompt.completion_pass(model, shared, tokens, group=group)


@final
class Decoder:
    """Token-by-token reading of `group` completions behind each prompt of `shared`, without gradient."""

    def __init__(self, model: PreTrainedModel, shared: Prefill, *, group: int, max_new_tokens: int) -> None:
        """Reserve room for `max_new_tokens` tokens of each completion."""
        if isinstance(shared, WindowedPrefill):
            shared = shared.for_completions(model, max_new_tokens)
        self._reader = (
            plain_passes.PlainDecoder(model, shared, group=group, max_new_tokens=max_new_tokens)
            if isinstance(shared, PlainPrefill)
            else shared_prompt.Decoder(model, shared, group=group, max_new_tokens=max_new_tokens)
        )

    def step(self, tokens: Int[Tensor, " sequences"]) -> Float[Tensor, "sequences vocabulary"]:
        """Read the next token of every completion and return the logits of the one after it."""
        return self._reader.step(tokens)


def _kinds_of_layers(model: PreTrainedModel) -> dict[str, int | None]:
    """Every kind of layer in the model, with the shortest window that one of that kind has."""
    config = model.config.get_text_config(decoder=True)
    kinds, settings = get_layer_types_and_kwargs(config)
    found: dict[str, int | None] = {}
    for kind, setting in zip(kinds, settings, strict=False):
        window = setting.get("sliding_window")
        known = found.get(kind)
        found[kind] = window if known is None or window is None else min(known, window)
    return found


def _forward(model: PreTrainedModel) -> Callable[..., object]:
    forward: Callable[..., object] = model.forward
    return forward
