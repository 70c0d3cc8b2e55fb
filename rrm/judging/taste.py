"""A simulated rater with a stated taste, for any text: it likes certain words, and knows nothing else.

It says beforehand what a loop on one's own text comes to, when nobody has judged anything yet: what the rater likes is
known exactly, so that it can be counted in what agents write before and after.
"""

import math
import re
from collections.abc import Sequence
from typing import final

from reward_models.errors import InvalidInput
from rrm.judging.raters import AbstractRater, Question

SHARPNESS = 1.5
"""Logits of preferring a completion for each liked word that it has more; the answer is Bernoulli."""


def liked_words(text: str, taste: Sequence[str]) -> int:
    """How many different words of the taste a text has, whole words, large or small letters."""
    words = set(re.findall(r"\w+", text.lower()))
    return sum(word.lower() in words for word in taste)


@final
class TasteRater(AbstractRater):
    """Prefers the completion that has more of the words it likes, and says so where both have as many.

    It looks at no aid and no source.
    """

    id = "taste"
    says_ties = True

    def __init__(self, taste: Sequence[str]) -> None:
        if not taste:
            raise InvalidInput("A taste needs at least one word; set judging.taste.")
        self._taste = tuple(taste)

    def probability(self, question: Question) -> float:
        """sigmoid(1.5 (words liked in the first - words liked in the second))."""
        lead = liked_words(question.first, self._taste) - liked_words(question.second, self._taste)
        return 1.0 / (1.0 + math.exp(-SHARPNESS * lead))

    def settings(self) -> dict[str, object]:
        """The words."""
        return {"taste": list(self._taste), "sharpness": SHARPNESS}
