"""What a policy reads of a document that does not fit: what was written of its parts, once, by who stands below."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.rollout import trace
from agents.sources import GivenPair
from reward_models.errors import InvalidInput
from rrm.opening import open_workbench
from rrm.own_text import generate
from rrm.prompting import prompts_by_id, prompts_of, reads_parts, written_of_parts
from rrm.starting_own import OwnMaterial
from rrm.steps.assisting import aids_of, assist
from rrm.steps.selecting import comparison_of
from rrm.steps.sources import readable_pairs
from rrm.store import (
    Purpose,
    StoredCompletion,
    StoredDocument,
    aids_for,
    comparisons,
    completions,
    documents,
    put_comparisons,
)
from rrm.store.part_briefs import part_briefs, put_part_briefs
from rrm.store_documents import store_completions, stored_document
from rrm.tasks.task import Split
from rrm.workbench import Workbench
from tests.rrm.own_runs import MODEL, start, stories_file


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """A run on five stories of three levels: sections fit the model of 1,024 tokens, stories do not."""
    folder = tmp_path_factory.mktemp("own")
    source = stories_file(folder / "stories.jsonl", sentences=120)
    start(folder / "run", OwnMaterial(model=str(MODEL), documents=str(source)), "text.leaf_tokens=300")
    with open_workbench(folder / "run") as opened:
        yield opened


def test_a_document_that_fits_is_read_whole_and_its_parts_are_not_asked_for(bench: Workbench) -> None:
    leaf = bench.document(Split.TRAIN, 0, 0)
    assert prompts_of(bench, [leaf]) == [bench.task.prompt(leaf)]
    assert not reads_parts(bench, leaf)
    assert part_briefs(bench.run, leaf.id, "base") == ()


def test_a_document_that_does_not_fit_is_read_by_what_was_written_of_its_parts(bench: Workbench) -> None:
    story = bench.document(Split.TRAIN, 2, 0)
    assert reads_parts(bench, story)
    (prompt,) = prompts_of(bench, [story])
    written = part_briefs(bench.run, story.id, "base")
    assert len(written) == len(story.parts)
    assert prompt == bench.task.prompt_of_parts(story, written)
    assert len(bench.base.encode_prompt(prompt)) < 1024 < len(bench.base.encode_prompt(bench.task.prompt(story)))
    # Sections that do not fit were written of part by part in their turn.
    assert all(bool(part_briefs(bench.run, part.id, "base")) == reads_parts(bench, part) for part in story.parts)


def test_what_was_written_is_kept_and_depends_on_the_document_alone(bench: Workbench) -> None:
    first, second = (bench.document(Split.TRAIN, 2, place) for place in (1, 2))
    together = prompts_of(bench, [first, second])
    assert prompts_of(bench, [second]) == together[1:]
    counted = bench.run.database.conn.total_changes
    assert prompts_of(bench, [first]) == together[:1]
    assert bench.run.database.conn.total_changes == counted


def test_the_rater_is_shown_what_the_agent_read(bench: Workbench) -> None:
    story = bench.document(Split.VALIDATION, 2, 0)
    assert aids_of(bench, [story], assistant="base", names=("any",)) == [written_of_parts(bench, story)]


def test_a_document_that_was_brought_along_is_its_own_prompt(bench: Workbench) -> None:
    brought = StoredDocument("imported-1", "imported", 0, "train", 0, "Title", "What is this?")
    own = bench.document(Split.TRAIN, 0, 1)
    stored = StoredDocument(own.id, bench.task.name, 0, "train", 1, own.title, own.text)
    prompts = prompts_by_id(bench, [brought, stored, brought])
    assert list(prompts.items()) == [(brought.id, "What is this?"), (own.id, bench.task.prompt(own))]


def test_no_aid_is_planned_for_a_document_that_was_brought_along(bench: Workbench) -> None:
    """It has no parts to brief; a comparison that waits for an aid that never comes would stop the round for good."""
    own = stored_document(bench.task, bench.document(Split.TRAIN, 1, 0), split=Split.TRAIN, level=1, place=0)
    brought = StoredDocument("imported-1-x", "imported", 1, "train", 0, "Title", "What is this?")
    planned = []
    for document in (own, brought):
        first, second = (
            StoredCompletion(f"{document.id}/round-0/any/{n}", document.id, 1, 0, "any", str(n)) for n in (0, 1)
        )
        asked = comparison_of(
            bench, document, "?", first, second, level=1, round=0, purpose=Purpose.TRAIN, reason="random", position=0
        )
        planned.append(asked.aids_planned)
    assert planned == [True, False]


def test_judged_pairs_are_learned_from_directly_only_where_completions_are_whole(bench: Workbench) -> None:
    """A prompt is read from where it fits; imported ones can be longer than any model reads."""
    short = GivenPair("What?", "This.", "That.", 1.0)
    asked = short._replace(prompt="What? " * 2000)
    answered = short._replace(second="That. " * 2000)
    found = readable_pairs(bench, [short, asked, answered])
    assert [pair.first for pair in found] == ["This.", "This."]
    assert found[0] == short
    assert asked.prompt.endswith(found[1].prompt) and len(found[1].prompt) > 100
    trace(bench.base, [pair.prompt for pair in found], [(pair.first, pair.second) for pair in found])
    with pytest.raises(InvalidInput, match=r"None of the 1 judged pairs fits the 1024 tokens of the model whole"):
        readable_pairs(bench, [answered])


def test_a_document_that_comes_again_for_a_promotion_keeps_its_aids(bench: Workbench) -> None:
    """Of few documents the same are held out for the reward model and for the promotion of one round."""
    place = next(
        place
        for place in range(bench.task.size(split=Split.VALIDATION, level=1) or 0)
        if not reads_parts(bench, bench.document(Split.VALIDATION, 1, place))
    )
    own = bench.document(Split.VALIDATION, 1, place)
    for number, purpose in enumerate((Purpose.VALIDATION, Purpose.PROMOTION)):
        store_completions(
            bench.run,
            bench.task,
            [own],
            [["a", "b"]],
            split=Split.VALIDATION,
            level=1,
            round=0,
            agent=str(number),
            places=[place],
        )
        stored = stored_document(bench.task, own, split=Split.VALIDATION, level=1, place=place)
        one, other = completions(bench.run, level=1, round=0, agent_id=str(number))
        asked = comparison_of(
            bench, stored, "?", one, other, level=1, round=0, purpose=purpose, reason="random", position=number
        )
        put_comparisons(bench.run, [asked])
    found = [assist(bench, level=1, round=0, purposes=[purpose]) for purpose in (Purpose.VALIDATION, Purpose.PROMOTION)]
    again = assist(bench, level=1, round=0, purposes=[Purpose.VALIDATION])
    assert found == [{"assistant": "base", "aids": len(own.parts)}] * 2 == [again] * 2
    both = [[aid.text for aid in aids_for(bench.run, one.id)] for one in comparisons(bench.run, level=1)]
    assert both[0] == both[1]
    assert len(both[0]) == len(own.parts) > 1


def test_what_was_written_never_changes(bench: Workbench) -> None:
    put_part_briefs(bench.run, "some-document", "base", ["one", "two"])
    put_part_briefs(bench.run, "some-document", "base", ["one", "two"])
    assert part_briefs(bench.run, "some-document", "base") == ("one", "two")
    assert documents(bench.run, level=7) == []


def test_briefs_that_do_not_fit_either_are_refused_with_the_way_out(bench: Workbench) -> None:
    story = bench.document(Split.TEST, 2, 0)
    put_part_briefs(bench.run, story.id, "base", ["word " * 900] * len(story.parts))
    with pytest.raises(
        InvalidInput, match=r"does not fit the 1024 tokens of the model; lower sampling\.max_new_tokens"
    ):
        prompts_of(bench, [story])


def test_a_text_that_is_none_is_refused_in_a_sentence(bench: Workbench) -> None:
    with pytest.raises(InvalidInput, match="The text holds a zero at character 5"):
        generate(bench.run.folder, ["what\x00"], level=0, count=1, seed=0)


def test_the_texts_of_a_run_are_read_once(bench: Workbench, tmp_path: Path) -> None:
    """The source may go: what the run works on lies in its folder."""
    (bench.run.folder.parent / "stories.jsonl").rename(tmp_path / "gone.jsonl")
    with open_workbench(bench.run.folder, exclusive=False) as again:
        assert again.document(Split.TRAIN, 2, 0) == bench.document(Split.TRAIN, 2, 0)
