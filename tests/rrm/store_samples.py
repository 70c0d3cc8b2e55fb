"""A small run that the tests of the store and of the queue share."""

from pathlib import Path

from rrm.store import (
    Purpose,
    Rater,
    RaterKind,
    Run,
    StoredComparison,
    StoredCompletion,
    StoredDocument,
    put_comparisons,
    put_completions,
    put_documents,
    put_rater,
)

NOON = "2026-01-02T12:00:00Z"


def seconds(after_noon: float) -> str:
    """The time so many whole seconds after noon, written in another offset than noon is."""
    hours, rest = divmod(int(after_noon), 3600)
    return f"2026-01-02T{13 + hours:02d}:{rest // 60:02d}:{rest % 60:02d}+01:00"


def small_run(folder: Path, *, comparisons: int = 3, aids_planned: bool = False, raters_planned: int = 1) -> Run:
    """A run with comparisons p0, p1, ... of completions c0-0, c0-1, ... and the raters ann, ben and cal."""
    run = Run.create(folder, seed=7, configuration={"levels": 2}, now=NOON)
    numbers = range(comparisons)
    put_documents(run, [StoredDocument(f"d{n}", "shiftlog", 0, "train", n, f"Shift {n}", f"Log {n}") for n in numbers])
    put_completions(
        run, [StoredCompletion(f"c{n}-{k}", f"d{n}", 0, 0, "base", f"Brief {n}, {k}") for n in numbers for k in (0, 1)]
    )
    put_comparisons(
        run,
        [
            StoredComparison(
                f"p{n}",
                0,
                0,
                Purpose.TRAIN,
                f"d{n}",
                f"Brief this: Log {n}",
                f"c{n}-0",
                f"c{n}-1",
                "random",
                n,
                aids_planned,
                raters_planned,
            )
            for n in numbers
        ],
    )
    for name in ("ann", "ben", "cal"):
        put_rater(run, Rater(name, name.title(), RaterKind.SIMULATED, {"budget": 200}))
    return run
