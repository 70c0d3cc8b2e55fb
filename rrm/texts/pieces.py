"""A text as small pieces that are never cut, and how strong each place between two of them is as a place to cut."""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rrm.texts.source_text import SEPARATOR, SourceText

Count = Callable[[str], int]
"""Tokens of a text."""

INSIDE_WORD, WORD, SENTENCE, PARAGRAPH = 0, 1, 2, 3
"""How strong a place is; the place before a heading of rank r is `PARAGRAPH + 7 - r`."""
_PIECES_A_LEAF = 8
"""Paragraphs of more than an eighth of a leaf may be cut, and so may their sentences."""
_COUNTED_AT_ONCE = 50_000
"""Longer strings are cut before they are counted: a tokenizer needs hundreds of bytes for each token of a call."""

# Runs are limited, so that a million dots are not looked at from each of them.
_SENTENCE_END = re.compile(
    r"""[.!?…][.!?…"'”’»)\]*_]{0,8}\s+(?=["'“‘«(\[*_—-]*[^\W_a-z])|[。！？]["”’」』）]{0,8}\s*|\n"""
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Mx|Dr|St|Prof|Rev|Hon|Lt|Col|Gen|Capt|Sgt|Jr|Sr|vs|etc|cf|al|e\.g|i\.e|No|Nos|Fig|Vol|pp?)"
    r"|\b[A-Z])\.\s+$"
)


@dataclass(frozen=True)
class Pieces:
    """The pieces of a text: piece i is `text[starts[i]:starts[i + 1]]`, with the space behind it."""

    text: str
    starts: Sequence[int]
    """Where each piece begins, and the length of the text at the end."""
    tokens: Sequence[int]
    """Tokens before each piece, and of the whole text at the end."""
    strengths: Sequence[int]
    """How strong the place before each piece is."""
    headings: dict[int, tuple[int, str]]
    """Rank and words of the headings, by the piece that they begin with."""
    largest: int
    """Tokens of the largest piece."""

    def __len__(self) -> int:
        return len(self.strengths)

    def size(self, first: int, last: int) -> int:
        """Tokens of the pieces from `first` up to, not with, `last`."""
        return self.tokens[last] - self.tokens[first]

    def span(self, first: int, last: int) -> str:
        """The text of these pieces."""
        return self.text[self.starts[first] : self.starts[last]].strip()


def pieces_of(source: SourceText, *, leaf: int, count: Count) -> Pieces:
    """Cut a text as finely as leaves of that many tokens need, on top of what the counter finds in an empty text."""
    overhead = count("")
    starts, tokens, strengths = list[int](), [0], list[int]()
    headings: dict[int, tuple[int, str]] = {}
    place, after_heading = 0, False
    for rank, block in source.blocks():
        if rank:
            headings[len(strengths)] = (rank, block)
        # A heading stays with what it heads.
        strength = SENTENCE if after_heading else PARAGRAPH + 7 - rank if rank else PARAGRAPH
        after_heading = rank > 0
        for piece, inner, size in _fine(block + SEPARATOR, strength, leaf, overhead, count):
            starts.append(place)
            strengths.append(inner)
            tokens.append(tokens[-1] + size)
            place += len(piece)
    starts.append(max(place - len(SEPARATOR), 0))
    largest = max((after - before for before, after in itertools.pairwise(tokens)), default=0)
    return Pieces(source.text, starts, tokens, strengths, headings, largest)


def _fine(block: str, strength: int, leaf: int, overhead: int, count: Count) -> Iterator[tuple[str, int, int]]:
    """(piece, strength of the place before it, tokens) of a block: sentences if it is long, words if these are."""
    if len(block) <= _COUNTED_AT_ONCE:
        size = max(count(block) - overhead, 1)
        if size * _PIECES_A_LEAF <= leaf:
            yield block, strength, size
            return
    for sentence in _sentences(block):
        yield from _words(sentence, strength, leaf, overhead, count)
        strength = SENTENCE


def _sentences(block: str) -> Iterator[str]:
    done, whole = 0, len(block.rstrip())
    for end in _SENTENCE_END.finditer(block):
        # The last letters are enough to know an abbreviation by.
        abbreviated = _ABBREVIATION.search(block[max(done, end.end() - 12) : end.end()])
        if end.end() < whole and not abbreviated and not block[done : end.end()].isspace():
            yield block[done : end.end()]
            done = end.end()
    yield block[done:]


def _words(piece: str, strength: int, leaf: int, overhead: int, count: Count) -> Iterator[tuple[str, int, int]]:
    """A sentence, or chunks of its words where it is long, or of its letters where one word is half a leaf."""
    counted = len(piece) <= _COUNTED_AT_ONCE
    size = max(count(piece) - overhead, 1) if counted else len(piece)
    if counted and size * _PIECES_A_LEAF <= leaf:
        yield piece, strength, size
        return
    chunks, inner = _chunks(re.findall(r"\s*\S+\s*", piece), -(-size * _PIECES_A_LEAF // leaf)), WORD
    if len(chunks) < 2 and (size * 2 > leaf or not counted):
        letters = [
            piece[: len(piece) - len(piece.lstrip()) + 1],
            *piece.strip()[1:-1],
            piece[len(piece.rstrip()) - 1 :],
        ]
        chunks, inner = _chunks(letters if len(piece.strip()) > 1 else [piece], -(-size * 4 // leaf)), INSIDE_WORD
    if len(chunks) < 2:
        yield piece, strength, size
        return
    for chunk in chunks:
        yield from _words(chunk, strength, leaf, overhead, count)
        strength = inner


def _chunks(items: list[str], number: int) -> list[str]:
    """The items, in order, in that many chunks of about equally many, or one each if they are fewer."""
    number = max(2, min(number, len(items)))
    edges = [len(items) * step // number for step in range(number + 1)]
    return ["".join(items[begin:end]) for begin, end in itertools.pairwise(edges) if end > begin]
