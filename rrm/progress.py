"""What long work tells whoever watches it; results are returned, progress only watches.

One piece of work is open at a time: `start`, any number of `advance` and `note`, `finish`.
"""

from abc import ABC, abstractmethod
from typing import final


class AbstractProgress(ABC):
    """The seam between work and its display."""

    @abstractmethod
    def start(self, task: str, total: int | None = None) -> None:
        """Open a piece of work of `total` units (None: unknown) under a name that a person understands.

        Work that is still open is closed first, as if finished.
        """

    @abstractmethod
    def advance(self, count: int = 1) -> None:
        """`count` more units are done."""

    @abstractmethod
    def note(self, text: str) -> None:
        """Say something beside the open work (a current figure), or on a line of its own when none is open."""

    @abstractmethod
    def finish(self, summary: str = "") -> None:
        """Close the open work; `summary` is what remains to be read of it. Without open work nothing happens."""


@final
class SilentProgress(AbstractProgress):
    """Nobody watches."""

    def start(self, task: str, total: int | None = None) -> None:
        """Show nothing."""

    def advance(self, count: int = 1) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def finish(self, summary: str = "") -> None:
        """Show nothing."""
