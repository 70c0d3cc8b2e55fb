"""Trees of documents out of a text: cut where its headings are, else at paragraphs, sentences, words."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

from reward_models.errors import InvalidInput
from rrm.tasks.document import Document
from rrm.texts.partition import Parts, partition
from rrm.texts.pieces import Count, Pieces, pieces_of
from rrm.texts.source_text import SourceText
from rrm.texts.titles import Headings, Title, titles_of_parts

_TRIES = 8
_FILLED = 0.9
"""Leaves should be that full, so that cuts have room to find a good place."""
_TREES_AT_ONCE = 8


def grow_trees(text: SourceText, *, levels: int, leaf_tokens: int, fan_out: int, count: Count) -> tuple[Document, ...]:
    """Trees that hold all words of a text, in order; a leaf has at most `leaf_tokens`, a node at most `fan_out` parts.

    All leaves of a tree are equally deep. Its height is `levels - 1` if the text has 2^(levels - 1) times half a leaf
    or more, else as large as that allows; what fits in a leaf is one. A text too long for one tree becomes several,
    "Title, 2 of 3". Cuts go between the strongest headings first, then paragraphs, then sentences, then words; a
    word is cut only if it alone fills half a leaf. Every node but a leaf has at least two parts, where there are
    pieces for two.

    `count` gives the tokens of a text; it sees all of the text a handful of times, in pieces. An id is the name of
    the source, the place in the trees and a digest of the text there: `book.md#1.2~1f3a5c7d9b`.

    Raises InvalidInput for numbers that allow no tree, and for a text without words.
    """
    _check(text, levels, leaf_tokens, fan_out, count)
    room = leaf_tokens
    for _ in range(_TRIES):
        roots = _Grower(text, levels=levels, leaf=room - count(""), fan_out=fan_out, count=count).roots()
        worst = max(count(leaf.text) for root in roots for leaf in root.leaves())
        if worst <= leaf_tokens:
            return roots
        # Tokens of a text may be more than those of its pieces; smaller leaves make room for that.
        room = min(room - 1, room * leaf_tokens // worst)
        if room - count("") < 2:
            break
    raise InvalidInput(
        f"{text.name} cannot be cut into leaves of {leaf_tokens} tokens; a leaf came out with {worst}; "
        "set more tokens for a leaf"
    )


@dataclass(frozen=True)
class _Run:
    """Pieces that become one document."""

    first: int
    last: int
    height: int
    parts: tuple["_Run", ...] = ()


class _Grower:
    """What the cuts of one text have in common."""

    def __init__(self, text: SourceText, *, levels: int, leaf: int, fan_out: int, count: Count) -> None:
        self._source, self._leaf, self._fan_out = text, leaf, fan_out
        self._pieces: Pieces = pieces_of(text, leaf=leaf, count=count)
        self._headings = Headings(self._pieces, text.title)
        self._height = self._height_for(levels)
        self._caps = [float(leaf)]
        for _ in range(self._height):
            slack = self._pieces.largest
            # Of parts that are cut between pieces, any but the last may miss as much as the largest piece.
            self._caps.append(max(fan_out * (self._caps[-1] - slack) + slack, self._caps[-1]))

    def roots(self) -> tuple[Document, ...]:
        runs = list(self._forest(0, len(self._pieces)))
        return tuple(
            self._document(
                self._branch(first, last, self._height),
                title=Title(self._source.title if len(runs) == 1 else self._among(number, len(runs))),
                place=str(number),
            )
            for number, (first, last) in enumerate(runs, 1)
        )

    def _height_for(self, levels: int) -> int:
        size = self._pieces.size(0, len(self._pieces))
        if size <= self._leaf:
            return 0
        return min(levels - 1, int(math.log2(2 * size / self._leaf)))

    def _forest(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Runs that each fit in one tree: as few as that takes, of about equal size."""
        size, cap = self._pieces.size(first, last), self._caps[-1]
        if size <= cap or last - first < 2:
            yield first, last
            return
        trees = math.ceil(size / max(cap - self._pieces.largest, 1))
        most = min(trees, _TREES_AT_ONCE)
        wanted = Parts(
            most=max(most, 2),
            ideal=size / most,
            least=self._least(self._height),
            cap=cap if trees <= _TREES_AT_ONCE else math.inf,
        )
        for run in partition(self._pieces, first, last, wanted):
            yield from self._forest(*run)

    def _branch(self, first: int, last: int, height: int) -> _Run:
        if height == 0:
            return _Run(first, last, 0)
        size, cap = self._pieces.size(first, last), self._caps[height - 1]
        leaves = max(2**height, size / (_FILLED * self._leaf))
        needed = max(2, math.ceil(size / cap))
        number = min(max(round(leaves ** (1 / height)), needed), self._fan_out)
        wanted = Parts(most=self._fan_out, ideal=size / number, least=self._least(height - 1), cap=cap)
        parts = partition(self._pieces, first, last, wanted)
        return _Run(first, last, height, tuple(self._branch(*part, height - 1) for part in parts))

    def _least(self, height: int) -> float:
        """Fewer tokens would make leaves of less than a quarter."""
        return float(2**height * self._leaf / 4)

    def _among(self, number: int, trees: int) -> str:
        return f"{self._source.title}, {number} of {trees}"

    def _document(self, run: _Run, *, title: Title, place: str) -> Document:
        text = self._pieces.span(run.first, run.last)
        titles = titles_of_parts([self._headings.label(part.first, part.last) for part in run.parts], title)
        return Document(
            id=f"{self._source.name}#{place}~{_digest(text)}",
            title=str(title),
            text=text,
            parts=tuple(
                self._document(part, title=part_title, place=f"{place}.{number}")
                for number, (part, part_title) in enumerate(zip(run.parts, titles, strict=True), 1)
            ),
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _check(text: SourceText, levels: int, leaf_tokens: int, fan_out: int, count: Count) -> None:
    for name, value, least in (("levels", levels, 1), ("leaf_tokens", leaf_tokens, 2), ("fan_out", fan_out, 2)):
        if value < least:
            raise InvalidInput(f"{name} is {value}; give at least {least}.")
    if leaf_tokens - count("") < 2:
        raise InvalidInput(f"A leaf of {leaf_tokens} tokens has no room: the counter finds {count('')} in no text.")
    if not text.text.strip():
        raise InvalidInput(f"{text.name} holds no words; leave it out.")
