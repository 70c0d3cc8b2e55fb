"""What progress shows, on a terminal and in a file."""

import io

import pytest
from rich.console import Console

from rrm.progress import AbstractProgress, SilentProgress
from ui.progress import RichProgress


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, width=100, color_system=None), file


def work(progress: AbstractProgress) -> None:
    progress.finish()
    progress.start("sample", total=3)
    progress.advance()
    progress.note("reward 0.5")
    progress.advance(2)
    progress.finish()
    progress.start("fit")
    progress.finish("accuracy 0.8")


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    work(SilentProgress())
    assert capsys.readouterr() == ("", "")


def test_plain_lines_without_a_terminal() -> None:
    shown, file = console(terminal=False)
    with RichProgress(shown) as progress:
        work(progress)
        progress.note("a remark")
    assert file.getvalue().splitlines() == [
        "sample (3) ...",
        "✓ sample  0 s  reward 0.5",
        "fit ...",
        "✓ fit  0 s  accuracy 0.8",
        "a remark",
    ]


def test_a_bar_on_a_terminal() -> None:
    shown, file = console(terminal=True)
    with RichProgress(shown) as progress:
        work(progress)
    text = file.getvalue()
    assert "3/3" in text and "reward 0.5" in text
    assert "✓ sample" in text and "✓ fit" in text


def test_starting_the_next_closes_the_one_before() -> None:
    shown, file = console(terminal=False)
    with RichProgress(shown) as progress:
        progress.start("one")
        progress.start("two")
    assert [line for line in file.getvalue().splitlines() if "✓" in line] == ["✓ one  0 s", "✓ two  0 s"]


def test_a_failure_claims_nothing_and_gives_the_cursor_back() -> None:
    shown, file = console(terminal=True)
    with pytest.raises(ZeroDivisionError), RichProgress(shown) as progress:
        progress.start("divide", total=2)
        raise ZeroDivisionError
    assert "✓" not in file.getvalue()
    hide, give_back = "\x1b[?25l", "\x1b[?25h"
    assert file.getvalue().rfind(give_back) > file.getvalue().rfind(hide)


def test_brackets_in_texts_are_no_markup() -> None:
    shown, file = console(terminal=False)
    with RichProgress(shown) as progress:
        progress.note("[reward] is [bold]")
    assert file.getvalue() == "[reward] is [bold]\n"
