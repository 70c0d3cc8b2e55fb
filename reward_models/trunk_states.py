"""The lower layers of a trunk apart from its upper ones, and a store of what they give.

Where only upper layers are adapted, what enters the first of them is the same for every member, at every step, in every
pass over the data. So it is computed once a text and kept, as far as memory is granted; the rest is computed anew.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from reward_models.backbone import Backbone, batch, model_inputs
from reward_models.errors import InvalidInput
from reward_models.pairs import PairSource

CHUNK = 256
"""Comparisons whose tokens are in memory at once while the store is filled."""


class Entering(NamedTuple):
    """What enters a layer."""

    states: Float[Tensor, "sequences time width"]
    """Hidden states of each text, padded on the right."""
    parts: int
    """How many things a layer returns as a tuple, the states first; 0 where it returns the states alone."""


class TrunkStates:
    """States that enter a layer above the lowest, by text.

    What is stored is decided before a fit and not changed by it: the same texts share a batch whenever it is run, so
    that a fit which was interrupted goes on to the last bit.
    """

    def __init__(self, backbone: Backbone, layer: int) -> None:
        self._backbone, self._layer = backbone, layer
        self._kept: dict[tuple[int, ...], Tensor] = {}
        self._parts = 0

    def keep(self, pairs: PairSource, *, limit: int, batch_size: int) -> None:
        """Compute and store the states of the texts of the comparisons, in their order, up to `limit` bytes."""
        used = 0
        for start in range(0, len(pairs), CHUNK):
            rows = pairs.rows(range(start, min(start + CHUNK, len(pairs))))
            # A completion that stands in several comparisons is stored once.
            fresh = [text for text in dict.fromkeys(rows.first + rows.second) if text not in self._kept]
            fresh.sort(key=len)
            for place in range(0, len(fresh), batch_size):
                texts = fresh[place : place + batch_size]
                for text, states in zip(texts, self._computed(texts), strict=True):
                    used += states.nbytes
                    if used > limit:
                        return
                    # A copy, because a view would keep the padded batch.
                    self._kept[text] = states.clone()

    def __len__(self) -> int:
        """How many texts are stored."""
        return len(self._kept)

    def of(self, tokens: Sequence[Sequence[int]]) -> Entering:
        """States of these texts, padded with zeros."""
        texts = [tuple(row) for row in tokens]
        missing = [text for text in dict.fromkeys(texts) if text not in self._kept]
        fresh = dict(zip(missing, self._computed(missing), strict=True)) if missing else {}
        found = [fresh[text] if text in fresh else self._kept[text] for text in texts]
        return Entering(pad_sequence(found, batch_first=True), self._parts)

    def _computed(self, texts: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """States of each text without padding."""
        model = self._backbone.model
        ids, mask = batch(texts, pad_id=self._backbone.pad_id, device=model.device)
        states, self._parts = states_entering(model, self._layer, ids, mask)
        return [row[: len(text)] for row, text in zip(states, texts, strict=True)]


def layer_list(trunk: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The trunk's list of layers, and what it is called.

    Raises InvalidInput if the trunk has no list of as many modules as its configuration says it has layers.
    """
    count = trunk.config.get_text_config().num_hidden_layers
    for name, module in trunk.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return name, module
    raise InvalidInput(f"{type(trunk).__name__} has no list of {count} layers; adapters need one to repeat states at")


class _Entered(Exception):
    """Ends a forward pass at the layer that was asked for."""


@torch.no_grad()
def states_entering(
    trunk: PreTrainedModel, layer: int, tokens: Int[Tensor, "sequences time"], mask: Bool[Tensor, "sequences time"]
) -> Entering:
    """What a layer is given, which is not the lowest; the layers from it on do not run."""
    states: list[Tensor] = []
    parts: list[int] = []

    def stop(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        states.append(args[0] if args else kwargs["hidden_states"])
        raise _Entered

    def count(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        parts.append(len(output) if isinstance(output, tuple) else 0)

    blocks = layer_list(trunk)[1]
    handles = [
        blocks[layer].register_forward_pre_hook(stop, with_kwargs=True),
        blocks[layer - 1].register_forward_hook(count),
    ]
    try:
        trunk(**model_inputs(trunk, tokens, mask))
    except _Entered:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return Entering(states[0], parts[0])


@contextmanager
def without_layers_below(trunk: PreTrainedModel, layer: int, *, parts: int) -> Iterator[None]:
    """The trunk with the layers below that one doing nothing; what reaches that layer has no meaning."""
    blocks = list(layer_list(trunk)[1])[:layer]

    def hand_on(*args: Any, hidden_states: Tensor | None = None, **others: Any) -> Any:
        states = args[0] if args else hidden_states
        return (states, *[None] * (parts - 1)) if parts else states

    for block in blocks:
        block.forward = hand_on
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
