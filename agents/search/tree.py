"""The tree of what was imagined behind one prompt: an edge is a token, and all that goes through it is remembered."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Path = list[tuple["Node", int]]
"""Edges from the root: a node and the place of a token in it."""


@dataclass
class Node:
    """What may follow one beginning of a completion; the arrays have one entry per token that is known here."""

    tokens: NDArray[np.int64]
    priors: NDArray[np.float64]
    """The policy's probability of each."""
    visits: NDArray[np.float64] = field(init=False)
    """Completions imagined through each."""
    totals: NDArray[np.float64] = field(init=False)
    """Sum of their rewards."""
    flying: NDArray[np.float64] = field(init=False)
    """Completions through each that the reward was not asked about yet."""
    closed: NDArray[np.bool_] = field(init=False)
    """Whether nothing new can be found there now."""
    children: dict[int, "Node"] = field(init=False, default_factory=dict)
    """By place."""

    def __post_init__(self) -> None:
        self.visits, self.totals, self.flying = (np.zeros(len(self.tokens)) for _ in range(3))
        self.closed = self.priors <= 0.0

    def place(self, token: int, prior: float) -> int:
        """Where a token stands; it is added if it is not known here yet."""
        known = np.flatnonzero(self.tokens == token)
        if len(known):
            return int(known[0])
        self.tokens = np.append(self.tokens, token)
        self.priors = np.append(self.priors, prior)
        self.visits, self.totals, self.flying = (
            np.append(values, 0.0) for values in (self.visits, self.totals, self.flying)
        )
        self.closed = np.append(self.closed, False)
        return len(self.tokens) - 1


class Tree:
    """The imagined completions of one prompt, and where to look next."""

    def __init__(self, *, exploration: float) -> None:
        """`exploration` is c in `scores`."""
        self._exploration = exploration
        self.root: Node | None = None
        self._low, self._high = float("inf"), float("-inf")

    @property
    def finished(self) -> bool:
        """Whether every completion that the tree can reach was imagined."""
        return self.root is not None and bool(self.root.closed.all())

    def select(self) -> tuple[int, ...] | None:
        """The beginning to imagine next, one token beyond the tree; None if there is nothing new in it.

        What was selected is in flight until a completion that begins so is added.
        """
        node, path = self.root, Path()
        if node is None or self.finished:
            return None
        while True:
            place = int(self._scores(node).argmax())
            node.flying[place] += 1.0
            path.append((node, place))
            if place not in node.children:
                break
            node = node.children[place]
        node.closed[place] = True
        _close_above(path)
        return tuple(int(at.tokens[where]) for at, where in path)

    def add(
        self,
        completion: NDArray[np.int64],
        reward: float,
        tokens: NDArray[np.int64],
        priors: NDArray[np.float64],
        *,
        selected: int = 0,
    ) -> None:
        """Remember a whole completion, (time,), with the tokens considered at each time and their probabilities.

        `tokens` and `priors` are (time, width + 1), the token that was taken last. `selected` is the length of the
        beginning that was in flight.
        """
        self._low, self._high = min(self._low, reward), max(self._high, reward)
        path = Path()
        for time, token in enumerate(completion.tolist()):
            node = self._node(path, tokens[time, :-1], priors[time, :-1])
            place = node.place(token, float(priors[time, -1]))
            node.visits[place] += 1.0
            node.totals[place] += reward
            if time < selected:
                node.flying[place] -= 1.0
            path.append((node, place))
        node.closed[place] = True
        _close_above(path)

    def _node(self, path: Path, tokens: NDArray[np.int64], priors: NDArray[np.float64]) -> Node:
        """The node at the end of a path; a new one if there is none."""
        if not path:
            self.root = Node(tokens, priors) if self.root is None else self.root
            return self.root
        before, place = path[-1]
        if place not in before.children:
            before.children[place] = Node(tokens, priors)
        return before.children[place]

    def _scores(self, node: Node) -> NDArray[np.float64]:
        """Q(a) + c P(a) sqrt(1 + N) / (1 + n(a)) of each token a, minus infinity where nothing new can be found.

        Rewards are scaled to [0, 1] by the lowest and highest seen in the tree. An untried token counts as the mean of
        its node; one in flight as if it had been the lowest, so that what is imagined together is not all the same.
        """
        visits = node.visits + node.flying
        spread = self._high - self._low
        mean = 0.5
        worth = np.zeros(len(visits))
        if spread > 0.0:
            worth = (node.totals - self._low * node.visits) / spread
            mean = float(worth.sum()) / max(float(visits.sum()), 1.0)
        quality = np.where(visits > 0.0, worth / np.maximum(visits, 1.0), mean)
        bonus = self._exploration * node.priors * np.sqrt(1.0 + visits.sum()) / (1.0 + visits)
        return np.where(node.closed, -np.inf, quality + bonus)


def _close_above(path: Path) -> None:
    """Let every edge of a path know whether its end still has something new, from the end to the root."""
    for node, place in reversed(path):
        if place in node.children:
            node.closed[place] = bool(node.children[place].closed.all())
