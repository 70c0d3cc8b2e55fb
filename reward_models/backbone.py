"""A backbone: the trunk of any Hugging Face encoder or decoder, from conversations to one vector for each.

A score must be a property of its text alone. So sequences are padded on the right, whatever the tokenizer prefers; what
counts is known by length and never by comparing tokens with the padding token, which may be the end-of-sequence token;
and positions are given, not left to the model to guess.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from reward_models.conversations import Conversation, cut, render, tokenise
from reward_models.errors import InvalidInput, NonFinite
from reward_models.loading import check_length, load, padding_position

Pooling = Literal["last", "mean"]


@dataclass(frozen=True, eq=False)
class Encoded:
    """Prompts with completions as tokens."""

    tokens: tuple[tuple[int, ...], ...]
    """Of each sequence, without padding."""
    cut: int
    """How many sequences were too long and lost tokens from the left of the prompt."""
    completions_cut: int = 0
    """How many of those lost the beginning of the completion too, because it alone was too long."""

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.tokens)


class Batch(NamedTuple):
    """Sequences as one rectangle."""

    tokens: Int[Tensor, "sequences time"]
    """Padded on the right."""
    mask: Bool[Tensor, "sequences time"]
    """True where a token counts."""


@dataclass(frozen=True, eq=False)
class Backbone:
    """A trunk without a head, and its tokenizer. The model is put in evaluation mode.

    Raises InvalidInput for an encoder-decoder, or a `max_length` that the model cannot take.
    """

    model: PreTrainedModel
    """What `AutoModel` makes: a decoder or an encoder without a head."""
    tokenizer: PreTrainedTokenizerBase
    """The model's own, with its chat template if there is one."""
    max_length: int
    """Longest sequence in tokens; what is longer is cut."""

    def __post_init__(self) -> None:
        if self.model.config.is_encoder_decoder:
            raise InvalidInput(
                f"{type(self.model).__name__} is an encoder-decoder; give an encoder or a decoder, which have one "
                "state for each token of the text"
            )
        check_length(self.model, self.max_length)
        self.model.eval()

    @classmethod
    def load(
        cls,
        path_or_name: str | Path,
        *,
        max_length: int | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> "Backbone":
        """Read a model and its tokenizer from a local folder or by its name on the Hub, as the environment allows.

        Without `max_length`, what the tokenizer and the model state; without `device`, the CPU. Raises ArtifactError if
        there is no such model, a weight of the trunk is missing, or the tokenizer does not belong to it.
        """
        return cls(*load(AutoModel, path_or_name, max_length=max_length, dtype=dtype, device=device))

    @property
    def pad_id(self) -> int:
        """The token that fills a batch up; which one it is changes no score."""
        known = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)
        return next((int(token) for token in known if token is not None), 0)

    @property
    def width(self) -> int:
        """Numbers in a hidden state."""
        return int(self.model.config.get_text_config().hidden_size)

    def encode(self, prompts: Sequence[Conversation], completions: Sequence[Conversation]) -> Encoded:
        """Tokens of each prompt with its completion; `conversations` says how texts and messages are joined and cut.

        Raises InvalidInput for unequal numbers, for messages without a chat template and for a pair without tokens.
        """
        if isinstance(prompts, str) or isinstance(completions, str) or len(prompts) != len(completions):
            raise InvalidInput(
                f"{len(prompts)} prompts and {len(completions)} completions came; give two lists of one length"
            )
        texts = [render(self.tokenizer, *pair) for pair in zip(prompts, completions, strict=True)]
        tokens = tokenise(self.tokenizer, texts)
        empty = [place for place, row in enumerate(tokens) if not row]
        if empty:
            raise InvalidInput(f"prompts with completions {empty[:5]} have no tokens; leave out the empty ones")
        cuts = [
            cut(self.tokenizer, text, row, max_length=self.max_length) for text, row in zip(texts, tokens, strict=True)
        ]
        return Encoded(
            tokens=tuple(found.tokens for found in cuts),
            cut=sum(found.prompt for found in cuts),
            completions_cut=sum(found.completion for found in cuts),
        )

    @torch.no_grad()
    def pooled(self, encoded: Encoded, *, pooling: Pooling, batch_size: int = 16) -> Float[Tensor, "sequences width"]:
        """One vector for each sequence, on the CPU in single precision: its last hidden state, or the mean of all.

        Raises NonFinite if a state is not finite.
        """
        pool = pooler(pooling)
        return in_batches(
            encoded.tokens,
            lambda ids, mask, _: pool(hidden_states(self.model, ids, mask), mask),
            pad_id=self.pad_id,
            device=self.model.device,
            batch_size=batch_size,
        )


def in_batches(
    tokens: Sequence[Sequence[int]],
    rows: Callable[[Tensor, Tensor, list[int]], Tensor],
    *,
    pad_id: int,
    device: torch.device,
    batch_size: int,
) -> Float[Tensor, "sequences width"]:
    """`rows(tokens, mask, places)` over batches of sequences of like length; on the CPU, in single precision at least.

    `places` says which sequences a batch holds. Raises InvalidInput for no sequences or a batch size below 1, NonFinite
    if a value is not finite.
    """
    if batch_size < 1 or not tokens:
        raise InvalidInput(f"batch_size is {batch_size} with {len(tokens)} sequences; give at least 1 of each")
    order = sorted(range(len(tokens)), key=lambda place: len(tokens[place]))
    parts = []
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        ids, mask = batch([tokens[place] for place in places], pad_id=pad_id, device=device)
        part = rows(ids, mask, places)
        parts.append(part.to(torch.promote_types(part.dtype, torch.float32)).cpu())
    joined = torch.cat(parts)
    found = torch.empty_like(joined)
    found[order] = joined
    if not bool(torch.isfinite(found).all()):
        wrong = (~torch.isfinite(found)).any(dim=1).nonzero().flatten().tolist()
        raise NonFinite(f"the model gave sequences {wrong[:5]} a value that is not finite; load it in float32")
    return found


def batch(tokens: Sequence[Sequence[int]], *, pad_id: int, device: torch.device | str | None = None) -> Batch:
    """Sequences as one rectangle, padded on the right; the mask is known by length, so any token can be the padding."""
    longest = max((len(row) for row in tokens), default=0)
    lengths = torch.tensor([len(row) for row in tokens], dtype=torch.long)
    padded = [[*row, *[pad_id] * (longest - len(row))] for row in tokens]
    ids = torch.tensor(padded, dtype=torch.long).reshape(len(tokens), longest)
    mask = torch.arange(longest) < lengths[:, None]
    return Batch(tokens=ids.to(device), mask=mask.to(device))


def model_inputs(
    model: torch.nn.Module, tokens: Int[Tensor, "sequences time"], mask: Bool[Tensor, "sequences time"]
) -> dict[str, Tensor | bool]:
    """Keyword arguments for the forward pass of a trunk or of a model with a head, over a batch padded on the right."""
    accepted = inspect.signature(model.forward).parameters
    inputs: dict[str, Tensor | bool] = {"input_ids": tokens, "attention_mask": mask.long()}
    if "position_ids" in accepted and padding_position(model) is None:
        inputs["position_ids"] = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    if "use_cache" in accepted:
        inputs["use_cache"] = False
    return inputs


def hidden_states(
    model: torch.nn.Module, tokens: Int[Tensor, "sequences time"], mask: Bool[Tensor, "sequences time"]
) -> Float[Tensor, "sequences time width"]:
    """Last hidden state of a trunk at each token; with gradients, unless the caller has switched them off."""
    states: Tensor = model(**model_inputs(model, tokens, mask)).last_hidden_state
    return states


def pooler(pooling: Pooling) -> Callable[[Tensor, Tensor], Tensor]:
    """`last_state` or `mean_state` by its name; InvalidInput for another name."""
    if pooling not in ("last", "mean"):
        raise InvalidInput(f"pooling is {pooling!r}; choose 'last' or 'mean'")
    return last_state if pooling == "last" else mean_state


def last_state(
    hidden: Float[Tensor, "sequences time width"], mask: Bool[Tensor, "sequences time"]
) -> Float[Tensor, "sequences width"]:
    """State at the last token that counts."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    last = (positions * mask).argmax(dim=1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def mean_state(
    hidden: Float[Tensor, "sequences time width"], mask: Bool[Tensor, "sequences time"]
) -> Float[Tensor, "sequences width"]:
    """Mean of the states of the tokens that count, in single precision at least."""
    values = hidden.to(torch.promote_types(hidden.dtype, torch.float32)).masked_fill(~mask[:, :, None], 0.0)
    return values.sum(dim=1) / mask.sum(dim=1)[:, None]
