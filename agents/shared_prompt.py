"""A prompt that a group of completions shares is computed once, and stored once.

A document to be briefed is long and a brief is short, so in a group of G completions of one prompt nearly all the
arithmetic is the prompt. Here the prompt goes through the model once, and the G completions are laid side by side
behind it in one row: token t of completion g stands at place t G + g, at position (prompt length + t), and a mask lets
it see the prompt and its own completion only. Nothing is copied per completion, which is what made the plain way slow;
values and gradients are those of the plain computation. Since every place computes a product with every place of its
row, a large group is laid out in several rows of about the prompt's length.

The model must accept position ids, a cache and an additive four-dimensional mask, as the decoder models of
`transformers` do under eager and scaled-dot-product attention.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from reward_models.errors import InvalidInput

SHORTEST_FULL_ROW = 512
"""Places of completions that one row may hold whatever the length of its prompt."""


@dataclass(frozen=True)
class Prefill:
    """P prompts, left-padded to L tokens, as a model's attention sees them."""

    keys_and_values: tuple[tuple[Tensor, Tensor], ...]
    """Per layer, each of shape (P, heads, L, width)."""
    mask: Bool[Tensor, "prompts length"]
    """True where a prompt token stands, False on padding."""
    next_logits: Float[Tensor, "prompts vocabulary"]
    """Logits of the first completion token."""
    last_hidden: Float[Tensor, "prompts width"]
    """The last hidden state, in which the first completion token is chosen."""

    def detach(self) -> "Prefill":
        """The same numbers without their graph, to sample from a prefill that also carries the gradient."""
        pairs = tuple((keys.detach(), values.detach()) for keys, values in self.keys_and_values)
        return Prefill(
            keys_and_values=pairs,
            mask=self.mask,
            next_logits=self.next_logits.detach(),
            last_hidden=self.last_hidden.detach(),
        )

    def repeat(self, count: int) -> "Prefill":
        """Every prompt `count` times in a row."""
        if count == 1:
            return self
        pairs = tuple((_repeat(keys, count), _repeat(values, count)) for keys, values in self.keys_and_values)
        return Prefill(
            keys_and_values=pairs,
            mask=_repeat(self.mask, count),
            next_logits=_repeat(self.next_logits, count),
            last_hidden=_repeat(self.last_hidden, count),
        )


class CompletionPass(NamedTuple):
    """What one pass over completions yields."""

    logits: Float[Tensor, "sequences time vocabulary"]
    """At position t the logits that predict completion token t."""
    hidden: Float[Tensor, "sequences time width"]
    """At position t the last hidden state after reading completion token t."""
    states: Float[Tensor, "sequences time width"]
    """At position t the last hidden state before completion token t: the state in which it is chosen."""


def left_pad(
    prompts: Sequence[Sequence[int]], *, pad_id: int, device: torch.device
) -> tuple[Int[Tensor, "prompts length"], Bool[Tensor, "prompts length"]]:
    """Stack prompts of different lengths with padding on the left; the mask is True on prompt tokens."""
    length = max(len(prompt) for prompt in prompts)
    tokens = torch.full((len(prompts), length), pad_id, dtype=torch.long)
    mask = torch.zeros((len(prompts), length), dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        tokens[row, length - len(prompt) :] = torch.tensor(list(prompt), dtype=torch.long)
        mask[row, length - len(prompt) :] = True
    return tokens.to(device), mask.to(device)


def prefill(model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, pad_id: int) -> Prefill:
    """Run P prompts through the model once and keep what completions attend to. Gradients flow if enabled."""
    tokens, mask = left_pad(prompts, pad_id=pad_id, device=model.device)
    positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
    cache = DynamicCache()
    with last_hidden_states(model) as hidden:
        output = model(
            input_ids=tokens,
            attention_mask=mask.long(),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    return Prefill(
        keys_and_values=tuple(_keys_and_values(layer) for layer in cache.layers),
        mask=mask,
        next_logits=output.logits[:, -1].float(),
        last_hidden=hidden[0][:, -1].float(),
    )


def completion_pass(
    model: PreTrainedModel, shared: Prefill, tokens: Int[Tensor, "sequences time"], *, group: int
) -> CompletionPass:
    """Logits and hidden states of right-padded completions, `group` of them per prompt of `shared`, in prompt order.

    Padding needs no mask: it stands to the right of everything that counts, and attention is causal.
    """
    time = tokens.shape[1]
    rows = rows_per_prompt(shared, group=group, time=time)
    shared, group = shared.repeat(rows), group // rows
    cache = DynamicCache()
    for index, (keys, values) in enumerate(shared.keys_and_values):
        cache.update(keys, values, index)
    first = _repeat(shared.last_hidden, group)
    with _one_completion_per_row(model, first, group=group) as seen:
        output = model(
            input_ids=_side_by_side(tokens, group=group),
            attention_mask=_mask(shared.mask, group=group, time=time, dtype=model.dtype),
            position_ids=_positions(shared.mask, group=group, time=time),
            past_key_values=cache,
            use_cache=True,
        )
    hidden, states = seen
    return CompletionPass(logits=output.logits.float(), hidden=hidden.float(), states=states.float())


@contextmanager
def last_hidden_states(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """What the output layer reads in the passes inside, one tensor a pass: asking for all layers' would keep them all.

    Raises `InvalidInput` if the model has no output layer, which a causal language model has.
    """
    seen: list[Tensor] = []
    with _before_output_layer(model, lambda hidden: seen.append(hidden)):
        yield seen


@contextmanager
def _one_completion_per_row(
    model: PreTrainedModel, first: Float[Tensor, "sequences width"], *, group: int
) -> Iterator[list[Tensor]]:
    """Hand the output layer the states before each token, one completion a row; yields `[hidden, states]` of the pass.

    A tensor over the vocabulary is many times larger than one of states, so it is these that are put in order, and
    those after the last token, which predict nothing, have no logits.
    """
    seen: list[Tensor] = []

    def arrange(places: Tensor) -> Tensor:
        hidden = _one_per_row(places, group=group)
        states = _before(first.to(hidden.dtype), hidden)
        seen.extend([hidden, states])
        return states

    with _before_output_layer(model, arrange):
        yield seen


@contextmanager
def _before_output_layer(model: PreTrainedModel, change: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """What the output layer reads goes through `change`, which may answer with something else to read."""
    output_layer = model.get_output_embeddings()
    if output_layer is None:
        raise InvalidInput(
            f"A {type(model).__name__} has no output layer over a vocabulary; use a causal language model."
        )

    def hook(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        changed = change(inputs[0])
        return None if changed is None else (changed, *inputs[1:])

    handle = output_layer.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def rows_per_prompt(shared: Prefill, *, group: int, time: int) -> int:
    """Into how many rows a group is divided: the fewest equal ones whose completions are not longer than the prompt."""
    longest = max(shared.mask.shape[1], SHORTEST_FULL_ROW)
    fitting = (rows for rows in range(1, group) if group % rows == 0 and group // rows * time <= longest)
    return next(fitting, group)


class Decoder:
    """Token-by-token reading of `group` completions behind each prompt of `shared`, without gradient.

    The keys and values stand in rooms reserved at the start: growing them by concatenation copies every prompt again
    at every token.
    """

    def __init__(self, model: PreTrainedModel, shared: Prefill, *, group: int, max_new_tokens: int) -> None:
        """Reserve room for `max_new_tokens` tokens of each completion."""
        rows = rows_per_prompt(shared, group=group, time=max_new_tokens)
        shared, group = shared.repeat(rows), group // rows
        self._model, self._group, self._time = model, group, 0
        self._length = shared.mask.shape[1]
        self._cache = DynamicCache()
        room = group * max_new_tokens
        self._cache.layers = [_ReservedLayer(keys, values, room=room) for keys, values in shared.keys_and_values]
        self._mask = _mask(shared.mask, group=group, time=max_new_tokens, dtype=model.dtype)
        self._positions = _positions(shared.mask, group=group, time=max_new_tokens)

    @torch.no_grad()
    def step(self, tokens: Int[Tensor, " sequences"]) -> Float[Tensor, "sequences vocabulary"]:
        """Read the next token of every completion and return the logits of the one after it."""
        begin, end = self._time * self._group, (self._time + 1) * self._group
        output = self._model(
            input_ids=tokens.view(-1, self._group),
            attention_mask=self._mask[:, :, begin:end, : self._length + end],
            position_ids=self._positions[:, begin:end],
            past_key_values=self._cache,
            use_cache=True,
        )
        self._time += 1
        logits: Tensor = output.logits
        return logits.float().flatten(0, 1)


class _ReservedLayer(DynamicLayer):
    """Keys and values of one layer, written in place into a room whose size is fixed at the start."""

    def __init__(self, keys: Tensor, values: Tensor, *, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        prompts, heads, self.filled, _ = keys.shape
        length = self.filled + room
        # Rotary positions make keys float32 under autocast. Attention would cast all of them down at every token, so
        # they are kept in the type it computes in from the start.
        kind = keys.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else values.dtype
        self.key_room = keys.new_empty(prompts, heads, length, keys.shape[3], dtype=dtype)
        self.value_room = values.new_empty(prompts, heads, length, values.shape[3], dtype=dtype)
        self.key_room[:, :, : self.filled] = keys
        self.value_room[:, :, : self.filled] = values
        self.dtype, self.device, self.is_initialized = dtype, values.device, True

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Append in place and return views of what is filled."""
        begin, self.filled = self.filled, self.filled + key_states.shape[2]
        self.key_room[:, :, begin : self.filled] = key_states
        self.value_room[:, :, begin : self.filled] = value_states
        self.keys, self.values = self.key_room[:, :, : self.filled], self.value_room[:, :, : self.filled]
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Tokens filled so far."""
        return self.filled


def _keys_and_values(layer: object) -> tuple[Tensor, Tensor]:
    keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
    if keys is None or values is None:
        raise InvalidInput(
            f"A {type(layer).__name__} of this model keeps no keys and values, so its prompts cannot be shared; use a "
            "decoder whose layers all attend."
        )
    return keys, values


def _repeat(states: Tensor, count: int) -> Tensor:
    return states.repeat_interleave(count, dim=0)


def _before(
    first: Float[Tensor, "sequences width"], after: Float[Tensor, "sequences time width"]
) -> Float[Tensor, "sequences time width"]:
    """What holds before each token: `first` before the first one, else what holds after the token before it."""
    return torch.cat([first[:, None], after[:, :-1]], dim=1)


def _side_by_side(tokens: Int[Tensor, "sequences time"], *, group: int) -> Int[Tensor, "prompts places"]:
    sequences, time = tokens.shape
    return tokens.view(sequences // group, group, time).transpose(1, 2).reshape(-1, time * group)


def _one_per_row(states: Float[Tensor, "prompts places width"], *, group: int) -> Float[Tensor, "sequences time width"]:
    prompts, places, width = states.shape
    return states.view(prompts, places // group, group, width).transpose(1, 2).reshape(prompts * group, -1, width)


def _positions(prompt_mask: Bool[Tensor, "prompts length"], *, group: int, time: int) -> Int[Tensor, "prompts places"]:
    place = torch.arange(time * group, device=prompt_mask.device)
    return prompt_mask.sum(dim=1, keepdim=True) + place // group


def _mask(
    prompt_mask: Bool[Tensor, "prompts length"], *, group: int, time: int, dtype: torch.dtype
) -> Float[Tensor, "prompts 1 places keys"]:
    """Additive: 0 where a place may look (its prompt, its own completion up to itself), very negative elsewhere."""
    prompts, length = prompt_mask.shape
    place = torch.arange(time * group, device=prompt_mask.device)
    same = place[:, None] % group == place[None, :] % group
    own = same & (place[None, :] <= place[:, None])
    may_look = torch.cat([prompt_mask[:, None].expand(-1, time * group, length), own.expand(prompts, -1, -1)], dim=2)
    mask = torch.zeros(may_look.shape, dtype=dtype, device=prompt_mask.device)
    return mask.masked_fill_(~may_look, torch.finfo(dtype).min)[:, None]
