"""Your own text as a task: the contract of every task, its sizes, prompts and guidelines."""

import pytest
from pydantic import ValidationError

from reward_models.errors import InvalidInput
from rrm.config import Configuration
from rrm.errors import ConfigurationError
from rrm.tasks.document import Document
from rrm.tasks.own_text import DOCUMENT_TEMPLATE, OwnText
from rrm.tasks.task import AbstractTask, Split, known, places
from tests.rrm.contracts import TaskContract
from tests.rrm.own_runs import own_configuration, own_documents


class TestOwnDocumentsAreATask(TaskContract):
    def task(self) -> AbstractTask:
        return own_documents()


class TestOwnPromptsAreATask(TaskContract):
    def task(self) -> AbstractTask:
        prompts = [Document(id=f"prompt-{n}", title=f"Say {n}", text=f"Say {n} in other words.") for n in range(30)]
        trees = {Split.TRAIN: prompts[:20], Split.VALIDATION: prompts[20:25], Split.TEST: prompts[25:]}
        return OwnText(trees, name="prompts", levels=1, template="{text}\n")


def test_a_tree_gives_a_document_to_every_level_and_each_knows_its_place() -> None:
    task = own_documents()
    root = task.document(split=Split.TRAIN, level=2, index=0)
    middle = [part.id for part in root.parts]
    leaves = [leaf.id for leaf in root.leaves()]
    assert [task.document(split=Split.TRAIN, level=1, index=place).id for place in range(len(middle))] == middle
    assert [task.document(split=Split.TRAIN, level=0, index=place).id for place in range(len(leaves))] == leaves
    assert task.place(middle[1]) == (Split.TRAIN, 1, 1)
    assert task.place("nothing") is None


def test_a_document_is_found_by_id_by_its_text_and_by_a_title_that_only_it_has() -> None:
    task = own_documents()
    root = task.document(split=Split.TEST, level=2, index=0)
    assert task.named(root.id) == task.named(root.title) == task.named(f"\n{root.text} ") == (root,)
    assert task.named("no such thing") == ()
    twice = [Document(id=name, title="Same", text=name) for name in "ab"]
    assert OwnText({Split.TRAIN: twice}, name="prompts", levels=1).named("Same") == tuple(twice)


def test_the_template_stands_around_the_text_or_around_what_was_written_of_its_parts() -> None:
    task = own_documents(template="Read: {text} -- now sum up.")
    one = task.document(split=Split.TRAIN, level=1, index=0)
    assert task.prompt(one) == f"Read: {one.text} -- now sum up."
    assert task.prompt_of_parts(one, [" first \n", "second"]) == "Read: first\n\nsecond -- now sum up."
    usual = own_documents()
    assert usual.prompt(one) == DOCUMENT_TEMPLATE.replace("{text}", one.text)


def test_text_that_looks_like_a_template_is_text() -> None:
    braces = Document(id="x", title="x", text="a {text} and {0}")
    assert own_documents(template="<{text}>").prompt(braces) == "<a {text} and {0}>"


def test_places_begin_anew_at_the_end_and_nothing_is_asked_of_what_is_not_there() -> None:
    task = own_documents()
    size = task.size(split=Split.VALIDATION, level=2)
    assert size == 1
    assert places(task, split=Split.VALIDATION, level=2, count=9, first=4) == (0,)
    assert places(OwnText({}, name="prompts", levels=1), split=Split.TEST, level=0, count=3, first=7) == ()
    with pytest.raises(InvalidInput, match="has 1 there, counted from 0"):
        task.document(split=Split.VALIDATION, level=2, index=1)


def test_what_needs_gold_says_so_of_your_own_text() -> None:
    with pytest.raises(ConfigurationError, match="A study needs a task whose truth is known"):
        known(own_documents(), needed_for="A study")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"text": {"source": ""}}, "text.source must say where it is"),
        ({"model": {"base": ""}}, "model.base must name one"),
        ({"judging": {"rater": "simulated"}}, "of your own text, people judge"),
        ({"judging": {"rater": "taste"}}, "judging.taste has the words"),
        ({"judging": {"taste": ["ship"]}}, "set both, or neither"),
        ({"text": {"template": "no place for it"}}, "exactly once"),
        ({"run": {"task": "prompts", "levels": 2}}, "run.levels must be 1"),
    ],
)
def test_settings_that_cannot_go_together_are_refused(sections: dict[str, dict[str, object]], said: str) -> None:
    assert own_configuration().run.task == "documents"
    with pytest.raises(ValidationError, match=said):
        own_configuration(**sections)


def test_the_embedded_task_needs_none_of_it() -> None:
    assert Configuration().text.source == Configuration().model.base == ""
