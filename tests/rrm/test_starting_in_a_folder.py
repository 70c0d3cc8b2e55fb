"""A run begins in a folder: what the folder held stays, and a beginning that was killed is done over."""

import errno
import os
import signal
import sys
from pathlib import Path

import pytest

from rrm import starting_own
from rrm.errors import ConfigurationError
from rrm.run_folder import open_run_folder
from rrm.starting import start_run
from rrm.starting_own import OwnMaterial
from rrm.store import comparisons, live_judgements
from rrm.tasks.task import Split
from tests.nursery import FORK
from tests.rrm.own_runs import MODEL, preference_lines, start, stories_file


def test_a_folder_that_was_there_keeps_what_it_had(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    (tmp_path / "one.txt").write_text("only this", encoding="utf-8")
    with pytest.raises(ConfigurationError):
        start(tmp_path / "run", OwnMaterial(model=str(MODEL), prompts=str(tmp_path / "one.txt")))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_a_run_whose_making_was_killed_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while judgements came in, and begun again: nothing is taken for finished, and nothing is there twice."""
    material = OwnMaterial(model=str(MODEL), preferences=str(_rows_file(tmp_path)))

    class Killed(BaseException):
        pass

    def kill(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(starting_own, "import_rows", kill)
        patched.setattr(starting_own.shutil, "rmtree", lambda *_, **__: None)  # a killed process clears nothing away
        with pytest.raises(Killed):
            start(tmp_path / "run", material)
    assert not (tmp_path / "run").exists()
    started = start(tmp_path / "run", material, "text.template=Question: {text}")
    assert started.imported is not None and started.imported.judgements == 30
    assert not list(tmp_path.glob(".run*"))
    with open_run_folder(tmp_path / "run") as opened:
        prompts = {one.prompt for one in comparisons(opened.run)}
        task = opened.task
        assert {task.prompt(task.document(split=Split.TRAIN, level=0, index=0))} <= prompts
    assert all(prompt.startswith("Question: Ask") for prompt in prompts)


@pytest.mark.parametrize("name", ["texts.jsonl", "run.db", "guidelines.md"])
def test_what_a_run_would_replace_is_named_and_stays(tmp_path: Path, name: str) -> None:
    rules, folder = tmp_path / "rules.md", tmp_path / "run"
    rules.write_text("Prefer what is short.", encoding="utf-8")
    folder.mkdir()
    (folder / name).write_bytes(b"mine")
    source = stories_file(tmp_path / "stories.jsonl", sentences=24)
    material = OwnMaterial(model=str(MODEL), documents=str(source), guidelines=rules)
    with pytest.raises(ConfigurationError, match=f"{folder / name} exists already.*move it elsewhere"):
        start(folder, material, "run.levels=1")
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [(name, b"mine")]
    assert not list(tmp_path.glob(".run*"))


def test_judgements_whose_settings_are_gone_are_not_begun_over(tmp_path: Path) -> None:
    material = OwnMaterial(model=str(MODEL), preferences=str(_rows_file(tmp_path)))
    start(tmp_path / "run", material)
    settings = (tmp_path / "run" / "run.toml").rename(tmp_path / "kept.toml")
    before = (tmp_path / "run" / "run.db").read_bytes()
    with pytest.raises(ConfigurationError, match=r"exists already"):
        start(tmp_path / "run", material)
    assert (tmp_path / "run" / "run.db").read_bytes() == before
    settings.rename(tmp_path / "run" / "run.toml")
    with open_run_folder(tmp_path / "run") as opened:
        assert len(live_judgements(opened.run)) == 30


def test_a_run_begins_among_files_of_ones_own_in_the_folder_that_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    (folder / "models" / "mine").mkdir(parents=True)
    (folder / "models" / "mine" / "config.json").write_text("{}")
    source = _rows_file(folder)
    monkeypatch.chdir(folder)
    start(Path(), OwnMaterial(model=str(MODEL), preferences=source.name))
    assert (folder / "models" / "mine" / "config.json").read_text() == "{}"
    assert {path.name for path in folder.iterdir()} == {"models", "rows.jsonl", "run.db", "run.toml", "texts.jsonl"}
    with open_run_folder(Path()) as opened:
        assert len(live_judgements(opened.run)) == 30


def test_a_run_begins_where_files_cannot_be_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(starting_own.os, "link", refuse)
    start(tmp_path / "run", OwnMaterial(model=str(MODEL), preferences=str(_rows_file(tmp_path))))
    with open_run_folder(tmp_path / "run") as opened:
        assert len(live_judgements(opened.run)) == 30


def test_a_move_that_was_killed_anywhere_is_done_over_and_leaves_what_was_there(tmp_path: Path) -> None:
    """Killed before each thing that is done to a file once the run is made: of the folder, or of what is beside it."""
    rules = tmp_path / "rules.md"
    rules.write_text("Prefer what is short.", encoding="utf-8")
    material = OwnMaterial(model=str(MODEL), preferences=str(_rows_file(tmp_path)), guidelines=rules)
    found: list[tuple[bool, set[str]]] = []
    for kill_at in range(1, 30):
        folder = tmp_path / f"run{kill_at}"
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
        process = FORK.Process(target=_start_and_die, args=(folder, material, kill_at))
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        left = {path.name for path in folder.iterdir()}
        found.append(("run.toml" in left, left))
        if "run.toml" not in left:
            start(folder, material, "text.template=Question: {text}")
            assert not list(tmp_path.glob(f".{folder.name}.partial"))
        with open_run_folder(folder) as opened:
            assert len(live_judgements(opened.run)) == 30
            assert opened.task.guidelines(0) == "Prefer what is short."
            assert opened.config.text.template == ("" if found[-1][0] else "Question: {text}")
        assert (folder / "notes.txt").read_text() == "mine"
    assert process.exitcode == 0
    # Killed with nothing there, with a part of it, and with all of it.
    assert found[0] == (False, {"notes.txt"})
    assert (False, {"notes.txt", "guidelines.md", "models", "run.db"}) in found
    assert found[-1][0]


def _start_and_die(folder: Path, material: OwnMaterial, kill_at: int) -> None:
    """Begin a run, and be killed before the so many-th change of a file since the first that gets its name there."""
    place, seen = str(folder.with_name(f".{folder.name}.partial")), 0

    def kill(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event not in ("os.link", "os.rename", "os.remove", "os.rmdir"):
            return
        moves = event in ("os.link", "os.rename") and Path(str(arguments[1])).parent == folder
        seen += moves or (seen > 0 and str(arguments[0]).startswith(place))
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(kill)
    start(folder, material)


def test_guidelines_never_replace_those_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    rules = tmp_path / "run" / "guidelines.md"
    rules.write_text("mine")
    with pytest.raises(ConfigurationError, match=r"guidelines.md exists already"):
        start_run(tmp_path / "run", guidelines=rules)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["guidelines.md"]


def _rows_file(folder: Path) -> Path:
    rows: list[dict[str, object]] = [{"prompt": f"Ask {n}?", "chosen": "a", "rejected": "b"} for n in range(30)]
    return preference_lines(rows, folder / "rows.jsonl")
