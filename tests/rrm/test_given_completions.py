"""Completions that people wrote beside those of agents: found by what they are about, and compared with the rest."""

from pathlib import Path

import pytest

from reward_models.errors import ArtifactError
from rrm.errors import RunError
from rrm.given_completions import give_completions
from rrm.opening import open_workbench
from rrm.rounds import play_round
from rrm.run_folder import open_run_folder
from rrm.starting_own import OwnMaterial
from rrm.store import Run, comparisons, completions
from rrm.tasks.document import Document
from rrm.tasks.own_text import OwnText
from rrm.tasks.task import Split
from tests.rrm.own_runs import MODEL, preference_lines, start, stories_file
from tests.rrm.store_samples import NOON


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    material = OwnMaterial(model=str(MODEL), documents=str(stories_file(folder / "stories.jsonl", sentences=12)))
    start(folder / "run", material, "run.levels=1", "judging.rater=people", "judging.taste=[]")
    return folder / "run"


def test_they_are_found_by_id_title_or_text_and_the_rest_is_counted(begun: Path, tmp_path: Path) -> None:
    with open_run_folder(begun) as opened:
        one = opened.task.document(split=Split.TRAIN, level=0, index=0)
        rows: list[dict[str, object]] = [
            {"id": one.id, "completion": "By id.", "by": "Ann"},
            {"title": one.title, "completion": "By title."},
            {"document": one.text, "completion": "By text.", "by": "Ann"},
            {"document": one.text, "completion": "By text.", "by": "Ann"},
            {"document": "another text", "completion": "About nothing here."},
            {"document": one.text, "completion": "  "},
            {"completion": "About nothing."},
            {"id": one.id, "completion": "Half a \ud800 character."},
            {"id": one.id, "completion": "By half a name.", "by": "\udc00"},
        ]
        report = give_completions(opened.run, opened.task, preference_lines(rows, tmp_path / "given.jsonl"))
        stored = [(each.agent_id, each.text) for each in completions(opened.run, level=0, round=0)]
    assert (report.given, report.stored, sum(len(which) for _, which in report.rejected)) == (9, 4, 5)
    assert report.levels == ((0, 4),)
    assert sorted(stored) == [("given", "By title."), ("given-Ann", "By id."), ("given-Ann", "By text.")]
    assert "1 (given.jsonl, line 5) left out: what it is about is no document of this run" in report.text()
    assert "2 (given.jsonl, line 8, given.jsonl, line 9) left out: it holds half a surrogate" in report.text()
    assert "1 (given.jsonl, line 7) left out: it has none of the columns" in report.text()


def test_a_title_of_two_documents_is_told_from_an_unknown_one(tmp_path: Path) -> None:
    twice = [Document(id=f"d{number}", title="Same", text=f"Text {number}.") for number in range(2)]
    given = preference_lines([{"title": "Same", "completion": "Which?"}], tmp_path / "given.jsonl")
    with Run.create(tmp_path / "run", seed=0, configuration={}, now=NOON) as run:
        report = give_completions(run, OwnText({Split.TRAIN: twice}, name="documents", levels=1), given)
    assert report.stored == 0
    assert (
        "line 1) left out: its title or words are those of 2 documents of this run; name one by its id" in report.text()
    )


def test_they_are_compared_with_what_agents_write_until_the_comparisons_are_chosen(begun: Path, tmp_path: Path) -> None:
    with open_workbench(begun) as bench:
        documents = bench.documents(split=Split.TRAIN, level=0, count=6)
        rows: list[dict[str, object]] = [{"id": each.id, "completion": f"Written of {each.id}."} for each in documents]
        given = preference_lines(rows, tmp_path / "given.jsonl")
        give_completions(bench.run, bench.task, given)
        play_round(bench, level=0, round=0, until="select")
        writers = {each.id: each.agent_id for each in completions(bench.run, level=0)}
        pairs = [
            {writers[each.first_completion_id], writers[each.second_completion_id]}
            for each in comparisons(bench.run, level=0)
        ]
        assert {"given", "base"} in pairs
        with pytest.raises(RunError, match="chosen already"):
            give_completions(bench.run, bench.task, given)


def test_a_file_without_completions_says_what_it_has(begun: Path, finished: Path, tmp_path: Path) -> None:
    path = preference_lines([{"answer": "x"}], tmp_path / "given.jsonl")
    with open_run_folder(begun) as opened, pytest.raises(ArtifactError, match="columns answer; expected completion"):
        give_completions(opened.run, opened.task, path)
    with open_run_folder(finished) as opened, pytest.raises(RunError, match="this run is on the task shiftlog"):
        give_completions(opened.run, opened.task, path)
