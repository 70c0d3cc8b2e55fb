"""Raters that answer at once: the simulated reader, and the assistant by itself."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import final

from rrm.judging.reader import TEMPERATURE, read
from rrm.tasks.document import Document
from rrm.tasks.task import AbstractKnownTask


@dataclass(frozen=True)
class Question:
    """A comparison as it is put to a rater. It names neither the arm, nor who wrote what, nor which agent helps."""

    document: Document
    first: str
    second: str
    aids: tuple[str, ...] | None = None
    """What the assistant shows; None while nothing is shown."""
    more_to_come: bool = False
    """Whether an aid will be shown after this answer, within the same budget."""

    def swap(self) -> "Question":
        """The same question with the completions exchanged."""
        return replace(self, first=self.second, second=self.first)


class AbstractRater(ABC):
    """Somebody who prefers the first completion with a known probability."""

    id: str
    """Names the rater in the store."""
    says_ties: bool = False
    """Whether it answers that both are alike where neither is likelier; else a coin decides."""

    @abstractmethod
    def probability(self, question: Question) -> float:
        """Chance in [0, 1] that the answer is `first`; swapping the completions gives one minus it."""

    @abstractmethod
    def settings(self) -> dict[str, object]:
        """What the store keeps of the rater."""


@final
class SimulatedReader(AbstractRater):
    """Reads within one budget of words; see `rrm.judging.reader` for the rule."""

    id = "reader"

    def __init__(self, task: AbstractKnownTask, *, budget: int | None = None) -> None:
        self._task = task
        self._budget = task.reading_budget if budget is None else budget

    def probability(self, question: Question) -> float:
        """From what the reader perceives after the briefs, the aids and as much of the source as the budget allows."""
        return read(
            self._task,
            question.document,
            question.first,
            question.second,
            aids=question.aids,
            budget=self._budget,
            skim=question.more_to_come,
        ).probability

    def settings(self) -> dict[str, object]:
        """Budget in words and the temperature of the answers."""
        return {"budget": self._budget, "temperature": TEMPERATURE}


@final
class AssistantAlone(AbstractRater):
    """Decides by the aids alone, without a reader and without the source: a control, not a way to judge.

    Without the source nothing is verified either: this is what the assistant by itself would say.
    """

    id = "assistant-alone"

    def __init__(self, task: AbstractKnownTask) -> None:
        self._task = task

    def probability(self, question: Question) -> float:
        """1, 0.5 or 0: which completion has more claims that the aids support. Without aids it cannot tell: 0.5."""
        supported = {claim for aid in question.aids or () for claim in self._task.claims(aid)}
        first, second = (len(supported & set(self._task.claims(brief))) for brief in (question.first, question.second))
        return 0.5 if first == second else float(first > second)

    def settings(self) -> dict[str, object]:
        """Nothing can be set."""
        return {}
