"""Judgements from elsewhere in a run: what is kept, how raters stay apart, and that nothing comes twice or is lost."""

import gzip
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz_readers import fuzz
from reward_models.errors import ArtifactError
from rrm.errors import RunError
from rrm.import_report import ImportReport
from rrm.imported_places import HELD_OUT, split_of_group
from rrm.imported_rows import RowRejected, as_completion, as_prompt, imported_row, person_of
from rrm.importing import import_preferences, learning_round
from rrm.judging.final import final_answers
from rrm.progress import SilentProgress
from rrm.run_folder import open_run_folder
from rrm.starting import start_run
from rrm.store import (
    Choice,
    Purpose,
    Run,
    begin_step,
    comparisons,
    completion,
    documents,
    finish_step,
    live_judgements,
    raters,
    verify,
)
from rrm.store.waiting import missing_answers
from rrm.tasks.document import Document
from rrm.tasks.own_text import OwnText
from rrm.tasks.task import Split
from rrm.texts.prompts import prompt_document
from tests.rrm.own_runs import preference_lines
from tests.rrm.store_samples import NOON

NO_TASK = OwnText({}, name="prompts", levels=1)
ROW: Mapping[str, object] = {
    "prompt": "Why?", "first": "Because.", "second": "No.", "label": 1.0, "weight": 1.0, "rater": "ann", "group": None,
}  # fmt: skip


def new_run(folder: Path) -> Run:
    return Run.create(folder, seed=0, configuration={}, now=NOON)


def bring(run: Run, path: Path, *, task: OwnText = NO_TASK, level: int = 0) -> ImportReport:
    return import_preferences(run, task, path, now=NOON, progress=SilentProgress(), level=level)


def all_final(run: Run) -> list[tuple[str, str, str]]:
    """(rater, comparison, choice) of every answer that counts."""
    return sorted(
        (one.rater_id, one.comparison_id, one.choice.value)
        for purpose in (Purpose.TRAIN, Purpose.VALIDATION)
        for one in final_answers(run, level=0, round=0, purpose=purpose)
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return new_run(tmp_path / "run")


def test_several_raters_of_one_pair_stay_apart_and_sides_are_no_answer(run: Run, tmp_path: Path) -> None:
    """Ann and Ben prefer the long answer, given as chosen by one and as second by the other; Cal finds them alike."""
    rows = [
        {"prompt": "Why?", "chosen": "Because of that.", "rejected": "No.", "rater": "ann"},
        {"prompt": "Why?", "first": "No.", "second": "Because of that.", "label": 0, "rater": "ben"},
        {"prompt": "Why?", "first": "No.", "second": "Because of that.", "label": 0.5, "rater": "cal"},
    ]
    report = bring(run, preference_lines(rows, tmp_path / "rows.jsonl"))
    (asked,) = comparisons(run)
    texts = {asked.first_completion_id: Choice.FIRST, asked.second_completion_id: Choice.SECOND}
    better = next(choice for name, choice in texts.items() if _text(run, name) == "Because of that.")
    assert {one.rater_id: one.choice for one in live_judgements(run)} == {
        "imported-ann": better, "imported-ben": better, "imported-cal": Choice.TIE,
    }  # fmt: skip
    assert (report.judgements, report.comparisons, report.prompts, report.raters) == (3, 1, 1, 3)
    assert missing_answers(run, level=0, round=0, purposes=list(Purpose)) == 0
    assert verify(run.folder) == []


def test_whatever_is_imported_again_is_there_once(run: Run, tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}?", "chosen": f"yes {n}", "rejected": "no", "rater": f"r{n % 3}"} for n in range(30)]
    path = preference_lines(rows, tmp_path / "rows.jsonl")
    first = bring(run, path)
    before = all_final(run)
    again = bring(run, path)
    assert (first.judgements, first.known, again.judgements, again.known) == (30, 0, 0, 30)
    assert all_final(run) == before
    assert first.train + first.validation == 30


def test_an_import_that_stopped_half_way_goes_on_to_the_same_end(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}?", "chosen": f"yes {n}", "rejected": "no", "rater": "ann"} for n in range(40)]
    whole, parted = new_run(tmp_path / "whole"), new_run(tmp_path / "parted")
    bring(whole, preference_lines(rows, tmp_path / "rows.jsonl"))
    bring(parted, preference_lines(rows[:17], tmp_path / "half.jsonl"))
    assert bring(parted, tmp_path / "rows.jsonl").known == 17
    assert all_final(parted) == all_final(whole)


def test_votes_without_names_are_different_people_and_a_second_vote_of_one_is_a_repeat(
    run: Run, tmp_path: Path
) -> None:
    pair = {"prompt": "Why?", "chosen": "a", "rejected": "b"}
    report = bring(
        run, preference_lines([pair, pair, pair | {"rater": "ann"}, pair | {"rater": "ann"}], tmp_path / "r.jsonl")
    )
    assert {one.id for one in raters(run)} == {"imported-unnamed 1", "imported-unnamed 2", "imported-ann"}
    assert report.judgements == 4
    assert len(all_final(run)) == 3, "a repeat measures its rater, and is never learned from"


def test_a_row_that_stands_for_several_votes_is_several(run: Run, tmp_path: Path) -> None:
    rows = [{"prompt": "Why?", "chosen": "a", "rejected": "b", "weight": 3}]
    assert bring(run, preference_lines(rows, tmp_path / "r.jsonl")).judgements == 3
    report = bring(run, tmp_path / "r.jsonl")
    assert (report.judgements, report.known) == (0, 3)


def test_one_rater_by_name_is_not_several(run: Run, tmp_path: Path) -> None:
    pair = {"prompt": "Why?", "chosen": "a", "rejected": "b", "rater": "ann"}
    report = bring(run, preference_lines([pair | {"weight": 3}, pair | {"weight": 1}], tmp_path / "r.jsonl"))
    why = "it counts 3 times and names one rater, who answers once; give each answer a row, or name nobody"
    assert (report.judgements, report.known, report.refused) == (1, 0, ((why, 1),))


def test_a_second_file_that_says_otherwise_is_neither_lost_nor_believed_twice(run: Run, tmp_path: Path) -> None:
    """Ann cannot take back by a file what she said; a vote without a name is somebody else's."""
    pairs = [
        {"prompt": "P1", "first": "x", "second": "y"} | {"rater": "Ann"},
        {"prompt": "P2", "first": "x", "second": "y"},
    ]
    one = preference_lines([pair | {"label": "first"} for pair in pairs], tmp_path / "a.jsonl")
    other = preference_lines([pair | {"label": "second"} for pair in pairs], tmp_path / "b.jsonl")
    otherwise = (("its rater answered otherwise about the same pair in an earlier import", 1),)
    counts = [
        (found.judgements, found.known, found.refused)
        for found in (bring(run, path) for path in (one, other, one, other))
    ]
    assert counts == [(2, 0, ()), (1, 0, otherwise), (0, 2, ()), (0, 1, otherwise)]
    assert sorted((each.rater_id, each.choice) for each in live_judgements(run)) in (
        [("imported-Ann", ann), ("imported-unnamed 1", here), ("imported-unnamed 2", there)]
        for ann in (Choice.FIRST, Choice.SECOND)
        for here, there in ((Choice.FIRST, Choice.SECOND), (Choice.SECOND, Choice.FIRST))
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["first", "second", "tie"]), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_votes_without_names_come_once_in_any_order(tmp_path: Path, labels: list[str], random: Random) -> None:
    """The same file again, in another order, adds nothing; each vote of it is there once."""
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    rows = [{"prompt": "Why?", "first": "a", "second": "b", "label": label} for label in labels]
    with new_run(folder / "run") as run:
        assert bring(run, preference_lines(rows, folder / "r.jsonl")).judgements == len(labels)
        random.shuffle(rows)
        again = bring(run, preference_lines(rows, folder / "again.jsonl"))
        assert (again.judgements, again.known, again.refused) == (0, len(labels), ())


def test_odd_rows_come_in_once_and_are_all_counted() -> None:
    """A slice of the long check: raters, pairs and names of answers that meet again, and say the same or otherwise."""
    found = fuzz("imports", seed=1, cases=40)
    assert not found.faults, found.faults
    assert found.items > 400


def test_what_a_run_exported_is_known_by_its_name_where_it_says_the_same(run: Run, tmp_path: Path) -> None:
    """A name of an answer may be taken in another run too, for other texts."""
    pair = {"prompt": "Why?", "first": "a", "second": "b", "rater": "ann"}
    bring(run, preference_lines([pair | {"label": "first"}], tmp_path / "r.jsonl"))
    (held,) = live_judgements(run)
    exported = pair | {"judgement": held.id, "rater": "somebody"}
    rows = [exported | {"label": "first"}, exported | {"label": "second"}, exported | {"label": "first", "second": "c"}]
    report = bring(run, preference_lines(rows, tmp_path / "exported.jsonl"))
    assert (report.judgements, report.known) == (1, 1)
    assert report.refused == (("this run holds the answer of that name, and there it says otherwise", 1),)
    assert report.train + report.validation == 2


def test_only_exported_answers_have_a_level_of_this_project(tmp_path: Path) -> None:
    task = OwnText({}, name="documents", levels=2)
    pair = {"prompt": "Why?", "chosen": "a", "rejected": "b"}
    levels = [{"judgement": f"j{level}", "level": level} for level in (0, 1, 1.0, "1", 2)]
    rows = [*({**pair, **level, "rater": f"r{n}"} for n, level in enumerate(levels)), {**pair, "level": 7}]
    report = bring(new_run(tmp_path / "run"), preference_lines(rows, tmp_path / "r.jsonl"), task=task)
    assert report.judgements == 2
    assert dict(report.refused) == {
        "it is of level 1, and this import is for level 0; import again with --level 1": 3,
        "it is of level 2, which this run does not have": 1,
    }
    again = bring(new_run(tmp_path / "above"), tmp_path / "r.jsonl", task=task, level=1)
    assert (again.judgements, sum(count for _, count in again.refused)) == (4, 2)


def test_both_bad_stays_what_it_was_and_other_words_are_not_believed(run: Run, tmp_path: Path) -> None:
    pair = {"prompt": "Why?", "first": "a", "second": "b"}
    said = [(0.5, "both_bad"), (0.5, "tie"), (0.5, "skip"), (1, "both_bad"), (0.5, ["x"])]
    rows = [pair | {"label": label, "choice": choice, "rater": f"r{n}"} for n, (label, choice) in enumerate(said)]
    bring(run, preference_lines(rows, tmp_path / "r.jsonl"))
    found = {each.rater_id.removeprefix("imported-"): each.choice for each in live_judgements(run)}
    better = found.pop("r3")
    assert better in (Choice.FIRST, Choice.SECOND)
    assert found == {"r0": Choice.BOTH_BAD, "r1": Choice.TIE, "r2": Choice.TIE, "r4": Choice.TIE}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"label": 0.7}, "label is 0.7"),
        ({"weight": 1.5}, "counts 1.5 times"),
        ({"weight": 0.0}, "counts 0 times"),
        ({"second": "Because."}, "same text"),
        ({"prompt": "half \ud800"}, "surrogate"),
    ],
)
def test_what_is_no_answer_of_a_rater_says_why(changed: dict[str, object], said: str) -> None:
    with pytest.raises(RowRejected, match=said):
        imported_row({**ROW, **changed})


def test_rows_that_are_left_out_are_counted_by_why(run: Run, tmp_path: Path) -> None:
    rows = [
        {"prompt": "Why?", "first": "a", "second": "b", "label": label, "rater": f"r{n}"}
        for n, label in enumerate([1, 0.25, 0.25, 0])
    ]
    report = bring(run, preference_lines([*rows, {"chosen": 3}], tmp_path / "r.jsonl"))
    assert report.read.given == 5
    assert report.read.rejected == 1
    assert report.refused == (
        ("its label is 0.25, and an answer says that one is better (1 or 0) or both alike (0.5)", 2),
    )
    assert report.judgements == 2
    assert report.read.given == report.judgements + report.read.rejected + sum(count for _, count in report.refused)


def test_a_repeat_is_neither_learned_from_nor_held_out(run: Run, tmp_path: Path) -> None:
    """Ann answers a pair twice, Ben once: what is fitted to is two answers, also where all are there already."""
    rows = [
        {"prompt": "Why?", "chosen": "Because.", "rejected": "No.", "rater": name} for name in ("ann", "ben", "ann")
    ]
    for known in (0, 3):
        found = bring(run, preference_lines(rows, tmp_path / "rows.jsonl"))
        assert (found.known, found.train + found.validation, found.repeats) == (known, 2, 1)
        assert found.text().splitlines()[1].endswith("0 held out (repeats, left aside: 1).")
    assert len(all_final(run)) == 2


def test_a_file_without_any_judgement_is_refused_by_its_first_row(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"none of the 2 rows of .*rows.jsonl can be read as a judgement; .*good"):
        bring(
            run, preference_lines([{"prompt": "Why?", "good": "Because.", "bad": "No."}] * 2, tmp_path / "rows.jsonl")
        )


def test_which_round_will_learn_from_what_comes_in(tmp_path: Path) -> None:
    start_run(tmp_path / "run", ["rounds.rounds_per_level=2"])
    with open_run_folder(tmp_path / "run") as opened:
        for expected in (0, 1):
            assert learning_round(opened, level=0) == expected
            key = begin_step(opened.run, level=0, round=expected, name="fit", now=NOON).key
            assert learning_round(opened, level=0) == expected
            finish_step(opened.run, key, {}, now=NOON)
        assert (learning_round(opened, level=0), learning_round(opened, level=1)) == (None, 0)


def test_conversations_become_text() -> None:
    asked = [{"role": "user", "content": "Why?"}]
    assert as_prompt(asked) == "Why?"
    assert as_completion([{"role": "assistant", "content": "So."}]) == "So."
    longer = [{"role": "system", "content": "Be kind."}, *asked, {"role": "assistant", "content": "So."}, *asked]
    assert as_prompt(longer) == "\n\nSystem: Be kind.\n\nHuman: Why?\n\nAssistant: So.\n\nHuman: Why?\n\nAssistant:"
    with pytest.raises(RowRejected, match="holds a int"):
        as_prompt(3)


def test_judgements_of_a_prompt_of_the_task_go_where_the_task_has_it(tmp_path: Path) -> None:
    prompts = {split: prompt_document(f"Prompt for {split.value}") for split in Split}
    task = OwnText({split: [document] for split, document in prompts.items()}, name="prompts", levels=1)
    rows = [{"prompt": one.text, "chosen": "a", "rejected": "b"} for one in prompts.values()]
    run = new_run(tmp_path / "run")
    report = bring(run, preference_lines(rows, tmp_path / "r.jsonl"), task=task)
    assert {asked.document_id: asked.purpose for asked in comparisons(run)} == {
        prompts[Split.TRAIN].id: Purpose.TRAIN, prompts[Split.VALIDATION].id: Purpose.VALIDATION,
    }  # fmt: skip
    # What reports are about is fitted to nothing.
    assert report.refused == (("its prompt is kept for tests, which nothing is fitted to", 1),)
    assert {one.task for one in documents(run)} == {"prompts"}


def test_a_document_for_tests_is_kept_from_every_level_and_under_all_its_names(tmp_path: Path) -> None:
    """Its text, what a model is asked about it, and the name that an export calls it by."""
    leaf = Document(id="leaf", title="leaf", text="Some words.")
    tree = Document(id="tree", title="tree", text="Some words. And more.", parts=(leaf,))
    task = OwnText({Split.TEST: [tree]}, name="documents", levels=2, template="Sum up: {text}")
    named = [{"prompt": text} for one in (leaf, tree) for text in (one.text, f"Sum up: {one.text}")]
    rows = [one | {"chosen": "a", "rejected": "b"} for one in [*named, {"prompt": "By parts.", "group": "tree"}]]
    path = preference_lines(rows, tmp_path / "r.jsonl")
    for level in (0, 1):
        run = new_run(tmp_path / f"run-{level}")
        report = bring(run, path, task=task, level=level)
        assert [count for _, count in report.refused] == [5]
        assert live_judgements(run) == []


def test_judgements_come_into_the_level_that_was_named_and_into_no_other(tmp_path: Path) -> None:
    """A prompt that is a document of level 0 is another one where level 1 is to learn from it."""
    leaf = Document(id="leaf", title="leaf", text="Some words.")
    tree = Document(id="tree", title="tree", text="Some words. And more.", parts=(leaf,))
    task = OwnText({Split.TRAIN: [tree]}, name="documents", levels=2, template="{text}")
    rows = [{"prompt": one.text, "chosen": "a", "rejected": "b"} for one in (leaf, tree)]
    path = preference_lines(rows, tmp_path / "rows.jsonl")
    run = new_run(tmp_path / "run")
    bring(run, path, task=task, level=1)
    assert {(one.level, one.task) for one in documents(run)} == {(1, "documents"), (1, "imported")}
    assert {one.level for one in comparisons(run)} == {1}
    with pytest.raises(RunError, match="has the levels 0 to 1, so nothing can be imported into level 2"):
        bring(run, path, task=task, level=2)


@settings(max_examples=50)
@given(st.text(), st.integers(0, 2**32))
def test_a_group_is_never_divided(group: str, seed: int) -> None:
    assert split_of_group(group, seed=seed) is split_of_group(group, seed=seed)
    assert split_of_group(group, seed=seed) is not Split.TEST


def test_about_a_fifth_of_the_groups_is_held_out() -> None:
    """Binomial with 2,000 draws: the standard deviation is 0.009, so that 0.04 are more than four of them."""
    held = sum(split_of_group(f"group {n}", seed=0) is Split.VALIDATION for n in range(2000)) / 2000
    assert held == pytest.approx(HELD_OUT, abs=0.04)


def test_raters_of_elsewhere_cannot_be_taken_for_those_of_the_run() -> None:
    assert person_of("ann", 0).id == "imported-ann"
    assert person_of(None, 2).id == "imported-unnamed 3"


def test_the_human_votes_of_the_shared_data_are_all_kept(shared_data: Path, tmp_path: Path) -> None:
    """300 pairs, three votes each; ties among them. Counted apart from our reader, by hand."""
    path = shared_data / "preferences" / "squality-humaneval.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        votes = [(row["id"], vote["by"], vote["pref"]) for row in map(json.loads, file) for vote in row["votes"]]
    run = new_run(tmp_path / "run")
    report = bring(run, path)
    assert report.read.given == report.read.read + report.read.rejected
    assert report.judgements + sum(count for _, count in report.refused) == report.read.read == len(votes)
    ties = sum(pref == "tie" for _, _, pref in votes)
    assert sum(one.choice is Choice.TIE for one in live_judgements(run, repeats=True)) == ties
    assert {one.name for one in raters(run)} == {f"{by} (imported)" for _, by, _ in votes}


def _text(run: Run, completion_id: str) -> str:
    return completion(run, completion_id).text
