"""Tables of plain text: aligned columns that read the same on a terminal, in a file and in a message."""

import shutil
from collections.abc import Mapping, Sequence

Row = Mapping[str, object]


def terminal_width() -> int:
    """Columns of the terminal; 100 where there is none."""
    return shutil.get_terminal_size((100, 24)).columns


def text_table(rows: Sequence[Row], *, width: int, repeat: int = 1) -> str:
    """Rows as aligned columns under their keys, in the order in which the keys first appear.

    A table wider than `width` is broken into blocks of columns, each of which begins with the first `repeat` columns.
    Numbers stand on the right with two decimals, what is missing or None is a dash; a row without anything in a block
    is left out of it.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row))
    widths = {key: max(len(key), *(len(cell(row.get(key))) for row in rows)) for key in keys}
    return "\n\n".join(_block(rows, keys[:repeat], block, widths) for block in _blocks(keys, widths, width, repeat))


def cell(value: object) -> str:
    """One value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _blocks(keys: list[str], widths: Mapping[str, int], width: int, repeat: int) -> list[list[str]]:
    """The columns after the repeated ones, as many in a block as fit, and at least one."""
    taken = sum(widths[key] + 2 for key in keys[:repeat])
    blocks: list[list[str]] = [[]]
    for key in keys[repeat:]:
        if blocks[-1] and taken + sum(widths[other] + 2 for other in blocks[-1]) + widths[key] > width:
            blocks.append([])
        blocks[-1].append(key)
    return blocks


def _block(rows: Sequence[Row], names: list[str], figures: list[str], widths: Mapping[str, int]) -> str:
    shown = [row for row in rows if not figures or any(row.get(key) is not None for key in figures)]
    keys = [*names, *figures]
    numeric = {key for key in keys if all(isinstance(row.get(key), int | float | None) for row in rows)}
    lines = [{key: key for key in keys}, *({key: cell(row.get(key)) for key in keys} for row in shown)]
    return "\n".join(
        "  ".join(
            line[key].rjust(widths[key]) if key in numeric else line[key].ljust(widths[key]) for key in keys
        ).rstrip()
        for line in lines
    )
