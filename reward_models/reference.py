"""A reference language model over texts: one plain forward pass makes the trace of a completion that `features` reads.

Prompt and completion are tokenised apart where they are plain texts, and the end-of-sequence token closes the
completion: that is how a policy generates, so a completion has the same statistics here as in a policy's own rollouts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from reward_models.backbone import in_batches, model_inputs
from reward_models.conversations import Conversation, completion_start, leading_special, render, tokenise
from reward_models.errors import InvalidInput
from reward_models.features import check_names, extract
from reward_models.loading import check_length, load
from reward_models.seams import following_tokens
from reward_models.trace import CompletionTrace


class Continuation(NamedTuple):
    """A prompt and its completion as tokens."""

    tokens: tuple[int, ...]
    """Both."""
    start: int
    """Place of the completion's first token; at least 1."""


@dataclass(frozen=True, eq=False)
class Reference:
    """A causal language model and its tokenizer. The model is put in evaluation mode.

    Raises InvalidInput for a `max_length` that the model cannot take.
    """

    model: PreTrainedModel
    """What `AutoModelForCausalLM` makes."""
    tokenizer: PreTrainedTokenizerBase
    """The model's own."""
    max_length: int
    """Longest sequence in tokens; a longer prompt is cut from the left."""

    def __post_init__(self) -> None:
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
    ) -> "Reference":
        """Read a causal language model as `Backbone.load` reads a trunk; errors as there."""
        return cls(*load(AutoModelForCausalLM, path_or_name, max_length=max_length, dtype=dtype, device=device))

    def encode(self, prompt: Conversation, completion: Conversation) -> Continuation:
        """Tokens of a prompt and its completion, the prompt cut from the left where both are too long.

        Raises InvalidInput for a completion that alone is too long, because statistics of a part are not those of the
        whole, and for an empty prompt when the tokenizer has no token to begin with.
        """
        text = render(self.tokenizer, prompt, completion)
        if text.templated:
            (tokens,) = tokenise(self.tokenizer, [text])
            start = completion_start(self.tokenizer, text, tokens)
        else:
            opening = self._opening(text.text[: text.boundary])
            tokens, start = [*opening, *self._closed(text.text[text.boundary :])], len(opening)
        if start == 0:
            raise InvalidInput(
                "nothing stands before a completion, so its first token has no probability; give a prompt"
            )
        lead = min(leading_special(self.tokenizer, text, tokens), start)
        over = len(tokens) - self.max_length
        if over > 0 and start - over < 1:
            raise InvalidInput(
                f"a completion has {len(tokens) - start} tokens and the reference reads {self.max_length}, one of "
                "them before it; give a reference with a longer context, or leave the completion out"
            )
        if over <= 0:
            return Continuation(tokens=tuple(tokens), start=start)
        # As many of the leading special tokens stay as there is room for.
        lead = min(lead, start - over)
        return Continuation(tokens=(*tokens[:lead], *tokens[lead + over :]), start=start - over)

    @torch.no_grad()
    def features(
        self,
        prompts: Sequence[Conversation],
        completions: Sequence[Conversation],
        *,
        names: tuple[str, ...],
        batch_size: int = 16,
    ) -> Float[Tensor, "sequences features"]:
        """The features of `features.extract` for each completion, on the CPU; errors as there and in `encode`."""
        check_names(names)
        if len(prompts) != len(completions):
            raise InvalidInput(f"{len(prompts)} prompts and {len(completions)} completions came; give as many of each")
        encoded = [self.encode(*pair) for pair in zip(prompts, completions, strict=True)]
        starts = torch.tensor([continuation.start for continuation in encoded], dtype=torch.long)
        hidden = names != ("likelihood_statistics",)
        return in_batches(
            [continuation.tokens for continuation in encoded],
            lambda tokens, mask, places: extract(
                trace(self.model, tokens, mask, starts=starts[places].to(tokens.device), hidden=hidden), names
            ),
            pad_id=0,
            device=self.model.device,
            batch_size=batch_size,
        )

    def _opening(self, prompt: str) -> list[int]:
        tokens = [int(token) for token in self.tokenizer(prompt, verbose=False)["input_ids"]]
        # Some tokenizers close every text with the end token; a prompt goes on.
        while tokens and tokens[-1] == self.tokenizer.eos_token_id:
            tokens.pop()
        begin = self.tokenizer.bos_token_id
        return tokens if tokens or begin is None else [int(begin)]

    def _closed(self, completion: str) -> list[int]:
        tokens, end = following_tokens(self.tokenizer, completion), self.tokenizer.eos_token_id
        return tokens if end is None or tokens[-1:] == [end] else [*tokens, int(end)]


def trace(
    model: PreTrainedModel,
    tokens: Int[Tensor, "sequences time"],
    mask: Bool[Tensor, "sequences time"],
    *,
    starts: Int[Tensor, " sequences"],
    hidden: bool,
) -> CompletionTrace:
    """What a causal language model makes of the tokens from `starts` on; without `hidden`, states of width 0.

    Token t is predicted from the state before it, so the first column of the trace is the second token of a sequence.
    """
    output = model(**model_inputs(model, tokens, mask), output_hidden_states=hidden)
    logits, targets = output.logits[:, :-1].float(), tokens[:, 1:]
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    places = torch.arange(1, tokens.shape[1], device=tokens.device)
    states = output.hidden_states[-1][:, 1:] if hidden else logits.new_zeros(*targets.shape, 0)
    return CompletionTrace(log_probabilities=-losses, hidden=states, mask=mask[:, 1:] & (places >= starts[:, None]))
