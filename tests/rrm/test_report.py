"""The report: the names that programs read, texts shown as texts, and an end that a kill does not change."""

import json
import shutil
from pathlib import Path

import pytest

from rrm.errors import RunError
from rrm.opening import open_workbench
from rrm.progress import AbstractProgress
from rrm.report import shown, write_report
from rrm.starting import start_run
from rrm.store import begin_step, finish_step, step_key, utc_now
from rrm.store.run import Run
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.task import Split
from tests.rrm.small_runs import SMALL

MARKUP = "<img src=x onerror=alert(1)>"


class Killed(BaseException):
    """The process is gone."""


class Impatient(AbstractProgress):
    """Kills the work once it has advanced so many times."""

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def start(self, task: str, total: int | None = None) -> None:
        pass

    def advance(self, count: int = 1) -> None:
        self.patience -= 1
        if self.patience < 0:
            raise Killed

    def note(self, text: str) -> None:
        pass

    def finish(self, summary: str = "") -> None:
        pass


def report(folder: Path, progress: AbstractProgress | None = None) -> dict[str, object]:
    """Write the report of a run, and read what was written, less the time it took."""
    with open_workbench(folder, progress=progress) as bench:
        written = write_report(bench)
    found: dict[str, object] = json.loads(written.json_path.read_text("utf-8"))
    assert found == json.loads(json.dumps(written.to_json()))
    assert isinstance(found.pop("seconds"), float)
    return found


def test_the_names_that_programs_read(copied: Path) -> None:
    with open_workbench(copied) as bench:
        written = write_report(bench)
    assert (written.json_path, written.html_path) == (
        copied / "report" / "report.json",
        copied / "report" / "report.html",
    )
    assert {path.name for path in written.folder.iterdir()} == {"report.json", "report.html"}
    found = json.loads(written.json_path.read_text("utf-8"))
    assert set(found) == {"seconds", "seed", "levels", "promotions"}
    assert found["seconds"] > 0
    for place, (level, promotion) in enumerate(zip(found["levels"], found["promotions"], strict=True)):
        assert level["level"] == place
        assert set(level) == {"level", "rater", "policy", "reward_model", "kl"}
        assert level["kl"] == level["policy"]["agent"]["kl"]
        assert set(level["rater"]) == {"alone", "assistant", "assisted"}
        assert all(one is None or set(one) == {"accuracy", "n"} for one in level["rater"].values())
        assert set(level["policy"]) == {"base", "agent"}
        assert all(set(one) == {"gold", "invented", "kl"} for one in level["policy"].values())
        assert set(level["reward_model"]) == {"accuracy", "ece", "spread_error_spearman", "gold_accuracy"}
        assert set(promotion) == {"new", "old", "judgements", "win_rate", "low", "high", "beats", "reward_model"}
        assert (promotion["new"], promotion["old"]) == (f"agent-{place}-0", "base")
    rows = written.table()
    assert len(rows) == 2
    assert rows[1]["gold agent"] == found["levels"][1]["policy"]["agent"]["gold"]
    assert rows[0]["rater assisted"] is None


def test_texts_are_shown_as_texts(copied: Path) -> None:
    """What a policy wrote, and a folder's name, may hold anything; on the page nothing of it is markup."""
    with Run.open(copied) as run:
        task, texts = Shiftlog(seed=run.seed), []
        for index in range(12):
            facts = task.entries(task.document(split=Split.TEST, level=0, index=index))
            true, false = f"#{facts[0].claim.key} {facts[0].claim.statement}", "#99 fire"
            texts.append([f"{true}\n{MARKUP}", f"{false}\n</pre>{MARKUP}&amp;", true, false])
        begin_step(run, level=0, round=0, name="test-base", now=utc_now())
        finish_step(run, step_key(level=0, round=0, name="test-base"), {"texts": texts}, now=utc_now())
    folder = copied.rename(copied.with_name("a <b>run & more"))
    report(folder)
    page = (folder / "report" / "report.html").read_text("utf-8")
    assert "<img" not in page
    assert "&lt;/pre&gt;&lt;img src=x onerror=alert(1)&gt;&amp;amp;" in page
    assert "<title>a &lt;b&gt;run &amp; more: report</title>" in page
    # Nothing is loaded from anywhere and nothing is run.
    assert "<script" not in page
    assert "src=" not in page.replace("src=x onerror", "")
    assert page.count("<svg") == page.count("</svg>") == 2


def test_a_report_killed_on_its_way_ends_the_same(copied: Path, finished: Path, tmp_path: Path) -> None:
    uninterrupted, kills = report(Path(shutil.copytree(finished, tmp_path / "uninterrupted"))), 0
    for patience in (0, 1, 3, 4, 6):
        try:
            report(copied, Impatient(patience))
        except Killed:
            kills += 1
    assert kills >= 3
    assert report(copied) == uninterrupted
    page = (copied / "report" / "report.html").read_bytes()
    assert report(copied) == uninterrupted
    assert (copied / "report" / "report.html").read_bytes() == page
    assert not list(copied.glob("report/*.partial"))


def test_without_a_finished_level_there_is_nothing_to_report(tmp_path: Path) -> None:
    start_run(tmp_path / "run", SMALL)
    with open_workbench(tmp_path / "run") as bench, pytest.raises(RunError, match="`rrm round`"):
        write_report(bench)
    assert not (tmp_path / "run" / "report").exists()


def test_cells() -> None:
    assert [shown(value) for value in (None, True, False, 3, 0.126, "text")] == ["–", "yes", "no", "3", "0.13", "text"]
