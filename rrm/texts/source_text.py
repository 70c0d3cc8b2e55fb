"""A text as it was read: sections under headings, each a few paragraphs."""

from dataclasses import dataclass
from functools import cached_property

from rrm.texts.words import clean, one_line, paragraphs

SEPARATOR = "\n\n"
"""Between two blocks of a text."""


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it, up to the next heading of any rank."""

    rank: int
    """1 for the strongest heading, up to 6; 0 for what stands before the first."""
    heading: str
    """Words of the heading; empty where the rank is 0."""
    paragraphs: tuple[str, ...]
    """Blocks in reading order: paragraphs, lists, tables, pieces of code; none is blank."""


@dataclass(frozen=True)
class SourceText:
    """One text of a source."""

    name: str
    """Where it was found, seen from the source; no two texts of a reading have the same."""
    title: str
    """What a reader sees above it."""
    sections: tuple[Section, ...]
    """All of it, in reading order; a text without headings is one section of rank 0."""

    @cached_property
    def text(self) -> str:
        """The whole text with its headings, blocks apart by an empty line."""
        return SEPARATOR.join(block for _, block in self.blocks())

    def blocks(self) -> list[tuple[int, str]]:
        """Headings and paragraphs in reading order, each with its rank as a heading; 0 for a paragraph."""
        found: list[tuple[int, str]] = []
        for section in self.sections:
            if section.rank:
                found.append((section.rank, section.heading))
            found.extend((0, paragraph) for paragraph in section.paragraphs)
        return found


def sections_of(blocks: list[tuple[int, str]]) -> tuple[Section, ...]:
    """Sections out of (rank, text) blocks, where rank 0 is a paragraph; blank blocks are passed over."""
    sections: list[Section] = []
    rank, heading, paragraphs = 0, "", list[str]()
    for block_rank, block in blocks:
        if not block.strip():
            continue
        if block_rank == 0:
            paragraphs.append(block.strip("\n"))
            continue
        if rank or paragraphs:
            sections.append(Section(rank, heading, tuple(paragraphs)))
        rank, heading, paragraphs = block_rank, one_line(block), []
    if rank or paragraphs:
        sections.append(Section(rank, heading, tuple(paragraphs)))
    return tuple(sections)


def plain_text(text: str, *, name: str = "text", title: str = "Your text") -> SourceText:
    """A text without headings that came from no file."""
    return SourceText(name, title, sections_of([(0, paragraph) for paragraph in paragraphs(clean(text))]))
