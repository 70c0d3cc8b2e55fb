"""Figures are computed once for each state of the store, however many people look at them."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from rrm.store.run import Run
from rrm.store.transaction import rows

Figures = TypeVar("Figures")

# What figures are made of: answers, who is left out, and what steps, decisions and sessions came to.
_STATE = """
    SELECT (SELECT coalesce(max(position), 0) FROM judgements) AS judgements,
        (SELECT count(*) FROM exclusions) AS exclusions, (SELECT count(*) FROM decisions) AS decisions,
        (SELECT count(*) || max(heartbeat_at) FROM steps) AS steps,
        (SELECT count(*) || max(finished_at) FROM sessions) AS sessions"""


class Memory(Generic[Figures]):
    """What was computed last, under a name each; safe to use from many threads."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._known: dict[str, tuple[object, Figures]] = {}

    def recall(self, name: str, compute: Callable[[], Figures]) -> Figures:
        """What is known under this name, if the store is as it was; else what `compute` finds now."""
        # One thread computes and the others wait for it: a figure is not worth computing twice at once.
        with self._lock:
            state = rows(self._run.database, _STATE)[0]
            known = self._known.get(name)
            if known is None or known[0] != state:
                known = self._known[name] = state, compute()
            return known[1]
