"""Tokens of a text that goes on behind another, and back.

Some tokenizers (SentencePiece with a dummy prefix: Llama 2, Mistral) write a space before whatever text they are given
and drop the first space of whatever they decode. A completion is no text of its own: read so, "She" and " She" were
one, and "." began with a space that no model would write. Behind a line break, which joins with nothing, both are told
apart.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

_BEFORE = "\n"
_SPACES = ("▁", "Ġ")
"""How SentencePiece and byte-level tokenizers write a space."""


def following_tokens(tokenizer: PreTrainedTokenizerBase, text: str, *, spaced: bool | None = None) -> list[int]:
    """Tokens of `text` where another text stands before it, without special ones.

    Whoever asks often says whether the tokenizer `begins_with_space`, which is otherwise found out every time.
    """
    tokens = _tokens(tokenizer, text)
    if not tokens or not (begins_with_space(tokenizer) if spaced is None else spaced):
        return tokens
    head = _tokens(tokenizer, _BEFORE)
    whole = _tokens(tokenizer, _BEFORE + text)
    return whole[len(head) :] if whole[: len(head)] == head else tokens


def following_text(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int], *, spaced: bool | None = None) -> str:
    """The text of `tokens` where others stand before them: their first space is theirs. Special tokens are left out.

    `spaced` as in `following_tokens`.
    """
    if not tokens or not (begins_with_space(tokenizer) if spaced is None else spaced):
        return _text(tokenizer, tokens)
    head = _tokens(tokenizer, _BEFORE)
    before, whole = _text(tokenizer, head), _text(tokenizer, [*head, *tokens])
    return whole[len(before) :] if before and whole.startswith(before) else _text(tokenizer, tokens)


def begins_with_space(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer writes a space before a text that has none."""
    first = tokenizer.convert_ids_to_tokens(_tokens(tokenizer, "a")[:1])
    return bool(first) and str(first[0]).startswith(_SPACES)


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return [int(token) for token in tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]]


def _text(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    return str(tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))
