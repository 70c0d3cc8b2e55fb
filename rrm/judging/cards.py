"""Cards: what a rater sees of a comparison, and what the aids say about its source.

A card tells neither the level, nor who wrote what, nor why it is asked, nor whether it comes again; it has the aids
only once the answer given alone is stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rrm.judging.guidelines import guidelines_now
from rrm.judging.reader import verified_quotes
from rrm.store.canonical import derived_id
from rrm.store.comparisons import aids_for
from rrm.store.records import Leased, Stage, StoredAid, StoredComparison, StoredDocument
from rrm.store.run import Run
from rrm.store.samples import document
from rrm.tasks.document import Document
from rrm.tasks.task import AbstractKnownTask, AbstractTask, Split


@dataclass(frozen=True, slots=True)
class AidLine:
    """One line of an aid."""

    text: str
    verified: bool | None
    """Whether the source says exactly what the line cites, as the system found; None where the line cites nothing."""
    source_lines: tuple[int, ...]
    """Lines of the source, counted from 0, that the line is about."""


@dataclass(frozen=True, slots=True)
class Aid:
    """What the assistant shows of one part, without a word about which completion is better."""

    key: str
    """Names the aid on this card; it does not tell who wrote it."""
    about: str
    """The part it is about; empty where it is about none."""
    lines: tuple[AidLine, ...]


@dataclass(frozen=True, slots=True)
class Card:
    """A comparison in the hands of a rater."""

    lease_id: str
    title: str
    source: str
    left: str
    right: str
    aids_planned: bool
    """Whether two answers are asked: one alone, and one with the aids."""
    stage: Stage
    """Which answer is asked now."""
    aids: tuple[Aid, ...] | None
    """None until the answer given alone is stored."""
    guidelines: str
    """sha256 of the guidelines that hold now."""


def cards_of(run: Run, task: AbstractTask, leases: Sequence[Leased]) -> list[Card]:
    """The cards of leases, in this order."""
    guidelines = guidelines_now(run, task).sha256
    return [_card(run, task, each, guidelines) for each in leases]


def aids_of_card(run: Run, task: AbstractTask, comparison: StoredComparison) -> tuple[Aid, ...]:
    """The aids of a comparison as a rater sees them: line by line, each quote marked by the system."""
    stored = document(run, comparison.document_id)
    source = _source(task, stored)
    read = task if isinstance(task, AbstractKnownTask) else None
    cited = [{claim.key for claim in read.claims(line)} for line in source.text.split("\n")] if read else []
    return tuple(
        Aid(
            key=aid_key(aid),
            about=_about(source, aid),
            lines=tuple(_aid_line(read, source, line, cited) for line in aid.text.rstrip("\n").split("\n")),
        )
        for aid in aids_for(run, comparison.id)
    )


def aid_key(aid: StoredAid) -> str:
    """The name of an aid on a card."""
    return derived_id("aid", aid.id)[:16]


def _card(run: Run, task: AbstractTask, leased: Leased, guidelines: str) -> Card:
    comparison = leased.comparison
    stored = document(run, comparison.document_id)
    aided = comparison.aids_planned and leased.answered_alone
    texts = (leased.first_text, leased.second_text)
    left, right = texts if leased.first_on_left else reversed(texts)
    return Card(
        lease_id=leased.lease_id,
        title=stored.title,
        source=stored.text,
        left=left,
        right=right,
        aids_planned=comparison.aids_planned,
        stage=Stage.AIDED if aided else Stage.ALONE,
        aids=aids_of_card(run, task, comparison) if aided else None,
        guidelines=guidelines,
    )


def _source(task: AbstractTask, stored: StoredDocument) -> Document:
    """The task's document, which knows its parts; one that did not come from the task is its text alone."""
    if stored.task == task.name and 0 <= stored.level < task.levels and stored.split in list(Split):
        found = task.document(split=Split(stored.split), level=stored.level, index=stored.position)
        if found.text == stored.text:
            return found
    return Document(id=stored.id, title=stored.title, text=stored.text)


def _about(source: Document, aid: StoredAid) -> str:
    if aid.part_position is None:
        return ""
    if aid.part_position < len(source.parts):
        return source.parts[aid.part_position].title
    return f"Part {aid.part_position + 1}"


def _aid_line(task: AbstractKnownTask | None, source: Document, line: str, cited: Sequence[set[str]]) -> AidLine:
    if task is None:
        return AidLine(text=line, verified=None, source_lines=())
    quotes = verified_quotes(task, source, [line])
    keys = {claim.key for claim in quotes}
    return AidLine(
        text=line,
        verified=all(quotes.values()) if quotes else None,
        source_lines=tuple(place for place, found in enumerate(cited) if keys & found),
    )
