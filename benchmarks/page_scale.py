"""How the page does with 100,000 comparisons: until it is ready, and until the next comparison is chosen.

A small run and a large one, in turn, so that the ratio holds on a noisy machine. In both one rater has answered a third
of everything, and two raters are planned for each comparison, which is the slow case.
Run: python -m benchmarks.page_scale [--comparisons 100000]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from rrm.judging.queue import answer_many, draw_any, give_back
from rrm.people.accounts import LOCAL, ensure_rater
from rrm.store import Answer, Choice, Run, Stage, utc_now
from tests.ui.page.browser import SECONDS, chromium, open_page, serving
from tests.ui.page.filled_runs import people_run

REPEATS = 7
DRAWS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=100_000)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        small = _prepared(Path(folder) / "small", comparisons=1000)
        large = _prepared(Path(folder) / "large", comparisons=wanted.comparisons)
        figures = {
            "comparisons": wanted.comparisons,
            **_both("next_ms", [_next_milliseconds(run) for run in (small, large)]),
            **_both("ready_s", _ready_seconds(small, large)),
        }
    table = Table("figure", "small run", "large run", "ratio")
    for name in ("next_ms", "next_ms_max", "ready_s", "ready_s_max"):
        one, other = (figures[f"{name}_{side}"] for side in ("small", "large"))
        table.add_row(name, f"{one:.2f}", f"{other:.2f}", f"{other / one:.2f}")
    Console().print(table)
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


def _prepared(folder: Path, *, comparisons: int) -> Path:
    people_run(folder, comparisons=comparisons, documents=500, raters=2)
    with Run.open(folder) as run:
        ensure_rater(run, LOCAL)
        given, wanted = 0, comparisons // 3
        while given < wanted:
            with run.transaction():
                drawn = draw_any(run, rater_id=LOCAL.rater_id, count=min(1000, wanted - given), now=utc_now())
                answers = [Answer(one.lease_id, Stage.ALONE, Choice.FIRST) for one in drawn]
                answer_many(run, answers, now=utc_now())
            given += len(drawn)
    return folder


def _next_milliseconds(folder: Path) -> list[float]:
    """One comparison drawn and given back, as often as it takes for a stable figure."""
    times = []
    with Run.open(folder) as run:
        for _ in range(DRAWS):
            begin = time.perf_counter()
            (drawn,) = draw_any(run, rater_id=LOCAL.rater_id, count=1, now=utc_now())
            times.append(1000 * (time.perf_counter() - begin))
            give_back(run, drawn.lease_id, now=utc_now())
    return times


def _ready_seconds(small: Path, large: Path) -> list[list[float]]:
    """From asking for the page to the first comparison on the screen, small and large in turn."""
    times: list[list[float]] = [[], []]
    with serving(small) as first, serving(large) as second, chromium() as browser:
        for _ in range(REPEATS):
            for served, found in zip((first, second), times, strict=True):
                begin = time.perf_counter()
                with open_page(browser, served) as watched:
                    watched.page.locator("[data-lease]").first.wait_for(timeout=1000 * SECONDS)
                    found.append(time.perf_counter() - begin)
    return times


def _both(name: str, times: list[list[float]]) -> dict[str, float]:
    return {
        f"{name}{suffix}_{side}": figure(found)
        for suffix, figure in (("", median), ("_max", max))
        for side, found in zip(("small", "large"), times, strict=True)
    }


if __name__ == "__main__":
    main()
