"""Guidelines: the task's own, then the leads' versions, all of them kept."""

from pathlib import Path

import pytest

from reward_models.errors import InvalidInput
from rrm.errors import NotAllowed
from rrm.judging.guidelines import LONGEST, edit_guidelines, guidelines_now, guidelines_versions
from rrm.people.accounts import LOCAL, Person, Role
from rrm.store import Run, get_text, verify
from rrm.store.canonical import sha256_text
from rrm.tasks.shiftlog.task import Shiftlog
from tests.rrm.store_samples import NOON, small_run

TASK = Shiftlog(seed=0)


def edit(run: Run, text: str) -> str:
    return edit_guidelines(run, TASK, text=text, by=LOCAL, now=NOON).text


def test_the_tasks_own_guidelines_hold_first(tmp_path: Path) -> None:
    with small_run(tmp_path / "run") as run:
        found = guidelines_now(run, TASK)
        assert found.text == TASK.guidelines_of_all_levels() and found.sha256 == sha256_text(found.text)
        assert [version.by for version in guidelines_versions(run, TASK)] == [None]
    for events in ("2 events", "4 events", "6 events"):
        assert events in found.text, "what is asked is not known before, so every height is explained"


def test_every_version_is_kept_with_its_author(tmp_path: Path) -> None:
    with small_run(tmp_path / "run") as run:
        own = guidelines_now(run, TASK)
        assert edit(run, "  Prefer the shorter one.  \n\n") == "Prefer the shorter one."
        assert edit(run, "Prefer the truer one.") == "Prefer the truer one."
        edit(run, "Prefer the truer one.")
        versions = guidelines_versions(run, TASK)
        texts = [get_text(run, version.guidelines.sha256) for version in versions]
        assert texts == [own.text, "Prefer the shorter one.", "Prefer the truer one."]
        assert [version.by for version in versions] == [None, "You", "You"]
        assert guidelines_now(run, TASK) == versions[-1].guidelines
        assert edit(run, own.text) == own.text, "an old text may hold again"
        assert len(guidelines_versions(run, TASK)) == 4 and not verify(run.folder)


def test_only_leads_write_guidelines_and_not_any(tmp_path: Path) -> None:
    with small_run(tmp_path / "run") as run:
        with pytest.raises(NotAllowed):
            edit_guidelines(run, TASK, text="Anything", by=Person("erik", "Erik", Role.RATER), now=NOON)
        for text in ("", "  \n ", "a" * (LONGEST + 1)):
            with pytest.raises(InvalidInput, match="guidelines of"):
                edit(run, text)
        assert len(guidelines_versions(run, TASK)) == 1


@pytest.mark.parametrize("item", TASK.practice(), ids=lambda item: item.document.id)
def test_the_answers_of_practice_are_what_gold_says(item) -> None:  # type: ignore[no-untyped-def]
    first, second = (TASK.gold(item.document, brief).utility for brief in (item.first, item.second))
    assert ("first" if first > second else "second") == item.answer and abs(first - second) > 0.02
    assert TASK.entries(item.document), "the log is one that the task can read"
