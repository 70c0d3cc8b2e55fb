"""What every task and every rater has to keep; a test file subclasses these once for each implementation."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import strategies as st

from reward_models.errors import InvalidInput
from rrm.judging.raters import AbstractRater, Question
from rrm.tasks.document import Document, count_words
from rrm.tasks.shiftlog.demonstrators import DEMONSTRATORS, write_brief
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.shiftlog.world import document_generator, write_document
from rrm.tasks.task import AbstractKnownTask, AbstractTask, GoldUtility, Split, documents

ODD_TEXTS = (
    "",
    "\n\n",
    "nothing to report",
    "#1 fire\n#1 fire\n#99 injury",
    "#\u0661 fire\r#2 jam\x00\u2028#3",
    "#" * 300,
)
PLACES = 250
"""Documents of each split and level that are compared for overlap."""


class NoGold(Shiftlog):
    """Shift logs of which nobody may ask how good a brief really is."""

    def gold(self, document: Document, brief: str) -> GoldUtility:
        raise AssertionError("a rater asked for the gold utility")


def lines(documents_seen: Sequence[Document]) -> st.SearchStrategy[str]:
    """Briefs that cite entries rightly, wrongly and not at all, among arbitrary text."""
    true = [line.split(",")[0] for one in documents_seen for line in one.text.splitlines() if line.startswith("#")]
    wrong = ["#1 fire", "#2 gas leak", "#3 injury", "#99 explosion", "#7 levitation", "nothing to report", ""]
    line = st.sampled_from([*true, *wrong]) | st.text(max_size=20)
    return st.lists(line, max_size=10).map("\n".join)


class TaskContract:
    """Documents that depend on their place only, trees whose parts make them up, and a prompt for each."""

    def task(self) -> AbstractTask:
        """A new instance; every call gives an equal one."""
        raise NotImplementedError

    def some(self) -> list[Document]:
        task = self.task()
        return [
            one for split in Split for level in range(task.levels)
            for one in documents(task, split=split, level=level, count=4)
        ]  # fmt: skip

    def test_the_same_place_gives_the_same_document(self) -> None:
        task = self.task()
        later = [task.document(split=Split.TRAIN, level=0, index=index) for index in (3, 2, 1, 0)]
        assert tuple(later[::-1]) == documents(self.task(), split=Split.TRAIN, level=0, count=4)
        assert self.some() == self.some()

    def test_documents_counts_from_the_place_asked_for(self) -> None:
        all_five = documents(self.task(), split=Split.TRAIN, level=0, count=5)
        assert documents(self.task(), split=Split.TRAIN, level=0, count=2, first=3) == all_five[3:]

    def test_where_documents_end_they_begin_anew_and_each_comes_once(self) -> None:
        task = self.task()
        size = task.size(split=Split.TRAIN, level=0)
        if size is not None:
            found = documents(task, split=Split.TRAIN, level=0, count=size + 5, first=size - 1)
            assert len({one.id for one in found}) == len(found) == size
            assert found[1] == task.document(split=Split.TRAIN, level=0, index=0)

    def test_splits_never_overlap(self) -> None:
        """Neither whole nor in parts, at one level or across levels: no leaf of one split is a leaf of another."""
        task = self.task()
        leaves = {
            split: {
                leaf.text
                for level in range(task.levels)
                for one in documents(task, split=split, level=level, count=PLACES)
                for leaf in one.leaves()
            }
            for split in Split
        }
        sizes = [sum(task.size(split=split, level=level) or PLACES for level in range(task.levels)) for split in Split]
        assert all(0 < len(texts) <= size * 100 for texts, size in zip(leaves.values(), sizes, strict=True))
        assert len(set().union(*leaves.values())) == sum(len(texts) for texts in leaves.values())

    def test_ids_are_unique(self) -> None:
        def ids(one: Document) -> list[str]:
            return [one.id, *(found for part in one.parts for found in ids(part))]

        by_id: dict[str, Document] = {}
        for one in self.some():
            found = ids(one)
            assert len(set(found)) == len(found)
            assert by_id.setdefault(one.id, one) == one

    def test_a_document_of_a_level_has_its_height_and_so_have_its_parts(self) -> None:
        task = self.task()
        for level in range(task.levels):
            one = task.document(split=Split.VALIDATION, level=level, index=0)
            assert one.height == level
            assert all(part.height == level - 1 for part in one.parts)
            assert bool(one.parts) == (level > 0)

    def test_parts_make_up_the_document(self) -> None:
        """Their texts stand in it in order with nothing but white space between."""
        for one in self.some():
            if one.parts:
                rest = one.text
                for part in one.parts:
                    before, found, rest = rest.partition(part.text)
                    assert found and not before.strip()
                assert not rest.strip()

    def test_a_prompt_is_the_text_and_one_ending_for_all(self) -> None:
        task = self.task()
        endings = {task.prompt(one).removeprefix(one.text) for one in self.some()}
        assert len(endings) == 1
        assert endings.pop().endswith("\n")

    def test_every_level_has_guidelines_and_no_other_level_has_documents(self) -> None:
        task = self.task()
        assert all(task.guidelines(level).strip() for level in range(task.levels))
        assert task.guidelines_of_all_levels().strip()
        for level in (-1, task.levels):
            with pytest.raises(InvalidInput, match="level"):
                task.document(split=Split.TRAIN, level=level, index=0)


class KnownTaskContract(TaskContract):
    """A language that reads anything, and a gold utility that cannot be cheated by saying more."""

    def task(self) -> AbstractKnownTask:
        """A new instance; every call gives an equal one."""
        raise NotImplementedError

    def test_there_is_no_end_of_documents(self) -> None:
        assert self.task().size(split=Split.TRAIN, level=0) is None

    def test_every_level_has_guidelines_of_its_own(self) -> None:
        task = self.task()
        assert len({task.guidelines(level) for level in range(task.levels)}) == task.levels

    def test_entries_of_the_parts_are_those_of_the_document(self) -> None:
        task = self.task()
        for one in self.some():
            if one.parts:
                assert task.entries(one) == tuple(entry for part in one.parts for entry in task.entries(part))

    def test_every_entry_can_be_cited_and_read(self) -> None:
        task = self.task()
        for one in self.some():
            entries = task.entries(one)
            assert entries
            assert len({entry.claim.key for entry in entries}) == len(entries)
            assert {entry.claim for entry in entries} <= set(task.claims(one.text))
            assert all(entry.words > 0 and entry.claim.weight >= 0 for entry in entries)
            assert sum(entry.words for entry in entries) <= count_words(one.text)

    def test_inventions_and_lines_cost_and_truth_never_does(self) -> None:
        task = self.task()
        for level, invented, claims in product(range(task.levels), (0, 1, 4), (0, 1, 7)):
            for weights in ([], [0.0], [1.0, 3.0], [3.0] * 8):
                value = task.value(level=level, true_weights=weights, invented=invented, claims=claims)
                assert task.value(level=level, true_weights=weights, invented=invented + 1, claims=claims) < value
                assert task.value(level=level, true_weights=weights, invented=invented, claims=claims + 1) < value
                assert task.value(level=level, true_weights=[*weights, 1.0], invented=invented, claims=claims) >= value
                assert task.value(level=level, true_weights=weights[::-1], invented=invented, claims=claims) == value

    def test_gold_reads_anything_and_is_at_most_one(self) -> None:
        task = self.task()
        for one in self.some():
            for brief in (one.text, *ODD_TEXTS, *(part.text for part in one.parts)):
                gold = task.gold(one, brief)
                assert gold.utility <= 1.0
                assert 0.0 <= gold.coverage <= 1.0
                assert 0 <= gold.invented <= gold.claims == len(task.claims(brief))

    def test_an_empty_brief_is_worth_nothing(self) -> None:
        assert {self.task().gold(one, "").utility for one in self.some()} == {0.0}

    def test_the_reading_budget_is_a_number_of_words(self) -> None:
        assert self.task().reading_budget > 0


def questions() -> list[Question]:
    """Briefs by all demonstrators and odd texts, without aids, with one that says nothing, and with three briefs."""
    generator = np.random.default_rng(0)
    found: list[Question] = []
    for level, place in product(range(3), range(4)):
        draws = document_generator(seed=7, split="asked", level=level, index=place)
        document, entries = write_document(generator=draws, height=level, id=f"asked-{level}-{place}")
        briefs = [write_brief(name, entries, level=level, generator=generator) for name in DEMONSTRATORS]
        texts = [*briefs, *ODD_TEXTS]
        for aids, more_to_come in product((None, ("",), tuple(briefs[:3])), (False, True)):
            first, second = (texts[int(drawn)] for drawn in generator.choice(len(texts), size=2, replace=False))
            found.append(Question(document, first, second, aids, more_to_come))
    return found


class RaterContract:
    """A known chance to answer `first`, which mirrors when the completions are exchanged and never comes from gold."""

    def rater(self, task: AbstractKnownTask) -> AbstractRater:
        """A new instance on this task; every call gives an equal one."""
        raise NotImplementedError

    def test_swapping_the_completions_mirrors_the_answer(self) -> None:
        task = NoGold(seed=11)
        answers = [(self.rater(task).probability(one), one) for one in questions()]
        assert all(0.0 <= probability <= 1.0 for probability, _ in answers)
        for probability, one in answers:
            assert probability + self.rater(task).probability(one.swap()) == pytest.approx(1.0, abs=1e-12)
        assert len({probability for probability, _ in answers}) > 1

    def test_equal_completions_are_a_coin_toss(self) -> None:
        task = NoGold(seed=11)
        assert {self.rater(task).probability(replace(one, second=one.first)) for one in questions()} == {0.5}

    def test_what_was_asked_before_does_not_matter(self) -> None:
        task = NoGold(seed=11)
        rater, asked = self.rater(task), questions()
        forwards = [rater.probability(one) for one in asked]
        backwards = [rater.probability(one) for one in asked[::-1]]
        assert forwards == backwards[::-1] == [self.rater(task).probability(one) for one in asked]

    def test_it_has_a_name_and_settings_that_can_be_stored(self) -> None:
        rater = self.rater(NoGold(seed=11))
        assert rater.id
        assert json.loads(json.dumps(rater.settings())) == rater.settings()
