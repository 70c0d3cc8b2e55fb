"""Texts that are longer than a model reads, cut to what it does: a prompt from its beginning, a completion at its end.

Sampling refuses such prompts, as nobody wants completions of half a question. Judgements that people gave on long texts
are another matter: a reward model that reads what it can of them learns more than one that refuses them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from agents.policy import Policy
from reward_models.errors import InvalidInput

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
    """The same texts where each completion fits behind the prompt; else their ends and beginnings that do.

    A completion may have half of the context, or what the prompt leaves of it where that is more; what the longest of
    them then leaves is the prompt's. Of a chat, what the user says is cut, and the template's own words stay. Raises
    InvalidInput where these alone leave no room.
    """
    context = policy.context
    asked = policy.encode_prompt(prompt)
    written = [policy.encode_completion(text) for text in completions]
    longest = max(map(len, written), default=0)
    if context is None or len(asked) + longest <= context:
        return FittedText(prompt, tuple(completions), cut=0)
    room = max(int(SHARE * context), context - len(asked))
    pairs = zip(completions, written, strict=True)
    fitted = tuple(text if len(tokens) <= room else _beginning(policy, tokens, room) for text, tokens in pairs)
    left = context - max(len(policy.encode_completion(text)) for text in fitted)
    ending = prompt if len(asked) <= left else _ending(policy, prompt, tokens=len(asked), room=left)
    cut = sum(one != other for one, other in zip((prompt, *completions), (ending, *fitted), strict=True))
    return FittedText(ending, fitted, cut)


# A part of a text can have more tokens than it was made of, where it was cut within a word; then less of it is taken.


def _beginning(policy: Policy, tokens: Sequence[int], room: int) -> str:
    texts = (policy.decode(list(tokens[:keep])) for keep in range(room - 1, 0, -_STEP))
    return next((text for text in texts if len(policy.encode_completion(text)) <= room), "")


def _ending(policy: Policy, prompt: str, *, tokens: int, room: int) -> str:
    said: list[int] = policy.tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
    most = room - (tokens - len(said))  # what stands around it, of a template or a beginning token, stays
    texts = (str(policy.tokenizer.decode(said[-keep:])) for keep in range(most, 0, -_STEP))
    found = next((text for text in texts if text and len(policy.encode_prompt(text)) <= room), None)
    if found is None:
        raise InvalidInput(
            f"A prompt of {tokens} tokens cannot be cut to the {room} that its completion leaves of the "
            f"{policy.context} that the model reads: what the chat template puts around it is as long; take a model "
            "that reads more."
        )
    return found
