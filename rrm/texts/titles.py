"""What parts of a text are called: by the headings they stand under, else by their number."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rrm.texts.pieces import Pieces
from rrm.texts.words import shown

_LONGEST = 80


class Headings:
    """The headings of a text, by place."""

    def __init__(self, pieces: Pieces, title: str) -> None:
        self._title = title
        self._places = sorted(pieces.headings)
        self._paths: list[tuple[str, ...]] = []
        stack: list[tuple[int, str]] = []
        for place in self._places:
            rank, words = pieces.headings[place]
            stack = [above for above in stack if above[0] < rank]
            stack.append((rank, _short(words)))
            self._paths.append(tuple(heading for _, heading in stack))

    def label(self, first: int, last: int) -> str | None:
        """The headings that the run of pieces stands under, outermost first; "A to B" if it holds several sections.

        None where no heading stands above its beginning.
        """
        before = bisect_right(self._places, first) - 1
        if before < 0:
            return None
        path = self._paths[before]
        within = self._paths[before + 1 : bisect_right(self._places, last - 1)]
        # Sections within the first one are not named: the heading above them stands for all.
        beside = [other for other in within if other[: len(path)] != path]
        shown = self._shown(path)
        return f"{shown} to {beside[-1][-1]}" if beside else shown

    def _shown(self, path: tuple[str, ...]) -> str:
        return " / ".join(path if path[0] == _short(self._title) else (_short(self._title), *path))


@dataclass(frozen=True)
class Title:
    """What a document is called."""

    words: str
    """The headings that it stands under, or the title of the whole text."""
    place: tuple[int, ...] = ()
    """Its number among all documents of the same words, level by level; empty where the words say it all."""
    beside: int = 0
    """How many documents of the same words stand beside it, itself included."""

    def __str__(self) -> str:
        number = ".".join(map(str, self.place))
        among = f" of {self.beside}" if len(self.place) == 1 else ""
        return f"{self.words}, part {number}{among}" if self.place else self.words


def titles_of_parts(labels: Sequence[str | None], above: Title) -> list[Title]:
    """Titles of the parts of a document; those without headings, or with the same, go by their number."""
    words = [label or above.words for label in labels]
    total, seen = Counter(words), Counter[str]()
    titles = []
    for label in words:
        seen[label] += 1
        outer = above.place if label == above.words else ()
        alike = total[label] > 1 or label == above.words
        titles.append(Title(label, (*outer, seen[label]), total[label]) if alike else Title(label))
    return titles


def _short(heading: str) -> str:
    heading = shown(heading)
    return heading if len(heading) <= _LONGEST else heading[: _LONGEST - 1].rstrip() + "…"
