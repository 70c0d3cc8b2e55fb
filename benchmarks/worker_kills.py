"""kill -9 of a session's worker at random moments, and whether its round ends as if nothing had happened.

Two runs of one seed play the same round in sessions; the worker of one is killed again and again and resumed. A kill
counts for the step that this worker had begun and not ended. At the end the files of all models, the answers and the
run's own check are compared.
Run: python -m benchmarks.worker_kills [--kills 50] [--seed 0]
"""

import argparse
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rrm.run_folder import open_run_folder
from rrm.sessions.launching import launch
from rrm.sessions.records import AT_WORK, Session, SessionKind, SessionState
from rrm.sessions.store import create_session, session, state_of
from rrm.starting import start_run
from rrm.store import Run, StepStatus, artifacts, judgement_digest, live_judgements, steps, utc_now, verify
from rrm.store.run import LOCK_FILE

SETTINGS = (
    "run.threads=1",
    "run.levels=1",
    "sampling.train_documents=60",
    "sampling.validation_documents=24",
    "judging.judgements_per_round=150",
    "judging.validation_judgements=40",
    "judging.promotion_judgements=24",
    "agent.checkpoint_every=1",
)
LONGEST_LIFE = 9.0
"""Seconds after its launch within which a worker is killed: it needs the first few to load its libraries."""
PATIENCE = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=200, help="optimiser steps of the agent")
    wanted = parser.parse_args()
    dice = random.Random(wanted.seed)
    with tempfile.TemporaryDirectory() as folder:
        quiet, killed = (_begun(Path(folder) / name, wanted) for name in ("quiet", "killed"))
        landed = _kill_until_finished(killed, kills=wanted.kills, dice=dice)
        _play(quiet)
        with Run.open(quiet) as first, Run.open(killed) as second:
            same = _outcome(first) == _outcome(second)
            sound = not verify(quiet) and not verify(killed)
    table = Table("step that a kill landed in", "kills")
    for name, number in sorted(landed.items()):
        table.add_row(name, str(number))
    Console().print(table)
    print(json.dumps({"kills": sum(landed.values()), "landed": landed, "same_result": same, "verified": sound}))


def _begun(folder: Path, wanted: argparse.Namespace) -> Path:
    start_run(folder, [*SETTINGS, f"run.seed={wanted.seed}", f"agent.steps={wanted.steps}"])
    with open_run_folder(folder) as opened:
        create_session(
            opened.run, kind=SessionKind.ROUND, level=0, round=0, settings={}, started_by="local", now=utc_now()
        )
    return folder


def _play(folder: Path) -> None:
    with Run.open(folder) as run:
        launch(run, _only(run).id)
        _wait(lambda: state_of(run, _only(run)) not in AT_WORK)
        assert state_of(run, _only(run)) is SessionState.FINISHED, _only(run).error


def _kill_until_finished(folder: Path, *, kills: int, dice: random.Random) -> dict[str, int]:
    """Kill the worker `kills` times, then let it end; how many kills landed in which step."""
    landed: Counter[str] = Counter()
    with Run.open(folder) as run:
        while sum(landed.values()) < kills and _only(run).status != "finished":
            before = {step.key: step.attempts for step in steps(run)}
            launch(run, _only(run).id)
            time.sleep(dice.uniform(0.0, LONGEST_LIFE))
            if state_of(run, _only(run)) not in AT_WORK:
                break
            _wait(lambda: bool((folder / LOCK_FILE).read_text()))  # written an instant after the lock is taken
            os.kill(int((folder / LOCK_FILE).read_text()), signal.SIGKILL)
            _wait(lambda: state_of(run, _only(run)) is SessionState.INTERRUPTED)
            # A step counts only if this worker had begun it, or taken it up again, before it was killed.
            begun = [step for step in steps(run) if step.attempts > before.get(step.key, 0)]
            at_work = [step.name for step in begun if step.status is StepStatus.RUNNING]
            landed[at_work[-1] if at_work else "between steps" if begun else "while it loaded its libraries"] += 1
    _play_on(folder)
    return dict(landed)


def _play_on(folder: Path) -> None:
    with Run.open(folder) as run:
        finished = _only(run).status == "finished"
    if not finished:
        _play(folder)


def _only(run: Run) -> Session:
    return session(run, "session-1")


def _wait(done: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < until, "the worker did not end in time"
        time.sleep(0.02)


def _outcome(run: Run) -> dict[str, object]:
    return {
        "answers": judgement_digest(live_judgements(run)),
        "files": {artifact.id: dict(artifact.files) for artifact in artifacts(run)},
    }


if __name__ == "__main__":
    main()
