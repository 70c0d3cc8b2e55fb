"""The shift log as a task: documents, prompts, guidelines, and what a brief is worth."""

import re
from collections.abc import Sequence
from pathlib import Path

from rrm.tasks.document import Document, count_words
from rrm.tasks.shiftlog.briefs import CLAIMS_PER_LEVEL
from rrm.tasks.shiftlog.language import SEVERITY_OF, Severity
from rrm.tasks.shiftlog.world import HEIGHTS, document_generator, write_document
from rrm.tasks.task import AbstractTask, Claim, GoldUtility, SourceEntry, Split

INVENTED_COST = 3.0
"""An invented event costs what a grave one is worth: it sends people after nothing."""
LINE_COST = 0.25
"""Every line takes a reader's time."""
READING_BUDGET = 112
"""Words for one comparison: about a shift and its two briefs."""

_CLAIM = re.compile(r"^#(\d+) ([a-z]+(?: [a-z]+)*)", re.MULTILINE)


class Shiftlog(AbstractTask):
    """Shift logs of a plant, briefed at three heights: a shift, a day, a period of three days."""

    name = "shiftlog"
    levels = HEIGHTS
    reading_budget = READING_BUDGET

    def __init__(self, *, seed: int) -> None:
        self.seed = seed

    def guidelines(self, level: int) -> str:
        """What raters of this level are told, in Markdown."""
        span = ("one shift", "one day (three shifts)", "three days (nine shifts)")[level]
        grave, serious = (
            ", ".join(event for event, found in SEVERITY_OF.items() if found == severity)
            for severity in (Severity.GRAVE, Severity.SERIOUS)
        )
        return (
            f"A brief of {span} should name the {CLAIMS_PER_LEVEL[level]} most severe events, one a line, each with the "
            "number of its entry, and nothing else.\n\n"
            f"- **Grave** events matter most, three times as much as serious ones: {grave}.\n"
            f"- **Serious** events come next: {serious}.\n"
            "- Routine upkeep is worth nothing, and every line costs a little (a quarter of a serious event).\n"
            "- An event that the log does not report, or reports differently, is **invented**: that costs as much as a "
            "grave event is worth.\n\n"
            "Prefer the brief that is worth more to somebody who must act on it without reading the log."
        )

    def document(self, *, split: Split, level: int, index: int) -> Document:
        """The document at this place, drawn from the seed of the task, the split, the level and the place."""
        generator = document_generator(seed=self.seed, split=split.value, level=level, index=index)
        return write_document(generator=generator, height=level, id=f"{self.name}-{split.value}-{level}-{index}")[0]

    def prompt(self, document: Document) -> str:
        """The log, then the word that asks for a brief."""
        return f"{document.text}\nBrief:\n"

    def claims(self, text: str) -> tuple[Claim, ...]:
        """The claims of a brief in its order; what does not read as a claim is passed over."""
        return tuple(
            Claim(key=number, statement=event, weight=float(_weight(event))) for number, event in _CLAIM.findall(text)
        )

    def entries(self, document: Document) -> tuple[SourceEntry, ...]:
        """The numbered lines of the log."""
        return tuple(
            SourceEntry(claim=found[0], words=count_words(line))
            for line in document.text.splitlines()
            if (found := self.claims(line))
        )

    def value(self, *, level: int, true_weights: Sequence[float], invented: float, claims: int) -> float:
        """Weight of the true claims that count, less what the invented ones and the lines cost, per expected claim."""
        expected = CLAIMS_PER_LEVEL[level]
        counted = sum(sorted(true_weights, reverse=True)[:expected])
        return (counted - INVENTED_COST * invented - LINE_COST * claims) / expected

    def gold(self, document: Document, brief: str) -> GoldUtility:
        """The brief's value over the value of the best possible one, with its parts."""
        level = document.height
        facts = {entry.claim for entry in self.entries(document)}
        claims = self.claims(brief)
        named = set(claims)
        weights = [claim.weight for claim in named & facts]
        invented = sum(claim not in facts for claim in claims)
        best = sorted((claim.weight for claim in facts if claim.weight > 0), reverse=True)[: CLAIMS_PER_LEVEL[level]]
        # A log with nothing to tell has an empty best brief of value 0; dividing by one serious event keeps the scale.
        scale = max(
            self.value(level=level, true_weights=best, invented=0, claims=len(best)),
            self.value(level=level, true_weights=[float(Severity.SERIOUS)], invented=0, claims=1),
        )
        return GoldUtility(
            utility=self.value(level=level, true_weights=weights, invented=invented, claims=len(claims)) / scale,
            coverage=min(1.0, sum(sorted(weights, reverse=True)[: len(best)]) / sum(best)) if best else 1.0,
            invented=invented,
            claims=len(claims),
        )

    def base_model(self) -> Path:
        """The folder that ships with the package."""
        return Path(__file__).parent / "base"


def _weight(event: str) -> Severity:
    return SEVERITY_OF.get(event, Severity.ROUTINE)
