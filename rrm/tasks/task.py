"""The interface of a task: documents to be worked on, and, where the truth is known, what a reader can make of a brief.

Most of what a run does needs `AbstractTask` only: people judge any text. Simulated readers and figures against the gold
utility need a task whose texts a program can read, `AbstractKnownTask`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

import numpy as np

from rrm.errors import ConfigurationError
from rrm.tasks.document import Document


class Split(StrEnum):
    """What a document is for. Documents of different splits never overlap."""

    TRAIN = "train"
    """The agent's prompts and the comparisons that the reward model learns from."""
    VALIDATION = "validation"
    """Held-out comparisons: calibration of the reward model, and promotion of an agent."""
    TEST = "test"
    """Read by reports only."""


@dataclass(frozen=True)
class Claim:
    """One statement of a brief."""

    key: str
    """What it cites: the name of a source entry."""
    statement: str
    """What it says of that entry."""
    weight: float
    """How much it matters if it is true."""


@dataclass(frozen=True)
class SourceEntry:
    """One entry of a source document, as a reader finds it."""

    claim: Claim
    """What the entry says, as a brief would cite it."""
    words: int
    """What it costs to read."""


@dataclass(frozen=True)
class GoldUtility:
    """How good a brief really is; for reports only."""

    utility: float
    """1 for the best possible brief, 0 for an empty one (the best where there is nothing to tell); unbounded below."""
    coverage: float
    """Weight of the named true events over that of the most severe ones, in [0, 1]."""
    invented: int
    """Claims that the document does not contain."""
    claims: int
    """Claims in all."""


@dataclass(frozen=True)
class Planted:
    """Two briefs of one document, of which one is known to be better."""

    right: str
    wrong: str
    """The same as the right one, apart from one flaw."""
    flaw: str
    """What is wrong with it, in a sentence."""
    aids: tuple[str, ...] = ()
    """A brief of each part of the document, with the same flaw; none for a leaf."""


@dataclass(frozen=True)
class PracticeItem:
    """A comparison to practise on, with the answer and the reason for it."""

    document: Document
    first: str
    second: str
    answer: Literal["first", "second"]
    why: str


class AbstractTask(ABC):
    """Documents at several heights, and a prompt for each."""

    name: str
    levels: int
    """Number of heights; levels count from 0."""

    @abstractmethod
    def guidelines(self, level: int) -> str:
        """What raters of this level are told, in Markdown."""

    def guidelines_of_all_levels(self) -> str:
        """What raters of the whole task are told: nobody is told the level of a comparison before judging it."""
        return "\n\n".join(self.guidelines(level) for level in range(self.levels))

    def plant(self, document: Document, generator: np.random.Generator) -> Planted | None:
        """A comparison of the document whose answer is known without the gold utility; None if it offers none."""
        return None

    def practice(self) -> tuple[PracticeItem, ...]:
        """A few comparisons for raters to practise on."""
        return ()

    def size(self, *, split: Split, level: int) -> int | None:
        """How many documents there are; None where there is no end of them."""
        return None

    @abstractmethod
    def document(self, *, split: Split, level: int, index: int) -> Document:
        """The document at this place. The same place always gives the same document."""

    @abstractmethod
    def prompt(self, document: Document) -> str:
        """What a policy reads before it writes a completion, where the whole document fits its context."""

    def prompt_of_parts(self, document: Document, briefs: Sequence[str]) -> str | None:
        """What it reads instead where the document does not fit: what was written of each part.

        None for a task whose documents always fit.
        """
        return None

    @abstractmethod
    def base_model(self) -> str | Path | None:
        """The folder of the base model that comes with the task; None where whoever uses it brings one."""


class AbstractKnownTask(AbstractTask):
    """A task whose texts a program can read: what simulated readers, the assistant alone and reports of gold need."""

    reading_budget: int
    """Words that a simulated reader can read for one comparison."""

    @abstractmethod
    def claims(self, text: str) -> tuple[Claim, ...]:
        """The claims of a brief in its order; what does not read as a claim is passed over."""

    @abstractmethod
    def entries(self, document: Document) -> tuple[SourceEntry, ...]:
        """The entries of a document in its order; no two have the same key."""

    @abstractmethod
    def value(self, *, level: int, true_weights: Sequence[float], invented: int, claims: int) -> float:
        """What a brief is worth by the guidelines, given which of its claims are taken to be true."""

    @abstractmethod
    def gold(self, document: Document, brief: str) -> GoldUtility:
        """How good the brief really is. Only reports may call this."""

    @abstractmethod
    def base_model(self) -> Path:
        """The folder of the base model that comes with the task."""


def known(task: AbstractTask, *, needed_for: str) -> AbstractKnownTask:
    """The same task as one whose truth is known; ConfigurationError, naming what needs that, for any other."""
    if not isinstance(task, AbstractKnownTask):
        raise ConfigurationError(
            f"{needed_for} needs a task whose truth is known, such as shiftlog; of {task.name}, your own text, nobody "
            "but people can say what is right"
        )
    return task


def places(task: AbstractTask, *, split: Split, level: int, count: int, first: int = 0) -> tuple[int, ...]:
    """`count` places of a split from `first` on; where documents end, each at most once, beginning anew at the end."""
    size = task.size(split=split, level=level)
    if size is None:
        return tuple(range(first, first + count))
    return tuple((first + place) % size for place in range(min(count, size)))


def documents(task: AbstractTask, *, split: Split, level: int, count: int, first: int = 0) -> tuple[Document, ...]:
    """The documents at these places."""
    found = places(task, split=split, level=level, count=count, first=first)
    return tuple(task.document(split=split, level=level, index=index) for index in found)
