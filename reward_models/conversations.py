"""What a reward model reads: a prompt and a completion, as plain text or as chat messages, and their tokens.

Plain texts are joined as they are, and the tokenizer adds the special tokens it always adds: the tokens are those of
`tokenizer(prompt + completion)`. Messages go through the tokenizer's own chat template, and no other: the tokens are
those of `tokenizer.apply_chat_template(prompt + completion)`. So any other tool makes the same tokens of the same text.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from reward_models.errors import InvalidInput

Message = Mapping[str, str]
"""{"role": ..., "content": ...}"""
Conversation = str | Sequence[Message]
"""A plain text, or chat messages."""

CHUNK = 1000
"""Texts tokenised at a time, which bounds the memory that the tokenizer's own records take."""


class Rendered(NamedTuple):
    """A prompt and a completion as the one text that is tokenised."""

    text: str
    """Prompt, then completion."""
    boundary: int
    """Characters of `text` that belong to the prompt."""
    templated: bool
    """Whether a chat template wrote the text: then it holds all special tokens already."""


class Cut(NamedTuple):
    """The tokens of a pair that fit."""

    tokens: tuple[int, ...]
    """At most as many as asked."""
    prompt: bool
    """Whether tokens had to go."""
    completion: bool
    """Whether some of them were the completion's."""


def render(tokenizer: PreTrainedTokenizerBase, prompt: Conversation, completion: Conversation) -> Rendered:
    """One text out of a prompt and a completion.

    Where one is a list of messages, both become messages: a prompt text is said by the user (none if it is empty), a
    completion text by the assistant. The completion begins where the rendered whole departs from the rendered prompt,
    which ends with the template's opening of an answer.

    Raises InvalidInput for messages when the tokenizer has no chat template, or for messages that it refuses.
    """
    if isinstance(prompt, str) and isinstance(completion, str):
        return Rendered(text=prompt + completion, boundary=len(prompt), templated=False)
    asked, answered = messages(prompt, role="user"), messages(completion, role="assistant")
    text = _apply_template(tokenizer, [*asked, *answered], opening=False)
    before = opened(tokenizer, asked).text if asked else ""
    return Rendered(text=text, boundary=_shared(before, text), templated=True)


def opened(tokenizer: PreTrainedTokenizerBase, asked: Sequence[Message]) -> Rendered:
    """Messages up to where the answer begins, which the template opens; InvalidInput as `render`."""
    text = _apply_template(tokenizer, messages(asked, role="user"), opening=True)
    return Rendered(text=text, boundary=len(text), templated=True)


def messages(conversation: Conversation, *, role: str) -> list[dict[str, str]]:
    """A conversation as a list of messages; a text that is not empty becomes one message of `role`.

    Raises InvalidInput for a message without `role` and `content` texts.
    """
    if isinstance(conversation, str):
        return [{"role": role, "content": conversation}] if conversation else []
    for message in conversation:
        fields = message if isinstance(message, Mapping) else {}
        if not all(isinstance(fields.get(key), str) for key in ("role", "content")):
            raise InvalidInput(f"a message is {message!r}; expected texts under 'role' and 'content'")
    return [dict(message) for message in conversation]


def tokenise(tokenizer: PreTrainedTokenizerBase, texts: Sequence[Rendered]) -> list[list[int]]:
    """Tokens of each text, uncut, with the tokenizer's special tokens where no template wrote them."""
    tokens: list[list[int]] = [[] for _ in texts]
    for templated in (False, True):
        places = [place for place, text in enumerate(texts) if text.templated is templated]
        for start in range(0, len(places), CHUNK):
            chunk = places[start : start + CHUNK]
            # `verbose` would warn of long texts, which are cut afterwards.
            found = tokenizer([texts[place].text for place in chunk], add_special_tokens=not templated, verbose=False)
            for place, row in zip(chunk, found["input_ids"], strict=True):
                tokens[place] = [int(token) for token in row]
    return tokens


def cut(tokenizer: PreTrainedTokenizerBase, text: Rendered, tokens: Sequence[int], *, max_length: int) -> Cut:
    """The tokens, at most `max_length` of them: cut from the left of the prompt, its leading special tokens kept.

    What comes last decides a score, and a special token at the start is what the model expects to see first. Where the
    completion alone is too long the cut goes on into its beginning, and the record says so.
    """
    over = len(tokens) - max_length
    if over <= 0:
        return Cut(tokens=tuple(tokens), prompt=False, completion=False)
    lead = min(leading_special(tokenizer, text, tokens), max_length - 1)
    into_completion = lead + over > completion_start(tokenizer, text, tokens)
    return Cut(tokens=(*tokens[:lead], *tokens[lead + over :]), prompt=True, completion=into_completion)


def completion_start(tokenizer: PreTrainedTokenizerBase, text: Rendered, tokens: Sequence[int]) -> int:
    """Place of the first token that holds a character of the completion, or that closes the text."""
    if not tokenizer.is_fast:
        # No record of characters: count the tokens of the completion alone, which may be one off at the seam.
        alone = tokenizer(text.text[text.boundary :], add_special_tokens=False, verbose=False)["input_ids"]
        added = tokenizer.num_special_tokens_to_add() if not text.templated else 0
        closing = max(0, added - leading_special(tokenizer, text, tokens))
        return max(0, len(tokens) - closing - len(alone))
    found = tokenizer(
        text.text,
        add_special_tokens=not text.templated,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        verbose=False,
    )
    lead = leading_special(tokenizer, text, tokens)
    for place in range(lead, len(tokens)):
        added = bool(found["special_tokens_mask"][place]) and not text.templated
        if added or found["offset_mapping"][place][1] > text.boundary:
            return place
    return len(tokens)


def leading_special(tokenizer: PreTrainedTokenizerBase, text: Rendered, tokens: Sequence[int]) -> int:
    """How many special tokens stand before the text proper."""
    if text.templated:
        return int(len(tokens) > 0 and tokens[0] == tokenizer.bos_token_id)
    mask = tokenizer("a", return_special_tokens_mask=True, verbose=False)["special_tokens_mask"]
    return list(mask).index(0) if 0 in mask else 0


def _shared(one: str, other: str) -> int:
    """How many characters two texts have in common from their start."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (left, right) in pairs if left != right), min(len(one), len(other)))


def _apply_template(tokenizer: PreTrainedTokenizerBase, chat: list[dict[str, str]], *, opening: bool) -> str:
    if not tokenizer.chat_template:
        raise InvalidInput(
            "chat messages came, and the tokenizer has no chat template; give plain texts, or set the template of the "
            "model's own authors as tokenizer.chat_template"
        )
    try:
        return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=opening))
    except (TemplateError, TypeError, ValueError, KeyError, IndexError) as error:
        roles = [message["role"] for message in chat]
        raise InvalidInput(
            f"the tokenizer's chat template refuses messages with the roles {roles} ({error}); give the roles in the "
            "order that it expects"
        ) from error
