"""A document is a tree of text: a leaf is read whole, a taller one is briefed part by part."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """A text and the parts it falls into."""

    id: str
    """Names the document within its task; the same seed and place give the same id."""
    title: str
    """What a reader sees above the text."""
    text: str
    """The full text, parts included."""
    parts: tuple["Document", ...] = ()
    """The documents one height below, in reading order; empty for a leaf."""

    @property
    def height(self) -> int:
        """0 for a leaf, else one more than the tallest part. A document of height k is briefed at level k."""
        return 1 + max(part.height for part in self.parts) if self.parts else 0

    def leaves(self) -> Iterator["Document"]:
        """The leaves below (or the document itself), in reading order."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()


def count_words(text: str) -> int:
    """Words as a reader pays for them: runs of characters between white space."""
    return len(text.split())
