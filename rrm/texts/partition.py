"""Where to cut a run of pieces into parts: at strong places, into parts of about equal size, none of them too large."""

import itertools
import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from rrm.texts.pieces import INSIDE_WORD, PARAGRAPH, SENTENCE, WORD, Pieces

_CELLS = 40
"""So many places are weighed against each other; of a longer run the best of each of that many cells."""
_CROSSING = 1.0
"""What it costs that a part holds a heading stronger than what it begins or ends with: as much as twice its size."""
_SPLIT = 0.3
"""What a cut costs that is weaker than the strongest heading of the run: a chapter is parted only for a reason."""
_EDGE = 99.0
"""The ends of a run are as strong as can be."""
_WEAKNESS = {SENTENCE: 0.1, WORD: 1.0, INSIDE_WORD: 3.0}
"""What a cut that is not between paragraphs costs."""
_SHORT = 4.0
"""What an empty part would cost, above its share."""


@dataclass(frozen=True)
class Parts:
    """What parts a run may be cut into."""

    most: int
    """How many at most."""
    ideal: float
    """How many tokens they should have."""
    least: float
    """Fewer tokens than that are avoided."""
    cap: float
    """More tokens than that are impossible."""


def partition(pieces: Pieces, first: int, last: int, wanted: Parts) -> list[tuple[int, int]]:
    """Runs of pieces, in order, that make up the run from `first` to `last`; at least two where there are two pieces.

    Cuts minimise the sum over parts of (size / ideal - 1)^2 and what weak cuts, crossed headings and short parts cost,
    exactly among the places that are weighed. The caller sees to it that the cap can be kept: the size of the run is at
    most `most * (cap - largest piece) + largest piece`.
    """
    if last - first < 2:
        return [(first, last)]
    places = [first, *_places(pieces, first, last), last]
    cuts = _best(pieces, places, wanted) or _even(pieces, first, last, wanted)
    return list(itertools.pairwise(cuts))


def _places(pieces: Pieces, first: int, last: int) -> list[int]:
    """Places to weigh: all if they are few, else the strongest of each cell of equal size."""
    if last - first - 1 <= _CELLS:
        return list(range(first + 1, last))
    begin, size = pieces.tokens[first], pieces.size(first, last)
    best: dict[int, tuple[int, float, int]] = {}
    for place in range(first + 1, last):
        position = (pieces.tokens[place] - begin) * _CELLS / size
        cell = min(int(position), _CELLS - 1)
        rank = (pieces.strengths[place], -abs(position - cell - 0.5), place)
        best[cell] = max(best.get(cell, rank), rank)
    return [best[cell][2] for cell in sorted(best)]


def _best(pieces: Pieces, places: list[int], wanted: Parts) -> list[int] | None:
    """The cheapest way through the places, by dynamic programming over (place, parts so far); None if there is none."""
    count = len(places)
    costs = _costs(
        np.array([pieces.tokens[place] for place in places], dtype=np.float64),
        np.array([_EDGE, *(pieces.strengths[place] for place in places[1:-1]), _EDGE], dtype=np.float64),
        wanted,
    )
    reached = np.full(count, np.inf)
    reached[0] = 0.0
    steps, totals = [], []
    for _ in range(wanted.most):
        ways = reached[:, None] + costs
        steps.append(ways.argmin(axis=0))
        reached = ways.min(axis=0)
        totals.append(float(reached[-1]))
    parts = min(range(1, wanted.most), key=lambda number: totals[number])
    if math.isinf(totals[parts]):
        return None
    way = [count - 1]
    for step in reversed(steps[: parts + 1]):
        way.append(int(step[way[-1]]))
    return [places[step] for step in reversed(way)]


def _costs(
    tokens: Float[np.ndarray, " places"], strengths: Float[np.ndarray, " places"], wanted: Parts
) -> Float[np.ndarray, "places places"]:
    """What a part from one place to another costs; the cut at its beginning is on its account."""
    count = len(tokens)
    sizes = tokens[None, :] - tokens[:, None]
    costs: Float[np.ndarray, "places places"] = (sizes / wanted.ideal - 1.0) ** 2
    costs += _SHORT * np.maximum(0.0, 1.0 - sizes / wanted.least)
    behind = np.arange(count)[None, :] > np.arange(count)[:, None]
    seen = np.maximum.accumulate(np.where(behind, strengths[None, :], 0.0), axis=1)
    inner = np.concatenate([np.zeros((count, 1)), seen[:, :-1]], axis=1)
    crossing = inner > np.minimum(strengths[:, None], strengths[None, :])
    costs += _CROSSING * (crossing & (inner > PARAGRAPH))
    strongest = max(strengths[1:-1], default=0.0)
    cuts = np.array([_WEAKNESS.get(int(strength), 0.0) for strength in strengths])
    cuts += _SPLIT * ((strengths < strongest) & (strongest > PARAGRAPH))
    cuts[0] = 0.0
    costs += cuts[:, None]
    costs[~behind | (sizes > wanted.cap)] = np.inf
    return costs


def _even(pieces: Pieces, first: int, last: int, wanted: Parts) -> list[int]:
    """Equal parts, each cut at the first place behind its share unless the cap forbids that."""
    cuts = [first]
    for left in range(wanted.most, 1, -1):
        begin = pieces.tokens[cuts[-1]]
        share = (pieces.tokens[last] - begin) / left
        place = bisect_left(pieces.tokens, begin + share, cuts[-1] + 1, last)
        if pieces.tokens[place] - begin > wanted.cap:
            place = max(bisect_right(pieces.tokens, begin + wanted.cap, cuts[-1] + 1, last) - 1, cuts[-1] + 1)
        if place >= last:
            break
        cuts.append(place)
    return [*cuts, last]
