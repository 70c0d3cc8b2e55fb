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


def asked_in(prompt: str, opening: Opening | None, *, name: str = "prompt") -> str:
    """What the user said in a prompt that has this template's marks around it; a prompt without them as it is.

    Raises InvalidInput where a prompt begins and ends as the template does, and yet is not one message of a user in it:
    the template writes today's date and the trainer's is another day's, or there are several messages. To read it as
    what a user said would put the template around it twice.
    """
    if opening is None:
        return prompt
    whole = len(prompt) >= len(opening.before) + len(opening.after)
    if whole and prompt.startswith(opening.before) and prompt.endswith(opening.after):
        return prompt.removeprefix(opening.before).removesuffix(opening.after)
    first = _MARK.match(opening.before)
    if first is not None and opening.after.strip() and prompt.startswith(first[0]) and prompt.endswith(opening.after):
        raise InvalidInput(
            f"{name} begins with {prompt[:_SHOWN]!r}, as the chat template of this model does, but is not one message "
            f"of a user in it, which begins with {opening.before[:_SHOWN]!r} here; send what the user says without a "
            "template, and no system message or earlier turns"
        )
    return prompt


def _start(query: str, prompt: str) -> int | None:
    """Where the completion begins; None if the prompt is not at the beginning, nor behind marks alone."""
    pieces = _pieces(prompt)
    place = 0
    while (end := _behind(query, place, pieces)) is None:
        mark = _MARK.match(query, place)
        if mark is None:
            return None
        place = mark.end()
    return end


def _pieces(prompt: str) -> list[str]:
    """Its marks, and the texts between them."""
    found, place = [], 0
    for mark in _MARK.finditer(prompt):
        found += [prompt[place : mark.start()], mark[0]]
        place = mark.end()
    return [piece for piece in (*found, prompt[place:]) if piece]


def _behind(query: str, place: int, pieces: Sequence[str]) -> int | None:
    """Where a prompt ends that begins at a place; None if it does not begin there.

    Tokenizers that begin every text with a space (Llama 2, Mistral) decode one next to each special token.
    """
    for number, piece in enumerate(pieces):
        if (number or place) and not query.startswith(piece, place) and query.startswith(" ", place):
            place += 1
        if not query.startswith(piece, place):
            return None
        place += len(piece)
    return place
