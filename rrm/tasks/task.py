"""The interface of a task: documents to be briefed, and what a reader can make of a brief."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

import numpy as np

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
    """Seeded documents at several heights, a prompt for each, and the language that briefs are written in."""

    name: str
    levels: int
    """Number of heights; levels count from 0."""
    reading_budget: int
    """Words that a simulated reader can read for one comparison."""

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

    @abstractmethod
    def document(self, *, split: Split, level: int, index: int) -> Document:
        """The document at this place. The same place always gives the same document."""

    @abstractmethod
    def prompt(self, document: Document) -> str:
        """What a policy reads before it writes a brief of the document."""

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


def documents(task: AbstractTask, *, split: Split, level: int, count: int, first: int = 0) -> tuple[Document, ...]:
    """`count` documents of a split from the place `first` on."""
    return tuple(task.document(split=split, level=level, index=index) for index in range(first, first + count))
