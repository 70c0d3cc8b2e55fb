"""Where the prompt of a comparison ends and its two completions begin.

Data sets give the prompt in three ways: in a column of its own; not at all, as the beginning that both completions
share (the HH files of Bai et al. 2022); or both, the column holding what the messages of both completions begin with.
All become one shape: prompt + completion is the whole conversation, in texts or in lists of messages.
"""

from collections.abc import Sequence
from typing import NamedTuple

from reward_models.conversations import Conversation, Message, messages

ASSISTANT_TURN = "\n\nAssistant:"
"""Opens an answer in dialogues that are written as plain text."""


class PromptAndCompletions(NamedTuple):
    """A comparison in its final shape; all three are texts, or all three lists of messages."""

    prompt: Conversation
    """What both completions answer; may be empty."""
    one: Conversation
    """One completion."""
    other: Conversation
    """The other completion."""
    implicit: bool
    """Whether the prompt was found as what the completions share."""


def with_prompt(prompt: Conversation | None, one: Conversation, other: Conversation) -> PromptAndCompletions:
    """Bring a row into the final shape; None asks for the implicit prompt.

    As soon as one part is a list of messages, all become such lists: a prompt text is said by the user, a completion
    text by the assistant.
    """
    if isinstance(one, str) and isinstance(other, str) and (prompt is None or isinstance(prompt, str)):
        if prompt is not None:
            return PromptAndCompletions(prompt, one, other, implicit=False)
        end = shared_text(one, other)
        return PromptAndCompletions(one[:end], one[end:], other[end:], implicit=True)
    return _with_prompt_messages(prompt, messages(one, role="assistant"), messages(other, role="assistant"))


def _with_prompt_messages(
    prompt: Conversation | None, one: Sequence[Message], other: Sequence[Message]
) -> PromptAndCompletions:
    end = shared_messages(one, other)
    shared = one[:end]
    if prompt is None:
        return PromptAndCompletions(shared, one[end:], other[end:], implicit=True)
    asked = messages(prompt, role="user")
    # A prompt text that is the last message both begin with stands for all that came before it as well.
    repeated = isinstance(prompt, str) and end > 0 and shared[-1] == {"role": "user", "content": prompt}
    if repeated or (asked and shared == asked):
        return PromptAndCompletions(shared, one[end:], other[end:], implicit=False)
    if asked and shared[: len(asked)] == asked:
        return PromptAndCompletions(asked, one[len(asked) :], other[len(asked) :], implicit=False)
    return PromptAndCompletions(asked, one, other, implicit=False)


def shared_messages(one: Sequence[Message], other: Sequence[Message]) -> int:
    """How many messages both begin with, leaving at least one for each completion."""
    most = min(len(one), len(other)) - 1
    return next((place for place in range(most) if one[place] != other[place]), max(0, most))


def shared_text(one: str, other: str) -> int:
    """Characters of the implicit prompt: the longest common beginning that ends where a turn or a word ends in both.

    In a dialogue that is the last opening of an answer which both have, so that replies with the same first words keep
    them. Elsewhere it is the end of a word; the space before the next goes to the completion, as tokenizers have it.
    """
    pairs = enumerate(zip(one, other, strict=False))
    common = one[: next((place for place, (left, right) in pairs if left != right), min(len(one), len(other)))]
    turn = common.rfind(ASSISTANT_TURN)
    if turn >= 0:
        return turn + len(ASSISTANT_TURN)
    return next((end for end in range(len(common), 0, -1) if _ends_word(one, end) and _ends_word(other, end)), 0)


def _ends_word(text: str, end: int) -> bool:
    return not text[end - 1].isspace() and (end == len(text) or text[end].isspace())
