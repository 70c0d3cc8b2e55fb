"""The plain passes: every completion behind its own prompt in a row of its own, which any causal language model can do.

They stand in where a prompt cannot be shared (`passes.can_share`): a recurrent state, positions that the model counts
itself. Rows are padded on the right, so that nothing stands before a text and no state is polluted. No cache is kept:
each sampled token reads the whole row again, which is slow and right. At most `PLACES` tokens are read at once without
gradient; with gradient all graphs are kept, as everywhere.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from agents.shared_prompt import CompletionPass, last_hidden_states
from reward_models.backbone import model_inputs

PLACES = 8192
"""Tokens of one pass, padding included."""


@dataclass(frozen=True)
class PlainPrefill:
    """P prompts, which every pass over completions reads again: so nothing here carries a gradient."""

    prompts: tuple[tuple[int, ...], ...]
    """Tokens of each prompt."""
    pad_id: int
    """What fills rows up; nothing that counts sees it."""
    next_logits: Float[Tensor, "prompts vocabulary"]
    """Logits of the first completion token."""
    last_hidden: Float[Tensor, "prompts width"]
    """The last hidden state, in which the first completion token is chosen."""

    def detach(self) -> "PlainPrefill":
        """The same: there is no graph."""
        return self


def prefill(model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, pad_id: int) -> PlainPrefill:
    """Read P prompts for the logits behind them, which carry no gradient."""
    rows, lengths = _rows(prompts, room=0, pad_id=pad_id, device=model.device)
    # Not under `no_grad`: autocast remembers weights as it cast them, and without a graph they would cut the gradient
    # of a later pass in the same context.
    logits, hidden = _in_chunks(model, rows, lengths, begin=lengths - 1, count=1)
    return PlainPrefill(
        prompts=tuple(tuple(prompt) for prompt in prompts),
        pad_id=pad_id,
        next_logits=logits[:, 0].detach(),
        last_hidden=hidden[:, 0].detach(),
    )


def completion_pass(
    model: PreTrainedModel, shared: PlainPrefill, tokens: Int[Tensor, "sequences time"], *, group: int
) -> CompletionPass:
    """Logits and hidden states of right-padded completions, `group` of them per prompt of `shared`, in prompt order."""
    time = tokens.shape[1]
    rows, lengths = _rows(_each(shared.prompts, group), room=time, pad_id=shared.pad_id, device=tokens.device)
    rows = _written(rows, tokens, begin=lengths)
    logits, hidden = _in_chunks(model, rows, lengths + time, begin=lengths - 1, count=time + 1)
    return CompletionPass(logits=logits[:, :-1], hidden=hidden[:, 1:], states=hidden[:, :-1])


class PlainDecoder:
    """Token-by-token reading of `group` completions behind each prompt of `shared`, without gradient or cache."""

    def __init__(self, model: PreTrainedModel, shared: PlainPrefill, *, group: int, max_new_tokens: int) -> None:
        """Reserve room for `max_new_tokens` tokens of each completion."""
        prompts = _each(shared.prompts, group)
        self._model = model
        self._rows, self._lengths = _rows(prompts, room=max_new_tokens, pad_id=shared.pad_id, device=model.device)

    @torch.no_grad()
    def step(self, tokens: Int[Tensor, " sequences"]) -> Float[Tensor, "sequences vocabulary"]:
        """Read the next token of every completion and return the logits of the one after it."""
        self._rows = _written(self._rows, tokens[:, None], begin=self._lengths)
        self._lengths = self._lengths + 1
        logits, _ = _in_chunks(self._model, self._rows, self._lengths, begin=self._lengths - 1, count=1)
        return logits[:, 0]


def _each(prompts: Sequence[tuple[int, ...]], count: int) -> list[tuple[int, ...]]:
    return [prompt for prompt in prompts for _ in range(count)]


def _rows(
    prompts: Sequence[Sequence[int]], *, room: int, pad_id: int, device: torch.device
) -> tuple[Int[Tensor, "rows length"], Int[Tensor, " rows"]]:
    """Prompts at the left of rows with `room` for more behind the longest, and their lengths."""
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    width = int(lengths.max()) + room
    rows = torch.tensor([[*prompt, *[pad_id] * (width - len(prompt))] for prompt in prompts])
    return rows.to(device), lengths.to(device)


def _written(
    rows: Int[Tensor, "rows length"], tokens: Int[Tensor, "rows time"], *, begin: Int[Tensor, " rows"]
) -> Int[Tensor, "rows length"]:
    """The rows with tokens in them, from another place on in each."""
    return rows.scatter(1, begin[:, None] + torch.arange(tokens.shape[1], device=rows.device), tokens)


def _in_chunks(
    model: PreTrainedModel,
    rows: Int[Tensor, "rows length"],
    lengths: Int[Tensor, " rows"],
    *,
    begin: Int[Tensor, " rows"],
    count: int,
) -> tuple[Float[Tensor, "rows count vocabulary"], Float[Tensor, "rows count width"]]:
    """Logits and last hidden states at `count` places of each row, from place `begin` on; some rows at a time."""
    size = max(1, PLACES // rows.shape[1])
    parts = [
        _read(model, rows[at : at + size], lengths[at : at + size], begin=begin[at : at + size], count=count)
        for at in range(0, len(rows), size)
    ]
    return torch.cat([logits for logits, _ in parts]), torch.cat([hidden for _, hidden in parts])


def _read(
    model: PreTrainedModel,
    rows: Int[Tensor, "rows length"],
    lengths: Int[Tensor, " rows"],
    *,
    begin: Int[Tensor, " rows"],
    count: int,
) -> tuple[Float[Tensor, "rows count vocabulary"], Float[Tensor, "rows count width"]]:
    """The same of rows that are read at once; logits of places before the first that is wanted are not computed."""
    longest = int(lengths.max())
    mask = torch.arange(longest, device=rows.device) < lengths[:, None]
    kept = longest - int(begin.min())
    inputs = dict(model_inputs(model, rows[:, :longest], mask))
    forward: Callable[..., object] = model.forward
    keeps = {"logits_to_keep": kept} if "logits_to_keep" in inspect.signature(forward).parameters else {}
    with last_hidden_states(model) as seen:
        logits = model(**inputs, **keeps).logits
    places = (begin - (longest - kept))[:, None] + torch.arange(count, device=rows.device)
    row = torch.arange(len(rows), device=rows.device)[:, None]
    return logits[:, -kept:][row, places].float(), seen[0][:, -kept:][row, places].float()
