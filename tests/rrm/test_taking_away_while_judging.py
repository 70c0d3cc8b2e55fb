"""A run taken away while people judge on: nobody waits, and all that comes out is one moment."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rrm.importing import import_preferences
from rrm.judging.queue import answer, draw_many
from rrm.opening import open_workbench
from rrm.progress import SilentProgress
from rrm.starting_own import OwnMaterial
from rrm.store import Choice, Purpose, Run, Stage, live_judgements
from rrm.taking_away.export import export_run
from rrm.taking_away.preferences import preference_rows
from rrm.tasks.own_text import OwnText
from tests.rrm.own_runs import MODEL, preference_lines, start
from tests.rrm.store_samples import NOON, small_run

NO_TASK = OwnText({}, name="prompts", levels=1)
PROMPTS = 30


class Judging:
    """Others who answer through a connection of their own, each time as somebody new and about a new pair as well."""

    def __init__(self, run: Path, notes: Path) -> None:
        self._run, self._notes, self.times = run, notes, 0

    def on(self) -> None:
        self.times += 1
        rows: list[dict[str, object]] = [
            {"prompt": f"Ask {n}?", "chosen": better, "rejected": "no", "rater": f"Bob {self.times}"}
            for n in range(PROMPTS)
            for better in ("yes", f"yes {self.times}")
        ]
        with Run.open(self._run, timeout=0.0) as run:
            source = preference_lines(rows, self._notes)
            import_preferences(run, NO_TASK, source, now=NOON, progress=SilentProgress())


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A run with an answer to each prompt."""
    rows: list[dict[str, object]] = [
        {"prompt": f"Ask {n}?", "chosen": "yes", "rejected": "no", "rater": "Ann"} for n in range(PROMPTS)
    ]
    source = preference_lines(rows, tmp_path / "begun.jsonl")
    start(tmp_path / "run", OwnMaterial(model=str(MODEL), preferences=str(source)))
    return tmp_path / "run"


def test_somebody_new_who_answers_between_two_rows_is_named(begun: Path, tmp_path: Path) -> None:
    judging = Judging(begun, tmp_path / "more.jsonl")
    with Run.open(begun) as run:
        rows = preference_rows(run)
        first = next(rows)
        judging.on()
        rest = list(rows)
    assert (first["rater"], first["purpose"]) == ("Ann", "train")
    # What was read already stays as it was; the held-out answers are read after the new ones came.
    assert {row["rater"] for row in rest if row["purpose"] == "train"} == {"Ann"}
    later = {(row["rater"], row["chosen"]) for row in rest if row["purpose"] == "validation"}
    assert later == {("Ann", "yes"), ("Bob 1", "yes"), ("Bob 1", "yes 1")}


def test_an_export_is_one_moment_and_keeps_nobody_waiting(begun: Path, tmp_path: Path) -> None:
    judging = Judging(begun, tmp_path / "more.jsonl")
    with open_workbench(begun, exclusive=False) as bench:
        # Before whatever the export asks of the run, others answer, without any patience.
        bench.run.database.conn.set_trace_callback(lambda _: judging.on() if judging.times < 5 else None)
        found = export_run(bench, tmp_path / "out")
        bench.run.database.conn.set_trace_callback(None)
        answered = len(live_judgements(bench.run))
    assert answered == PROMPTS + 2 * PROMPTS * judging.times > PROMPTS
    places = [tmp_path / "out" / "preferences" / name for name in ("preferences.jsonl", "ties.jsonl")]
    rows = [json.loads(line) for place in places for line in place.read_text(encoding="utf-8").splitlines()]
    lines = (tmp_path / "out" / "judgements.jsonl").read_text(encoding="utf-8").splitlines()
    with closing(sqlite3.connect(tmp_path / "out" / "run.db")) as database:
        kept = {name for (name,) in database.execute("SELECT id FROM live_judgements")}
    assert {row["judgement"] for row in rows} == {row["id"] for row in map(json.loads, lines) if row["live"]} == kept
    assert found.answers.preferences + found.answers.ties == len(rows) == len(kept)


def test_an_exported_database_is_one_file_that_may_be_read_only(begun: Path, tmp_path: Path) -> None:
    with open_workbench(begun, exclusive=False) as bench:
        export_run(bench, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("run.db*")] == ["run.db"]
    # Bytes 18 and 19 say how it is written and read: 2 would ask for a log beside it, and for leave to make one.
    assert (tmp_path / "out" / "run.db").read_bytes()[18:20] == b"\x01\x01"


def test_each_row_says_what_was_answered_in_the_words_of_the_store(tmp_path: Path) -> None:
    given = {
        "p0": Choice.FIRST,
        "p1": Choice.SECOND,
        "p2": Choice.TIE,
        "p3": Choice.BOTH_BAD,
        "p4": Choice.SKIP,
    }
    with small_run(tmp_path / "run", comparisons=5) as run:
        drawn = draw_many(run, rater_id="ann", level=0, round=0, purpose=Purpose.TRAIN, count=5, now=NOON)
        ids = {
            one.comparison.id: answer(
                run, one.lease_id, stage=Stage.ALONE, choice=given[one.comparison.id], now=NOON
            ).id
            for one in drawn
        }
        rows = {str(row["comparison"]): row for row in preference_rows(run)}
    assert {name: row["choice"] for name, row in rows.items()} == {
        "p0": "first",
        "p1": "second",
        "p2": "tie",
        "p3": "both_bad",
    }
    assert {name: row["judgement"] for name, row in rows.items()} == {name: ids[name] for name in rows}
    assert {row["level"] for row in rows.values()} == {0}
    assert (rows["p1"]["chosen"], rows["p1"]["rejected"]) == ("Brief 1, 1", "Brief 1, 0")
    assert rows["p3"]["label"] == 0.5
