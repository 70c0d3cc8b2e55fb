"""What reading texts found: how many, how long, and which could not be used and why.

Items read and items rejected are the items given, always.
"""

from collections import Counter
from dataclasses import dataclass

from rrm.texts.words import shown

NAMED = 20
"""So many rejected items are named; all are counted."""


@dataclass(frozen=True)
class RejectedItem:
    """A file or row that could not be used."""

    name: str
    """Where it stands, seen from the source."""
    kind: str
    """A few words that are the same for all items of the kind."""
    reason: str
    """What came, and what was expected."""

    def __str__(self) -> str:
        return f"{self.name} {self.reason}"


@dataclass(frozen=True, kw_only=True)
class TextReport:
    """The account of a reading; plain numbers and texts, ready for JSON through `dataclasses.asdict`."""

    source: str
    """What was read."""
    given: int
    """Items in the source: `read` and `rejected` together. An item is a file that is one text, or a row."""
    read: int
    """Texts that can be used."""
    rejected: int
    """Items that cannot be."""
    rejected_by_kind: tuple[tuple[str, int], ...]
    """(what was wrong, items), the most frequent first."""
    rejected_items: tuple[RejectedItem, ...]
    """The first of the rejected items."""
    words: int
    """Words of the texts that can be used."""
    columns: tuple[str, ...]
    """Columns that texts were taken from; none where files are texts."""

    def text(self) -> str:
        """The account in a few lines: a sentence, then the kinds of rejected items, then the first of these by name."""
        column = f" from the column {' or '.join(self.columns)}" if self.columns else ""
        lines = [f"{self.read} of {self.given} texts read{column} ({self.words:,} words), {self.rejected} rejected"]
        lines += [f"  {count} {kind}" for kind, count in self.rejected_by_kind]
        lines += [f"    {item}" for item in self.rejected_items]
        if self.rejected > len(self.rejected_items):
            lines.append(f"    and {self.rejected - len(self.rejected_items)} more")
        return "\n".join(lines)


class TextTally:
    """Counts while items go by."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._items: list[RejectedItem] = []
        self._read = 0
        self._words = 0
        self.columns: list[str] = []

    def reject(self, name: str, kind: str, reason: str) -> None:
        """Count an item that cannot be used, and name it if it is among the first."""
        self._kinds[kind] += 1
        if len(self._items) < NAMED:
            self._items.append(RejectedItem(name, kind, shown(reason)))

    def accept(self, words: int) -> None:
        """Count a text that can be used."""
        self._read += 1
        self._words += words

    def report(self, source: str) -> TextReport:
        """The account so far."""
        rejected = sum(self._kinds.values())
        return TextReport(
            source=source,
            given=self._read + rejected,
            read=self._read,
            rejected=rejected,
            rejected_by_kind=tuple(self._kinds.most_common()),
            rejected_items=tuple(self._items),
            words=self._words,
            columns=tuple(dict.fromkeys(shown(column) for column in self.columns)),
        )
