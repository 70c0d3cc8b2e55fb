"""A completion's tokens do not depend on its being given as a text of its own."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from reward_models.seams import begins_with_space, following_text, following_tokens

CHARACTERS = "▁abS.\n"


def dummy_prefix() -> PreTrainedTokenizerFast:
    """A character a token, and a space before every text, as SentencePiece has it in Llama 2."""
    tokenizer = Tokenizer(models.BPE({character: place for place, character in enumerate(CHARACTERS)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


DUMMY = dummy_prefix()


def test_a_space_that_the_tokenizer_writes_is_not_the_completions() -> None:
    assert begins_with_space(DUMMY)
    # Alone: "▁." is 0 4. Behind a text: 4.
    assert DUMMY(".")["input_ids"] == [0, 4] and following_tokens(DUMMY, ".") == [4]
    assert DUMMY(" S")["input_ids"][-2:] == [0, 3] and following_tokens(DUMMY, " S") == [0, 3]
    assert DUMMY.decode([0, 3]) == "S" and following_text(DUMMY, [0, 3]) == " S"
    assert following_text(DUMMY, [3]) == "S"
    assert following_tokens(DUMMY, "") == [] and following_text(DUMMY, []) == ""


@settings(max_examples=100, deadline=None)
@given(tokens=st.lists(st.integers(0, len(CHARACTERS) - 1), max_size=6))
def test_text_and_tokens_go_there_and_back(tokens: list[int]) -> None:
    text = following_text(DUMMY, tokens)
    assert text == "".join(CHARACTERS[token] for token in tokens).replace("▁", " ")
    assert following_tokens(DUMMY, text) == tokens


@pytest.mark.parametrize("text", ["", "a", " a", "\n", "a b"])
def test_other_tokenizers_are_used_as_they_are(
    text: str, tiny_tokenizer: Callable[..., PreTrainedTokenizerFast]
) -> None:
    tokenizer = tiny_tokenizer(begins="<s>", ends="</s>")
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert following_tokens(tokenizer, text) == tokens
    assert following_text(tokenizer, tokens) == tokenizer.decode(tokens, skip_special_tokens=True)
    assert not begins_with_space(tokenizer)
