"""Texts that are longer than a model reads, cut to what it does: a prompt from its beginning, a completion at its end.

Sampling refuses such prompts, as nobody wants completions of half a question. Judgements that people gave on long texts
are another matter: a reward model that reads what it can of them learns more than one that refuses them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from agents.policy import Policy

SHARE = 0.5
"""The most of the context that completions take; the rest is for the prompt."""
_STEP = 8


class FittedText(NamedTuple):
    """A prompt with its completions as a model can read them."""

    prompt: str
    completions: tuple[str, ...]
    cut: int
    """How many of these texts lost something."""


def fitted_to_context(policy: Policy, prompt: str, completions: Sequence[str]) -> FittedText:
    """The same texts where they fit the context together; else their ends and beginnings that do."""
    context = policy.context
    if context is None:
        return FittedText(prompt, tuple(completions), cut=0)
    room = int(SHARE * context)
    fitted = tuple(_first_tokens(policy, text, room) for text in completions)
    longest = max((len(policy.encode_completion(text)) for text in fitted), default=0)
    ending = _last_tokens(policy, prompt, context - longest)
    cut = sum(one != other for one, other in zip((prompt, *completions), (ending, *fitted), strict=True))
    return FittedText(ending, fitted, cut)


def _first_tokens(policy: Policy, text: str, room: int) -> str:
    tokens = policy.encode_completion(text)
    keep = room
    # Fewer tokens spell a text that can have more of them again, where it was cut within a word.
    while len(tokens) > room and keep > _STEP:
        keep -= 1
        text = policy.decode(tokens[:keep])
        if len(policy.encode_completion(text)) <= room:
            return text
        keep -= _STEP
    return text


def _last_tokens(policy: Policy, prompt: str, room: int) -> str:
    tokens = policy.encode_prompt(prompt)
    found, keep = prompt, room
    while len(policy.encode_prompt(found)) > room and keep > _STEP:
        keep -= _STEP
        found = policy.decode(tokens[-keep:])
    return found
