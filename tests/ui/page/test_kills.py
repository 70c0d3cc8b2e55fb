"""A short slice of the long check: the page is killed while people and programs answer; nothing is lost or doubled."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.ui.page.browser import chromium

ROOT = Path(__file__).parents[3]


def figures(*arguments: str) -> dict[str, Any]:
    """What a benchmark prints last."""
    said = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert said.returncode == 0, said.stderr[-2000:]
    found: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    return found


def test_nothing_is_lost_or_doubled_when_the_page_is_killed() -> None:
    with chromium():  # skips where there is none
        pass
    found = figures("benchmarks.page_kills", "--trials", "3", "--seed", "1")
    assert found["kills_inside_writes"] > 0
    # How many there are depends on the machine; with eight programs and three tabs there are always some.
    assert found["answers_pressed"] == found["shown_as_saved"] > 10
    wrong = ("saved_but_lost", "pressed_but_lost", "refused", "doubled", "given_to_two_tabs")
    assert {name: found[name] for name in wrong} == dict.fromkeys(wrong, 0)
    assert found["leases_open_after_their_time"] == 0
    assert found["verified"] is True
