"""What a person sees while work goes on: a live bar on a terminal, plain lines where output goes to a file."""

import time
from types import TracebackType
from typing import Self, final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from rrm.progress import AbstractProgress


def standard_error() -> Console:
    """Where progress goes, so that standard output stays for results that a program may read."""
    return Console(stderr=True, highlight=False)


@final
class RichProgress(AbstractProgress):
    """A bar for the open work, a line for each finished one; leave the `with` block to restore the terminal.

    Without a terminal there is one line when work starts and one when it finishes, and notes are not shown.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or standard_error()
        self._bars: Progress | None = None
        self._bar: TaskID | None = None
        self._task = ""
        self._note = ""
        self._started = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        self._close()

    def start(self, task: str, total: int | None = None) -> None:
        """Show a bar for `task`; work that is still open is closed first."""
        self.finish()
        self._task, self._note, self._started = task, "", time.monotonic()
        if not self._console.is_terminal:
            self._line(f"{task} ..." if total is None else f"{task} ({total}) ...")
            return
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False, style="dim"),
            console=self._console,
            transient=True,
        )
        self._bar = self._bars.add_task(task, total=total, note="")
        self._bars.start()

    def advance(self, count: int = 1) -> None:
        """Move the bar."""
        if self._bars is not None and self._bar is not None:
            self._bars.advance(self._bar, count)

    def note(self, text: str) -> None:
        """Show text beside the bar; without open work, on a line of its own."""
        self._note = text
        if self._bars is not None and self._bar is not None:
            self._bars.update(self._bar, note=text)
        elif not self._task:
            self._line(text)

    def finish(self, summary: str = "") -> None:
        """Replace the bar by one line: what was done, how long it took, the summary or else the last note."""
        if not self._task:
            return
        self._close()
        remark = summary or self._note
        seconds = time.monotonic() - self._started
        self._line(f"✓ {self._task}  {seconds:.0f} s" + (f"  {remark}" if remark else ""))
        self._task = ""

    def _close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._bars = self._bar = None

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)
