"""Find prompt and completion in the one text that OpenRLHF sends for both.

OpenRLHF decodes the tokens of both together and keeps special tokens. So a mark of the beginning may stand before the
prompt, where the tokenizer adds one, and a mark of the end behind the completion; and the prompt has the marks of a
chat template if one was applied.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from reward_models.errors import InvalidInput

ENDS = (
    "</s>",
    "<|endoftext|>",
    "<|im_end|>",
    "<|end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|return|>",
    "<end_of_turn>",
    "<eos>",
    "<pad>",
    "<|pad|>",
    "<｜end▁of▁sentence｜>",
)
"""Marks of the end, and padding, of the usual families of models; not what a model reads as part of a completion."""

# A special token as tokenizers spell them: <s>, <|begin_of_text|>, <｜begin▁of▁sentence｜>, [CLS].
_MARK = re.compile(r"<[^<>\s]{1,40}>|\[[A-Z]{2,10}\]")
_SHOWN = 60


def completion_of(query: str, prompt: str, *, ends: Sequence[str], name: str = "query") -> str:
    """The completion: what stands behind the prompt, without the marks `ends` at its own end.

    Before the prompt only marks of the beginning may stand. Raises InvalidInput where the query does not begin with the
    prompt: then nobody knows what the completion is, and a score of something else would train the policy for it.
    """
    start = _start(query, prompt)
    if start is None:
        raise InvalidInput(
            f"{name} does not begin with its prompt: it begins with {query[:_SHOWN]!r}, the prompt with "
            f"{prompt[:_SHOWN]!r}; a trainer that cuts long prompts sends such queries, so let it drop them or raise "
            "its maximal length"
        )
    completion, before = query[start:], None
    while completion != before:
        before = completion
        for end in ends:
            completion = completion.removesuffix(end)
    return completion


class Opening(NamedTuple):
    """What a chat template puts around the one message of a user, up to where the answer begins."""

    before: str
    after: str


def asked_in(prompt: str, opening: Opening | None) -> str:
    """What the user said in a prompt that has this template's marks around it; any other prompt as it is."""
    if opening is None or len(prompt) < len(opening.before) + len(opening.after):
        return prompt
    if not (prompt.startswith(opening.before) and prompt.endswith(opening.after)):
        return prompt
    return prompt.removeprefix(opening.before).removesuffix(opening.after)


def _start(query: str, prompt: str) -> int | None:
    """Where the completion begins; None if the prompt is not at the beginning, nor behind marks alone."""
    place = 0
    while not query.startswith(prompt, place):
        mark = _MARK.match(query, place)
        if mark is None:
            return None
        place = mark.end()
    return place + len(prompt)
