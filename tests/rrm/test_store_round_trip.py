"""What is put into the store comes out of it, once, whatever the text."""

import hashlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_models.errors import InvalidInput
from rrm.errors import RunCorrupt, RunError, RunMissing
from rrm.store import (
    Choice,
    JudgementCount,
    Purpose,
    Rater,
    RaterKind,
    Run,
    Stage,
    StoredAid,
    StoredComparison,
    StoredCompletion,
    StoredDocument,
    aids_for,
    aids_for_many,
    comparison,
    comparisons,
    completion,
    completions,
    document,
    documents,
    get_text,
    get_value,
    judgement_counts,
    label_of,
    parts_of,
    put_aids,
    put_comparisons,
    put_completions,
    put_documents,
    put_rater,
    put_text,
    put_texts,
    raters,
    set_value,
)
from rrm.store.times import later, timestamp
from tests.rrm.store_samples import NOON, small_run


def test_text_is_stored_once_under_its_sha256(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        known = run.database["texts"].count
        digest = put_text(run, "Pumpe läuft heiß")
        assert digest == hashlib.sha256("Pumpe läuft heiß".encode()).hexdigest()
        assert put_texts(run, ["Pumpe läuft heiß", "", "Pumpe läuft heiß"]) == [digest, put_text(run, ""), digest]
        assert run.database["texts"].count == known + 2
        with pytest.raises(InvalidInput, match="no text"):
            get_text(run, "0" * 64)


def test_any_text_round_trips(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=1) as run:

        @settings(max_examples=80, deadline=None)
        @given(st.text(), st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.booleans(), st.none())))
        def check(text: str, configuration: dict[str, object]) -> None:
            assert get_text(run, put_text(run, text)) == text
            identity = hashlib.sha256(repr((text, configuration)).encode()).hexdigest()
            put_rater(run, Rater(identity, text, RaterKind.PERSON, configuration))
            stored = {rater.id: rater for rater in raters(run)}[identity]
            assert (stored.name, stored.settings) == (text, configuration)

        check()


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_lone_surrogates_are_refused(tmp_path: Path, text: str) -> None:
    with small_run(tmp_path) as run:
        with pytest.raises(InvalidInput, match="surrogate"):
            put_text(run, text)
        with pytest.raises(InvalidInput, match="surrogate"):
            put_documents(run, [StoredDocument("d9", "shiftlog", 0, "train", 9, text, "fine")])
        assert [each.id for each in documents(run)] == ["d0", "d1", "d2"]


def test_documents_and_parts(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        day = StoredDocument("day", "shiftlog", 1, "test", 0, "Day", "Three shifts")
        shifts = [StoredDocument(f"s{n}", "shiftlog", 0, "test", n, "Shift", f"Shift {n}", "day") for n in (1, 0)]
        put_documents(run, [*shifts, day])
        assert parts_of(run, "day") == shifts[::-1]
        assert parts_of(run, "s0") == []
        assert document(run, "s1") == shifts[0]
        assert documents(run, level=0, split="test") == shifts[::-1]
        assert [each.id for each in documents(run)] == ["d0", "s0", "d1", "s1", "d2", "day"]
        with pytest.raises(InvalidInput, match="FOREIGN KEY"):
            put_documents(run, [StoredDocument("x", "shiftlog", 0, "test", 0, "", "", "nobody")])


def test_completions_and_comparisons(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        new = StoredCompletion("new", "d1", 0, 1, "agent-0-1", "Better")
        put_completions(run, [new])
        assert completion(run, "new") == new
        assert completions(run, level=0, round=1) == completions(run, agent_id="agent-0-1") == [new]
        asked = StoredComparison("x", 0, 1, Purpose.TEST, "d1", "Brief this", "new", "c1-0", "spread", 4, True, 3)
        put_comparisons(run, [asked])
        assert comparison(run, "x") == asked
        assert comparisons(run, level=0, round=1, purpose=Purpose.TEST) == [asked]
        assert [each.id for each in comparisons(run)] == ["p0", "p1", "p2", "x"]
        with pytest.raises(InvalidInput, match="answers document 'd0'"):
            put_comparisons(run, [replace(asked, id="y", first_completion_id="c0-0")])
        with pytest.raises(InvalidInput, match="is not stored"):
            put_comparisons(run, [replace(asked, id="y", first_completion_id="nothing")])
        with pytest.raises(InvalidInput, match="FOREIGN KEY"):
            put_completions(run, [replace(new, id="z", document_id="nothing")])


def test_aids_of_a_comparison_and_of_its_document(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        own = StoredAid("critique", 0, 0, "agent", "critique", "It cites nothing", comparison_id="p1")
        parts = [StoredAid(f"b{n}", 0, 0, "agent", "part_brief", f"Part {n}", "d1", part_position=n) for n in (1, 0)]
        later_round = StoredAid("b9", 0, 1, "agent", "part_brief", "Of another round", "d1", part_position=0)
        put_aids(run, [own, *parts, later_round])
        assert aids_for(run, "p1") == [parts[1], parts[0], own]
        assert aids_for_many(run, ["p0", "p1"]) == {"p0": [], "p1": [parts[1], parts[0], own]}
        for wrong in (replace(own, id="w", document_id="d1"), replace(own, id="w", comparison_id=None)):
            with pytest.raises(InvalidInput, match="document or a comparison"):
                put_aids(run, [wrong])


def test_put_again_changes_nothing_and_another_content_is_refused(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        before = list(run.database.conn.iterdump())
        first = document(run, "d0")
        put_documents(run, [first, first])
        put_completions(run, completions(run))
        put_comparisons(run, comparisons(run))
        put_rater(run, raters(run)[0])
        assert list(run.database.conn.iterdump()) == before
        with pytest.raises(RunCorrupt, match="documents: 'd0' is already stored with another title"):
            put_documents(run, [replace(document(run, "d1"), id="d7"), replace(first, title="Other")])
        with pytest.raises(RunCorrupt, match="another text_sha256"):
            put_completions(run, [replace(completion(run, "c0-0"), text="Other")])
        with pytest.raises(RunCorrupt, match="another settings"):
            put_rater(run, replace(raters(run)[0], settings={"budget": 1}))
        # The good record that came with the bad one was not stored either.
        assert list(run.database.conn.iterdump()) == before


def test_many_records_at_once(tmp_path: Path) -> None:
    # 1,203 is more than two chunks of the 500 that one query asks for.
    with small_run(tmp_path) as run:
        many = [StoredDocument(f"m{n:04d}", "notes", 3, "train", n, "", f"Text {n % 7}") for n in range(1203)]
        put_documents(run, many)
        put_documents(run, many)
        assert documents(run, level=3) == many


def test_one_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        with pytest.raises(KeyError), run.transaction():
            put_text(run, "lost")
            raise KeyError
        with run.transaction():
            kept = put_text(run, "kept")
            with pytest.raises(ValueError), run.transaction():
                gone = put_text(run, "inner")
                raise ValueError
        assert get_text(run, kept) == "kept"
        for digest in (gone, hashlib.sha256(b"lost").hexdigest()):
            with pytest.raises(InvalidInput):
                get_text(run, digest)


def test_run_values(tmp_path: Path) -> None:
    with small_run(tmp_path / "run") as run:
        assert (run.seed, run.configuration, run.models.is_dir()) == (7, {"levels": 2}, True)
        assert get_value(run, "cancel") is None
        set_value(run, "cancel", True)
        set_value(run, "cancel", [1, "two"])
        assert get_value(run, "cancel") == [1, "two"]
        with pytest.raises(RunError, match="fixed"):
            set_value(run, "seed", 8)
        with pytest.raises(InvalidInput, match="finite"):
            set_value(run, "loss", float("nan"))
    with pytest.raises(RunError, match="holds a run already"):
        Run.create(tmp_path / "run", seed=1, configuration={}, now=NOON)
    with Run.open(tmp_path / "run") as run:
        assert (run.seed, get_value(run, "cancel")) == (7, [1, "two"])


def test_a_creation_killed_half_way_is_completed(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        run.database.conn.execute("DELETE FROM run")
    with pytest.raises(RunMissing, match="not made to its end"):
        Run.open(tmp_path)
    with Run.create(tmp_path, seed=3, configuration={}, now=NOON) as run:
        assert run.seed == 3


def test_counts_of_judgements_needed(tmp_path: Path) -> None:
    with small_run(tmp_path, aids_planned=True, raters_planned=2) as run:
        # Three comparisons, two raters each, once alone and once aided: 6 and 6.
        assert judgement_counts(run) == [
            JudgementCount(0, 0, Purpose.TRAIN, Stage.ALONE, 0, 6),
            JudgementCount(0, 0, Purpose.TRAIN, Stage.AIDED, 0, 6),
        ]


def test_labels() -> None:
    assert [label_of(choice) for choice in Choice] == [1.0, 0.0, 0.5, 0.5, None, None, None]


def test_times_are_written_in_one_width_and_in_utc() -> None:
    assert timestamp("2026-01-02T13:04:05+01:00") == "2026-01-02T12:04:05.000000Z"
    assert later("2026-01-02T12:59:59.5Z", 0.75) == "2026-01-02T13:00:00.250000Z"
    for wrong in ("2026-01-02T13:04:05", "noon"):
        with pytest.raises(InvalidInput):
            timestamp(wrong)


def test_the_file_makes_sense_without_this_package(tmp_path: Path) -> None:
    small_run(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "run.db")
    connection.row_factory = sqlite3.Row
    row = connection.execute("SELECT * FROM comparisons_readable WHERE id = 'p1'").fetchone()
    assert (row["title"], row["prompt"], row["first"], row["second"]) == (
        "Shift 1",
        "Brief this: Log 1",
        "Brief 1, 0",
        "Brief 1, 1",
    )
    connection.close()
