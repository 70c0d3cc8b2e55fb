"""Odd judgements for `rrm import`, as a reader of `benchmarks.fuzz_readers`: counts add up, and nothing comes in twice.

Prompts, texts, raters and labels are drawn from few values, so that pairs, raters and names of answers meet again and
again, say the same and otherwise, and name levels and answers of other runs.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path

import torch

from reward_models.preference_data import PreferenceData, read_preferences
from rrm.import_report import ImportReport
from rrm.importing import import_rows
from rrm.judging.final import final_answers
from rrm.progress import SilentProgress
from rrm.store import Purpose, Run, live_judgements, verify
from rrm.taking_away.preferences import write_preferences
from rrm.tasks.own_text import OwnText
from rrm.tasks.task import Split
from rrm.texts.prompts import prompt_document

NOON = "2026-01-02T12:00:00Z"
TEXTS = (*["Yes.", "No."] * 4, " ", "Yes.\u0000", "Ja\ud800", "字" * 9, "Yes. ")
PROMPTS = (*["Why?", "Learned?"] * 4, "Kept?", "", "Why? " * 9)
RATERS = (None, None, "ann", "ann", "unnamed 1", "", "ann (imported)", 7)


def imports(chance: random.Random, folder: Path) -> int:
    """Import odd rows, import them again, take them out and import that."""
    splits = {Split.TEST: "Kept?", Split.TRAIN: "Learned?"}
    task = OwnText({split: [prompt_document(text)] for split, text in splits.items()}, name="prompts", levels=1)
    with Run.create(folder / "run", seed=0, configuration={}, now=NOON) as run:
        raters = chance.choice([RATERS, tuple(name for name in RATERS if name != "unnamed 1")])
        found = _read(folder, [_row(chance, (), raters) for _ in range(chance.randrange(1, 30))])
        first = _imported(run, task, found)
        assert len(live_judgements(run, repeats=True)) == first.judgements, "answers lost or doubled"
        # Who is called "unnamed 1" by name, as in an export, is the one without a name who says the same.
        if "unnamed 1" not in found.dataset["rater"]:
            assert first.known == 0, "known in an empty run"
            assert _learned_from(run) == [first.train, first.validation], "what is learned from is not what was said"
        again = _imported(run, task, found)
        assert (again.judgements, again.refused) == (0, first.refused), "the same came in again"
        write_preferences(run, folder / "out")
        if (taken := [path for path in (folder / "out").iterdir() if path.stat().st_size]) and first.judgements:
            data = read_preferences(taken[0].parent, generator=_generator(), folder=folder / "taken")
            assert _imported(run, task, data).judgements == 0, "an export came in again"
        # Names of answers that the run has, and texts that may be others.
        names = tuple(one.id for one in live_judgements(run))
        _imported(run, task, _read(folder, [_row(chance, names, RATERS) for _ in range(9)]))
    assert not verify(folder / "run"), "the chain of answers"
    return found.report.given


def _learned_from(run: Run) -> list[int]:
    return [len(final_answers(run, level=0, round=0, purpose=use)) for use in (Purpose.TRAIN, Purpose.VALIDATION)]


def _imported(run: Run, task: OwnText, found: PreferenceData) -> ImportReport:
    report = import_rows(run, task, found, now=NOON, progress=SilentProgress())
    refused = sum(count for _, count in report.refused)
    assert report.train + report.validation + report.repeats == report.judgements + report.known, "uses do not add up"
    if all(weight == 1.0 for weight in found.dataset["weight"]):
        assert report.judgements + report.known + refused == report.read.read, "rows lost or doubled"
    assert report.text().encode(), "impossible characters in the report"
    return report


def _read(folder: Path, rows: list[dict[str, object]]) -> PreferenceData:
    source = folder / "given.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_preferences(source, generator=_generator(), folder=folder / f"read-{len(list(folder.iterdir()))}")


def _row(chance: random.Random, names: tuple[str, ...], raters: tuple[object, ...]) -> dict[str, object]:
    row: dict[str, object] = {
        "prompt": chance.choice(PROMPTS),
        "first": chance.choice(TEXTS),
        "second": chance.choice(TEXTS),
        "label": chance.choice([1, 0, 0.5, "first", "second", "tie"]),
    }
    odd: dict[str, Callable[[], object]] = {
        "rater": lambda: chance.choice(raters),
        "weight": lambda: chance.choice([1, 1, 3]),
        "group": lambda: chance.choice(["g", "h", "Kept?", ""]),
        "judgement": lambda: chance.choice([*names, "imported-x", "", 5]),
        "level": lambda: chance.choice([0, 0, 1, "0", -1, 1e9, None]),
        "choice": lambda: chance.choice(["both_bad", "tie", "first", ["tie"]]),
        "comment": lambda: chance.choice(["", "a comment", "a\x00b"]),
    }
    return row | {name: make() for name, make in odd.items() if chance.random() < 0.4}


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
