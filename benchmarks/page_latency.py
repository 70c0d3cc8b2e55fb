"""From a key to the next comparison on the screen, alone and while a training session runs on the same machine.

Measured in the browser: from the event of the key to the frame after the card has changed. Blocks of presses without
and with a session at work alternate, so that the ratio holds on a noisy machine. The second figure is the one that
needs the server: from the answer given alone to the aids on the screen.
Run: python -m benchmarks.page_latency [--presses 120]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy
from rich.console import Console
from rich.table import Table

from rrm.run_folder import open_run_folder
from rrm.sessions.launching import launch
from rrm.sessions.records import AT_WORK, SessionKind
from rrm.sessions.store import create_session, request_stop, session, state_of
from rrm.starting import start_run
from rrm.store import Run, progress, step_key, utc_now
from tests.ui.page.browser import SECONDS, chromium, open_page, serving
from tests.ui.page.filled_runs import people_run

TRAINING = (
    "run.levels=1",
    "run.threads=0",
    "agent.steps=100000",
    "agent.checkpoint_every=5",
    "sampling.train_documents=60",
)
OPTIMISE = step_key(level=0, round=0, name="optimise")
BLOCK = 20

MEASURE = """(wanted) => {
    const work = document.querySelector('[data-part="work"]');
    let begin = 0;
    let last = work.dataset[wanted];
    window.latencies = [];
    document.addEventListener("keydown", (event) => (begin = event.timeStamp), true);
    new MutationObserver(() => {
        if (work.dataset[wanted] === last) return;
        last = work.dataset[wanted];
        requestAnimationFrame(() => requestAnimationFrame(() => window.latencies.push(performance.now() - begin)));
    }).observe(work, { attributes: true });
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presses", type=int, default=120, help="in each of the two conditions")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        alone = people_run(Path(scratch) / "alone", comparisons=3 * wanted.presses)
        aided = people_run(Path(scratch) / "aided", comparisons=3 * wanted.presses, level=1)
        training = Path(scratch) / "training"
        start_run(training, TRAINING)
        with open_run_folder(training) as opened:
            create_session(
                opened.run, kind=SessionKind.ROUND, level=0, round=0, settings={}, started_by="local", now=utc_now()
            )
        times = {
            "next": _times(alone, training, watch="lease", presses=wanted.presses),
            "aids": _times(aided, training, watch="stage", presses=wanted.presses),
        }
    table = Table("ms", "quiet p50", "p90", "training p50", "p90", "ratio of p90")
    figures: dict[str, float] = {}
    for name, found in times.items():
        quantiles = [float(numpy.quantile(found[when], q)) for when in ("quiet", "training") for q in (0.5, 0.9)]
        table.add_row(name, *(f"{value:.1f}" for value in quantiles), f"{quantiles[3] / quantiles[1]:.2f}")
        names = ("quiet_p50", "quiet_p90", "training_p50", "training_p90")
        figures |= {f"{name}_{which}": round(value, 1) for which, value in zip(names, quantiles, strict=True)}
    Console().print(table)
    print(json.dumps({"presses": wanted.presses, **figures}))


def _times(folder: Path, training: Path, *, watch: str, presses: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"quiet": [], "training": []}
    with (
        serving(folder) as served,
        chromium() as browser,
        open_page(browser, served) as watched,
        Run.open(training) as run,
    ):
        watched.page.locator("[data-lease]").first.wait_for(timeout=1000 * SECONDS)
        watched.page.evaluate(MEASURE, watch)
        while len(found["training"]) < presses:
            found["quiet"] += _block(watched.page, watch=watch)
            _start(run)
            found["training"] += _block(watched.page, watch=watch)
            assert state_of(run, session(run, "session-1")) in AT_WORK
            _stop(run)
    return found


def _block(page: Any, *, watch: str) -> list[float]:
    """Real presses of a key, one after another."""
    page.evaluate("window.latencies.length = 0")
    for number in range(BLOCK):
        page.keyboard.press("1")
        page.wait_for_function("(number) => window.latencies.length > number", arg=number)
        # A rater who reads a comparison in a quarter of a second is faster than any.
        page.wait_for_timeout(250)
        if watch == "stage":
            # The final answer shows the next comparison, whose stage is the first again: not a latency of the aids.
            page.keyboard.press("1")
            page.wait_for_function("(number) => window.latencies.length > number + 1", arg=number)
            page.evaluate("window.latencies.pop()")
            page.wait_for_timeout(250)
    return [float(value) for value in page.evaluate("window.latencies")]


def _start(run: Run) -> None:
    """Have the session train an agent: wait until it takes optimiser steps, so that the heavy part is at work."""
    before = len(progress(run, OPTIMISE))
    launch(run, "session-1")
    until = time.monotonic() + 600
    while len(progress(run, OPTIMISE)) <= before:
        assert state_of(run, session(run, "session-1")) in AT_WORK, session(run, "session-1").error
        assert time.monotonic() < until, "the session did not come to its training"
        time.sleep(0.1)


def _stop(run: Run) -> None:
    request_stop(run, "session-1", now=utc_now())
    while state_of(run, session(run, "session-1")) in AT_WORK:
        time.sleep(0.05)


if __name__ == "__main__":
    main()
