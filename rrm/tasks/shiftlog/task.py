"""The shift log as a task: its documents, their prompts, and how good a brief of one really is."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reward_models.errors import InvalidInput
from rrm.tasks.document import Document, count_words
from rrm.tasks.shiftlog.guidelines import CLAIMS_PER_LEVEL, brief_value, guidelines, guidelines_of_all_levels
from rrm.tasks.shiftlog.language import Severity, read_claims, severity_of
from rrm.tasks.shiftlog.planting import plant
from rrm.tasks.shiftlog.practice import PRACTICE
from rrm.tasks.shiftlog.world import HEIGHTS, document_generator, write_document
from rrm.tasks.task import AbstractKnownTask, Claim, GoldUtility, Planted, PracticeItem, SourceEntry, Split

READING_BUDGET = 64
"""Words for one comparison: two entries of a shift and its two briefs."""


class Shiftlog(AbstractKnownTask):
    """Shift logs of a plant, briefed at three heights: a shift, a day, a period of three days."""

    name = "shiftlog"
    levels = HEIGHTS
    reading_budget = READING_BUDGET

    def __init__(self, *, seed: int) -> None:
        self.seed = seed

    def guidelines(self, level: int) -> str:
        """What raters of this level are told, in Markdown."""
        return guidelines(level)

    def guidelines_of_all_levels(self) -> str:
        """The same for all levels at once, as plain text."""
        return guidelines_of_all_levels()

    def plant(self, document: Document, generator: np.random.Generator) -> Planted | None:
        """A true brief of the most severe events, and the same with one event replaced by another grave one."""
        return plant(document, generator)

    def practice(self) -> tuple[PracticeItem, ...]:
        """Four comparisons of short logs."""
        return PRACTICE

    def document(self, *, split: Split, level: int, index: int) -> Document:
        """The document at this place, drawn from the seed of the task, the split, the level and the place."""
        if not 0 <= level < self.levels:
            raise InvalidInput(f"level {level} has no documents; this task has the levels 0 to {self.levels - 1}")
        generator = document_generator(seed=self.seed, split=split.value, level=level, index=index)
        return write_document(generator=generator, height=level, id=f"{self.name}-{split.value}-{level}-{index}")[0]

    def prompt(self, document: Document) -> str:
        """The log, then the word that asks for a brief."""
        return f"{document.text}\nBrief:\n"

    def claims(self, text: str) -> tuple[Claim, ...]:
        """The claims of a brief in its order; what does not read as a claim is passed over."""
        return tuple(
            Claim(key=number, statement=event, weight=float(severity_of(event))) for number, event in read_claims(text)
        )

    def entries(self, document: Document) -> tuple[SourceEntry, ...]:
        """The numbered lines of the log."""
        return tuple(
            SourceEntry(claim=found[0], words=count_words(line))
            for line in document.text.splitlines()
            if (found := self.claims(line))
        )

    def value(self, *, level: int, true_weights: Sequence[float], invented: int, claims: int) -> float:
        """What a brief is worth by the guidelines, given which of its claims are taken to be true."""
        return brief_value(level=level, true_weights=true_weights, invented=invented, claims=claims)

    def gold(self, document: Document, brief: str) -> GoldUtility:
        """The brief's value over the value of the best possible one, with its parts."""
        level = document.height
        facts = {entry.claim for entry in self.entries(document)}
        claims = self.claims(brief)
        weights = [claim.weight for claim in set(claims) & facts]
        invented = sum(claim not in facts for claim in claims)
        best = sorted((claim.weight for claim in facts if claim.weight > 0), reverse=True)[: CLAIMS_PER_LEVEL[level]]
        # A log with nothing to tell has an empty best brief of value 0; dividing by one serious event keeps the scale.
        scale = max(
            self.value(level=level, true_weights=best, invented=0, claims=len(best)),
            self.value(level=level, true_weights=[float(Severity.SERIOUS)], invented=0, claims=1),
        )
        return GoldUtility(
            utility=self.value(level=level, true_weights=weights, invented=invented, claims=len(claims)) / scale,
            coverage=sum(sorted(weights, reverse=True)[: len(best)]) / sum(best) if best else 1.0,
            invented=invented,
            claims=len(claims),
        )

    def base_model(self) -> Path:
        """The folder that ships with the package."""
        return Path(__file__).parent / "base"
