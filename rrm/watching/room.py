"""What a room of the watching page is: a title, how to read it, one figure, and the numbers behind that."""

from dataclasses import dataclass
from enum import StrEnum

from rrm.transcripts import Transcript
from rrm.watching.shares import Share

Cell = str | int | float | Share | None


class Show(StrEnum):
    """How the cells of a column are shown."""

    TEXT = "text"
    COUNT = "count"
    """A whole number."""
    FIGURE = "figure"
    """A number with two digits after the point."""
    PERCENT = "percent"
    """A share."""
    SECONDS = "seconds"
    """A time."""
    INTERVAL = "interval"
    """A share with its interval, as every cell that holds one is shown."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    show: Show


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers in rows; a cell is None where there is none, and text where words have to stand for one."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Room:
    """One room. Without a table there is nothing to see yet, and `empty` says what to do about it."""

    key: str
    """A short name that does not change, for links."""
    title: str
    reading: str
    """One sentence on how to read it."""
    empty: str
    svg: str | None = None
    table: Table | None = None
    remarks: tuple[str, ...] = ()
    """Sentences that stand below the figure."""
    transcripts: tuple[Transcript, ...] = ()
    """Completions that are shown token by token."""


def columns(**shown: Show) -> tuple[Column, ...]:
    """Columns from how they are shown; `like_this` is headed `Like this`."""
    return tuple(Column(name.replace("_", " ").capitalize(), show) for name, show in shown.items())
