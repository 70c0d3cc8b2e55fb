from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from reward_models.conversations import Cut, completion_start, cut, render, tokenise
from reward_models.errors import InvalidInput

ASKED = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
ANSWERED = [{"role": "assistant", "content": "yes"}]


def tokens_of(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return [tokenizer.convert_tokens_to_ids(character) for character in text]


def cut_texts(tokenizer: PreTrainedTokenizerFast, prompt: str, completion: str, max_length: int) -> Cut:
    text = render(tokenizer, prompt, completion)
    return cut(tokenizer, text, tokenise(tokenizer, [text])[0], max_length=max_length)


def test_texts_are_joined_as_they_are(tiny_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> None:
    tokenizer = tiny_tokenizer(begins="<s>", ends="</s>")
    text = render(tokenizer, "ab ", "c")
    assert (text.text, text.boundary, text.templated) == ("ab c", 3, False)
    # <s> is 2, </s> is 0.
    assert tokenise(tokenizer, [text]) == [[2, *tokens_of(tokenizer, "ab c"), 0]]
    assert tokenise(tokenizer, [text]) == [tokenizer("ab c")["input_ids"]]


def test_messages_have_the_tokens_of_the_template(tiny_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> None:
    # The tokenizer's own special tokens are not added a second time around the template's.
    tokenizer = tiny_tokenizer(begins="<s>", ends="</s>")
    text = render(tokenizer, ASKED, ANSWERED)
    assert text.text == "<system>Be kind.</s><user>Hi</s><assistant>yes</s>"
    assert text.text[: text.boundary] == "<system>Be kind.</s><user>Hi</s><assistant>"
    expected = tokenizer.apply_chat_template([*ASKED, *ANSWERED], tokenize=True, return_dict=False)
    assert tokenise(tokenizer, [text]) == [expected]
    assert completion_start(tokenizer, text, expected) == expected.index(tokenizer.convert_tokens_to_ids("y"))


def test_texts_beside_messages_are_said_by_user_and_assistant(
    tiny_tokenizer: Callable[..., PreTrainedTokenizerFast],
) -> None:
    tokenizer = tiny_tokenizer()
    asked = [{"role": "user", "content": "Hi"}]
    assert render(tokenizer, asked, "yes") == render(tokenizer, asked, ANSWERED)
    assert render(tokenizer, "Hi", ANSWERED) == render(tokenizer, asked, ANSWERED)
    assert render(tokenizer, "", [*asked, *ANSWERED]).text == render(tokenizer, asked, ANSWERED).text
    assert render(tokenizer, "", [*asked, *ANSWERED]).boundary == 0


def test_texts_and_messages_keep_their_places(tiny_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> None:
    tokenizer = tiny_tokenizer()
    texts = [render(tokenizer, "a", "b"), render(tokenizer, ASKED, ANSWERED), render(tokenizer, "c", "d")]
    assert tokenise(tokenizer, texts) == [tokenise(tokenizer, [text])[0] for text in texts]


def test_messages_without_a_template_are_refused(tiny_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(InvalidInput, match="no chat template"):
        render(tokenizer, ASKED, "yes")
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(InvalidInput, match=r"\['system', 'user', 'assistant'\] \(roles must alternate\)"):
        render(tokenizer, ASKED, ANSWERED)


@pytest.mark.parametrize("message", [{"role": "user"}, {"content": "x"}, {"role": "user", "content": None}, {}])
def test_a_message_that_is_none_is_shown(
    message: dict[str, str], tiny_tokenizer: Callable[..., PreTrainedTokenizerFast]
) -> None:
    with pytest.raises(InvalidInput, match="expected texts under 'role' and 'content'"):
        render(tiny_tokenizer(), [message], "yes")


def test_the_left_of_the_prompt_goes_and_special_tokens_stay(
    tiny_tokenizer: Callable[..., PreTrainedTokenizerFast],
) -> None:
    tokenizer = tiny_tokenizer(begins="<s>", ends="</s>")
    # 10 tokens: <s> a b c d e f x y </s>; 6 remain, the completion and both special tokens among them.
    assert cut_texts(tokenizer, "abcdef", "xy", 6) == Cut((2, *tokens_of(tokenizer, "efxy"), 0), True, False)
    assert cut_texts(tokenizer, "abcdef", "xy", 10) == Cut((2, *tokens_of(tokenizer, "abcdefxy"), 0), False, False)
    # The whole prompt goes, and the completion still fits.
    assert cut_texts(tokenizer, "abcdef", "xyz", 5) == Cut((2, *tokens_of(tokenizer, "xyz"), 0), True, False)


def test_a_completion_that_alone_is_too_long_loses_its_beginning(
    tiny_tokenizer: Callable[..., PreTrainedTokenizerFast],
) -> None:
    tokenizer = tiny_tokenizer(begins="<s>", ends="</s>")
    assert cut_texts(tokenizer, "abc", "uvwxyz", 5) == Cut((2, *tokens_of(tokenizer, "xyz"), 0), True, True)
    assert cut_texts(tiny_tokenizer(), "", "uvwxyz", 2) == Cut(tuple(tokens_of(tokenizer, "yz")), True, True)


def test_a_template_is_cut_from_the_left_behind_its_beginning(
    tiny_tokenizer: Callable[..., PreTrainedTokenizerFast],
) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "<s>" + tokenizer.chat_template
    text = render(tokenizer, [{"role": "user", "content": "abcdef"}], [{"role": "assistant", "content": "xy"}])
    found = cut(tokenizer, text, tokenise(tokenizer, [text])[0], max_length=7)
    # <s> <user> a b c d e f </s> <assistant> x y </s>: the last six stay, behind the first.
    assert tokenizer.decode(found.tokens) == "<s> f </s> <assistant> x y </s>"
    assert (found.prompt, found.completion) == (True, False)


@settings(max_examples=50, deadline=None)
@given(
    prompt=st.text("abc ", max_size=12),
    completion=st.text("xyz", max_size=12),
    begins=st.sampled_from([None, "<s>"]),
    ends=st.sampled_from([None, "</s>"]),
    max_length=st.integers(2, 30),
)
def test_what_is_cut_is_what_is_too_much(
    prompt: str,
    completion: str,
    begins: str | None,
    ends: str | None,
    max_length: int,
    tiny_tokenizer: Callable[..., PreTrainedTokenizerFast],
) -> None:
    tokenizer = tiny_tokenizer(begins=begins, ends=ends)
    whole = tokenizer(prompt + completion)["input_ids"]
    found = cut_texts(tokenizer, prompt, completion, max_length)
    lead, closing = int(begins is not None), int(ends is not None)
    assert len(found.tokens) == min(len(whole), max_length)
    assert found.prompt == (len(whole) > max_length)
    assert found.completion == (lead + len(completion) + closing > max_length)
    assert list(found.tokens[:lead]) == whole[:lead]
    assert list(found.tokens[lead:]) == whole[len(whole) - len(found.tokens) + lead :]


def test_a_tokenizer_without_offsets_counts_the_completion() -> None:
    # A byte a token, and </s> (1) at the end; é is two bytes.
    tokenizer = ByT5Tokenizer()
    text = render(tokenizer, "abc", "dé")
    (tokens,) = tokenise(tokenizer, [text])
    assert len(tokens) == 7
    assert completion_start(tokenizer, text, tokens) == 3
    assert cut(tokenizer, text, tokens, max_length=4) == Cut(tuple(tokens[3:]), True, False)
    assert cut(tokenizer, text, tokens, max_length=3) == Cut(tuple(tokens[4:]), True, True)
