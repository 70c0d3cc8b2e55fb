import csv
import gzip
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reward_models import preference_data, preference_files
from reward_models.errors import ArtifactError
from reward_models.preference_columns import PreferenceColumns
from reward_models.preference_data import PreferenceData, preference_tensors, read_preferences
from reward_models.read_report import NAMED

ROW = {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}


def read(source: str | Path | datasets.Dataset, *, seed: int = 0, **settings: Any) -> PreferenceData:
    return read_preferences(source, generator=torch.Generator().manual_seed(seed), **settings)


def jsonl(folder: Path, rows: Sequence[object], *, name: str = "data.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def better(row: Mapping[str, Any]) -> tuple[Any, Any]:
    """(better, worse) of a row."""
    sides = (row["first"], row["second"])
    return sides if row["label"] > 0.5 else (sides[1], sides[0])


def test_a_row_of_texts_is_read(tmp_path: Path) -> None:
    data = read(jsonl(tmp_path, [{**ROW, "rater": 7, "weight": 2, "group": "sums", "id": "a", "comment": "why not"}]))
    (row,) = data.dataset
    assert better(row) == ("4", "5")
    rest = {name: value for name, value in row.items() if name not in ("first", "second", "label")}
    assert rest == {
        "prompt": "2 + 2?", "weight": 2.0, "margin": None, "strength": None, "rater": "7", "group": "sums", "id": "a",
        "comment": "why not", "judgement": None, "level": None, "choice": None, "origin": "data.jsonl:1",
    }  # fmt: skip
    assert (data.report.given, data.report.read, data.report.rejected, data.report.implicit_prompts) == (1, 1, 0, 0)


def test_the_place_of_the_better_completion_is_a_seeded_coin(tmp_path: Path) -> None:
    path = jsonl(tmp_path, [{"prompt": str(n), "chosen": "good", "rejected": "bad"} for n in range(400)])
    labels = read(path).dataset["label"][:]
    # 400 coins: 200 with a deviation of 10.
    assert 160 <= sum(labels) <= 240
    assert all(better(row) == ("good", "bad") for row in read(path).dataset)
    assert read(path).dataset["label"][:] == labels
    assert read(path, seed=1).dataset["label"][:] != labels


def test_first_second_and_label_stay_in_their_places(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "first": "a", "second": "b", "label": label} for label in (1, 0.25, "tie", "second", True)]
    found = read(jsonl(tmp_path, rows)).dataset
    assert found["label"][:] == [1.0, 0.25, 0.5, 0.0, 1.0]
    assert set(found["first"][:]) == {"a"}


def test_ties_margins_and_strengths(tmp_path: Path) -> None:
    rows = [{**ROW, "tie": True}, {**ROW, "margin": 0.5, "strength": 3}, {**ROW, "strength": math.log(3.0)}, ROW]
    path = jsonl(tmp_path, rows)
    plain, margin, label = (read(path, strength_as=use).dataset for use in ("column", "margin", "label"))
    assert [max(one, 1.0 - one) for one in plain["label"]] == [0.5, 1.0, 1.0, 1.0]
    assert plain["margin"][:] == [None, 0.5, None, None]
    assert plain["strength"][:] == margin["strength"][:] == [None, 3.0, math.log(3.0), None]
    # A row's own margin stands before its strength.
    assert margin["margin"][:] == [None, 0.5, math.log(3.0), None]
    # sigmoid(3), and sigmoid(log 3) = 3/4.
    expected = [0.5, 1.0 / (1.0 + math.exp(-3.0)), 0.75, 1.0]
    assert [max(one, 1.0 - one) for one in label["label"]] == pytest.approx(expected)
    assert [row["first"] == "4" for row in label][1:] == [one > 0.5 for one in label["label"]][1:]


def test_columns_are_found_under_their_own_names(tmp_path: Path) -> None:
    row = {"question": "q", "better": "a", "worse": "b", "topic": 3, "annotator": "eve", "source": "web"}
    columns = PreferenceColumns(prompt="question", chosen="better", rejected="worse", group="topic", rater="annotator")
    data = read(jsonl(tmp_path, [row]), columns=columns)
    (found,) = data.dataset
    assert (found["prompt"], better(found), found["group"], found["rater"]) == ("q", ("a", "b"), "3", "eve")
    assert data.report.ignored_columns == ("source",)


def test_what_an_export_says_beside_the_answer_comes_along_and_refuses_nothing(tmp_path: Path) -> None:
    """The same names elsewhere can hold anything."""
    half = "half \ud800"
    said = [("j1", 1, "both_bad"), (7, "2", ""), (None, 3.0, True), ([1], 0.5, {"is": 1}), (half, "", half)]
    rows = [{**ROW, "judgement": name, "level": level, "choice": choice} for name, level, choice in said]
    data = read(jsonl(tmp_path, rows))
    assert [(row["judgement"], row["level"], row["choice"]) for row in data.dataset] == [
        ("j1", "1", "both_bad"), ("7", "2", None), (None, "3", None), (None, None, None), (None, None, None),
    ]  # fmt: skip
    assert (data.report.rejected, data.report.ignored_columns) == (0, ())


def test_a_name_that_another_part_was_given_keeps_that_meaning(tmp_path: Path) -> None:
    row = {"first": "a", "second": "b", "choice": "second", "level": 3}
    (found,) = read(jsonl(tmp_path, [row]), columns=PreferenceColumns(label="choice", strength="level")).dataset
    assert (found["label"], found["strength"]) == (0.0, 3.0)


def test_messages_with_and_without_a_prompt(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "2 + 2?"}]
    good, bad = ([{"role": "assistant", "content": text}] for text in ("4", "5"))
    ways = [
        {"prompt": asked, "chosen": good, "rejected": bad},
        {"chosen": asked + good, "rejected": asked + bad},
        {"prompt": "2 + 2?", "chosen": asked + good, "rejected": asked + bad},
        {"prompt": asked, "chosen": asked + good, "rejected": asked + bad},
        {"prompt": "2 + 2?", "chosen": good, "rejected": bad},
        {"prompt": asked, "chosen": "4", "rejected": "5"},
    ]
    data = read(jsonl(tmp_path, ways))
    assert [(row["prompt"], *better(row)) for row in data.dataset] == [(asked, good, bad)] * 6
    assert (data.report.read, data.report.implicit_prompts) == (6, 1)
    # All six say the same.
    assert data.report.duplicates == 5


def test_keys_of_messages_that_are_not_read_are_named(tmp_path: Path) -> None:
    good, bad = ([{"role": "assistant", "content": text, "name": "bot"}] for text in ("4", "5"))
    report = read(jsonl(tmp_path, [{"prompt": "p", "chosen": good, "rejected": bad}])).report
    assert report.ignored_columns == ("chosen[].name", "rejected[].name")


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        # The last opening of an answer that both have; the same first word stays with the replies.
        ("\n\nHuman: Hi\n\nAssistant: No, sir", "\n\nHuman: Hi\n\nAssistant: No.", "\n\nHuman: Hi\n\nAssistant:"),
        # Words end in both texts.
        ("The cat sat", "The cat ran", "The cat"),
        ("The cats", "The cat", "The"),
        ("Sea", "Seat", ""),
        ("yes", "no", ""),
        ("", "no", ""),
    ],
)
def test_an_implicit_prompt_ends_with_a_turn_or_a_word(chosen: str, rejected: str, prompt: str, tmp_path: Path) -> None:
    data = read(jsonl(tmp_path, [{"chosen": chosen, "rejected": rejected}]))
    (row,) = data.dataset
    assert row["prompt"] == prompt
    assert tuple(prompt + side for side in better(row)) == (chosen, rejected)
    assert data.report.implicit_prompts == 1


def test_bad_rows_are_named_with_their_line_and_column(tmp_path: Path) -> None:
    rows: list[Any] = [
        ROW,
        {"prompt": "p", "chosen": "a"},
        {**ROW, "chosen": 3},
        {**ROW, "rejected": "4"},
        {**ROW, "weight": -1},
        {**ROW, "margin": math.nan},
        {"question": "q", "answer": "a"},
        [1, 2],
        {**ROW, "chosen": [{"role": "user", "content": None}]},
        {**ROW, "chosen": "\ud800"},
        {**ROW, "chosen": [{"role": "assistant", "content": "4"}], "rejected": []},
        {"first": "a", "second": "b"},
        {"first": "a", "second": "b", "label": 2},
        {"first": "a", "second": "b", "label": 1, "tie": True},
        {**ROW, "rejected": [{"role": "assistant", "content": "5"}]},
    ]
    path = jsonl(tmp_path, rows)
    with path.open("ab") as file:
        file.write(b'{"chosen": "caf\xe9", "rejected": "b"}\n\n{"chosen": \n')
    data = read(path)
    assert [(bad.line, bad.column, bad.reason.partition(";")[0]) for bad in data.report.bad_rows] == [
        (2, "rejected", "is missing"),
        (3, "chosen", "is a int"),
        (4, "rejected", "is equal to chosen"),
        (5, "weight", "is -1"),
        (6, "margin", "is nan"),
        (7, None, "has the columns answer, question"),
        (8, None, "is a JSON list"),
        (9, "chosen", "has missing as content of message 1"),
        (10, "chosen", "has half a character at 0 ('\\ud800')"),
        (11, "rejected", "holds no messages"),
        (12, "label", "is missing"),
        (13, "label", "is 2"),
        (14, "tie", "is true and label is 1.0"),
        (15, None, "holds messages where the rows before hold texts"),
        (16, None, "byte 0xe9 at 16 is no UTF-8"),
        (18, None, "is no JSON (Expecting value at 11)"),
    ]
    assert {bad.file for bad in data.report.bad_rows} == {"data.jsonl"}
    assert (data.report.given, data.report.read, data.report.rejected) == (17, 1, 16)
    assert len(data.dataset) == 1
    assert "data.jsonl, line 3, column chosen: is a int" in str(data.report)
    assert json.loads(json.dumps(data.report.__dict__, default=lambda part: part.__dict__))["rejected"] == 16


def test_only_the_first_bad_rows_are_named_and_all_are_counted(tmp_path: Path) -> None:
    report = read(jsonl(tmp_path, [{"chosen": "a"}] * 50)).report
    assert (len(report.bad_rows), report.rejected, report.rejected_by_column) == (20, 50, (("rejected", 50),))


def test_repeated_and_contradictory_rows_are_counted_and_kept(tmp_path: Path) -> None:
    turned = {"prompt": "2 + 2?", "chosen": "5", "rejected": "4"}
    rows = [ROW, ROW, turned, {**ROW, "rater": "eve"}, {**ROW, "prompt": "1 + 1?"}, {**turned, "tie": True}]
    report = read(jsonl(tmp_path, rows)).report
    # The second row is a duplicate; the fourth, of another rater, is not. One pair has answers both ways.
    assert (report.read, report.duplicates, report.contradictory_pairs, report.ties) == (6, 1, 1, 1)
    swapped = [
        {"first": "a", "second": "b", "label": 1}, {"first": "b", "second": "a", "label": 0},
        {"first": "b", "second": "a", "label": 0.6},
    ]  # fmt: skip
    report = read(jsonl(tmp_path, swapped)).report
    assert (report.duplicates, report.contradictory_pairs) == (1, 1)


def test_a_prompt_that_the_completions_repeat_is_counted(tmp_path: Path) -> None:
    rows = [ROW, {"prompt": "Q: why?", "chosen": "Q: why? Because.", "rejected": "Q: why? No."}]
    assert read(jsonl(tmp_path, rows)).report.repeated_prompts == 1


def table(path: Path, rows: Sequence[Sequence[str]], *, delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def test_tables_are_read_cell_by_cell(tmp_path: Path) -> None:
    long = "word " * 40_000
    rows = [
        ["prompt", "chosen", "rejected", "weight", "rater", "tie"],
        ["two\nlines", "a, b", 'c "d"', "", "", ""],
        ["p", long, "b", "0.5", "eve", "true"],
        ["p", "a", "b", "heavy", "eve", ""],
        ["p", "a"],
    ]
    for name, delimiter in (("data.csv", ","), ("data.tsv", "\t")):
        data = read(table(tmp_path / name, rows, delimiter=delimiter))
        one, other = data.dataset
        assert (one["prompt"], better(one), one["weight"], one["rater"]) == ("two\nlines", ("a, b", 'c "d"'), 1.0, None)
        assert {other["first"], other["second"]} == {long, "b"}
        assert (other["label"], other["weight"], other["rater"], other["origin"]) == (0.5, 0.5, "eve", f"{name}:4")
        assert [(bad.line, bad.column) for bad in data.report.bad_rows] == [(5, "weight"), (6, None)]
    assert csv.field_size_limit() == 131_072


def test_messages_in_a_table_are_json(tmp_path: Path) -> None:
    cells = [json.dumps([{"role": "assistant", "content": text}]) for text in ("4", "5")]
    (row,) = read(table(tmp_path / "data.csv", [["chosen", "rejected"], cells])).dataset
    assert better(row)[0] == [{"role": "assistant", "content": "4"}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_mark_at_the_start_tells_the_encoding(encoding: str, packed: bool, tmp_path: Path) -> None:
    data = (json.dumps({**ROW, "chosen": "vier ✓"}, ensure_ascii=False) + "\n").encode(encoding)
    path = tmp_path / ("data.jsonl.gz" if packed else "data.jsonl")
    path.write_bytes(gzip.compress(data) if packed else data)
    (row,) = read(path).dataset
    assert better(row) == ("vier ✓", "5")


def test_another_encoding_is_read_when_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes('{"chosen": "café", "rejected": "b"}\n'.encode("latin-1"))
    assert read(path).report.rejected == 1
    (row,) = read(path, encoding="latin-1").dataset
    assert "café" in (row["first"], row["second"])
    with pytest.raises(ArtifactError, match="name its encoding"):
        read(path, encoding="no-such-encoding")


@pytest.mark.parametrize("packed", [False, True])
def test_parquet_is_read(packed: bool, tmp_path: Path) -> None:
    rows = [{**ROW, "weight": weight, "chosen": [{"role": "assistant", "content": "4"}]} for weight in (1.0, math.nan)]
    path = tmp_path / "data.parquet"
    datasets.Dataset.from_list(rows).to_parquet(path)
    if packed:
        path = Path(f"{path}.gz")
        path.write_bytes(gzip.compress((tmp_path / "data.parquet").read_bytes()))
    data = read(path)
    assert better(data.dataset[0]) == (rows[0]["chosen"], [{"role": "assistant", "content": "5"}])
    assert [(bad.file, bad.line, bad.column) for bad in data.report.bad_rows] == [(path.name, 2, "weight")]


def test_a_folder_is_all_its_files_or_those_of_a_split(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    jsonl(tmp_path, [ROW, ROW], name="train-0.jsonl")
    jsonl(tmp_path / "test", [{**ROW, "prompt": "3 + 1?"}, {"chosen": "a"}], name="part.jsonl")
    (tmp_path / "README.md").write_text("about")
    (tmp_path / ".hidden.jsonl").write_text("{}")
    data = read(tmp_path)
    assert [row["origin"] for row in data.dataset] == ["test/part.jsonl:1", "train-0.jsonl:1", "train-0.jsonl:2"]
    assert [(file.file, file.given, file.read) for file in data.report.files] == [
        ("test/part.jsonl", 2, 1), ("train-0.jsonl", 2, 2),
    ]  # fmt: skip
    assert data.report.ignored_files == ("README.md",)
    assert read(tmp_path, split="train").report.given == 2
    with pytest.raises(ArtifactError, match="of the split 'validation'"):
        read(tmp_path, split="validation")


def test_data_sets_in_memory_and_on_disk_are_read(tmp_path: Path) -> None:
    one = datasets.Dataset.from_list([ROW, {**ROW, "chosen": None}])
    assert (read(one).report.read, read(one).report.rejected) == (1, 1)
    one.save_to_disk(tmp_path / "one")
    assert read(tmp_path / "one").report.read == 1
    datasets.DatasetDict({"train": one, "test": one}).save_to_disk(tmp_path / "both")
    assert read(tmp_path / "both").report.given == 4
    (row,) = read(tmp_path / "both", split="test").dataset
    assert row["origin"] == "both/test:1"
    with pytest.raises(ArtifactError, match="has no split 'dev'"):
        read(tmp_path / "both", split="dev")


def test_the_hub_is_asked_for_a_name_that_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jsonl(tmp_path, [ROW], name="train.jsonl")
    asked = []

    def load(name: str, *, split: str | None) -> datasets.Dataset:
        asked.append((name, split))
        return datasets.load_from_disk(str(tmp_path / "saved"))

    datasets.Dataset.from_list([ROW]).save_to_disk(tmp_path / "saved")
    monkeypatch.setattr(preference_files.datasets, "load_dataset", load)
    (row,) = read("somebody/answers", split="train").dataset
    assert (asked, row["origin"]) == ([("somebody/answers", "train")], "somebody/answers:1")


def test_a_hub_that_cannot_be_reached_is_said() -> None:
    with pytest.raises(ArtifactError, match="somebody/answers is no path here, and reading it"):
        read("somebody/answers")


def test_what_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(ArtifactError, match="does not exist"):
        read("some where/else?")
    (tmp_path / "data.txt").write_text("a")
    with pytest.raises(ArtifactError, match="of no known format"):
        read(tmp_path / "data.txt")
    with pytest.raises(ArtifactError, match="holds no file that can be read"):
        read(tmp_path)
    table(tmp_path / "twice.csv", [["chosen", "chosen"], ["a", "b"]])
    with pytest.raises(ArtifactError, match="names a column twice"):
        read(tmp_path / "twice.csv")
    (tmp_path / "data.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match="after line 0"):
        read(tmp_path / "data.parquet")


def test_a_file_that_breaks_off_says_where_and_leaves_nothing(tmp_path: Path) -> None:
    packed = gzip.compress(
        "".join(json.dumps({**ROW, "prompt": os.urandom(99).hex()}) + "\n" for _ in range(900)).encode()
    )
    path = tmp_path / "data.jsonl.gz"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ArtifactError, match=r"data.jsonl.gz cannot be read after line [1-9]\d+ "):
        read(path, folder=tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


def test_rows_stream_through_in_batches_and_end_in_a_mapped_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preference_data, "BATCH", 10)
    path = jsonl(tmp_path, [{**ROW, "prompt": str(n)} for n in range(95)])
    data = read(path, folder=tmp_path / "kept")
    with pyarrow.OSFile(str(tmp_path / "kept" / "preferences.arrow")) as file:
        assert [batch.num_rows for batch in pyarrow.ipc.open_stream(file)] == [10] * 9 + [5]
    assert data.dataset.cache_files == [{"filename": str(tmp_path / "kept" / "preferences.arrow")}]
    assert data.dataset["prompt"][:] == [str(n) for n in range(95)]


def test_tensors_for_a_loss(tmp_path: Path) -> None:
    rows = [
        {**ROW, "tie": True, "weight": 3}, {**ROW, "prompt": "x", "margin": 2, "group": "sums"},
        {**ROW, "rejected": "6", "tie": True}, {**ROW, "group": "sums"},
    ]  # fmt: skip
    data = read(jsonl(tmp_path, rows)).dataset
    found = preference_tensors(data)
    assert found.labels.tolist() == data["label"][:]
    assert found.weights.tolist() == [3.0, 1.0, 1.0, 1.0]
    assert found.margins is not None and found.margins.tolist() == [0.0, 2.0, 0.0, 0.0]
    # Without a group of its own a row belongs to its prompt.
    assert found.groups.tolist() == [0, 1, 0, 1]
    assert preference_tensors(read(jsonl(tmp_path, [ROW])).dataset).margins is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("4"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", ""]), "content": st.text(max_size=3) | ANYTHING}
    ),
    max_size=3,
)
NAMES = ("prompt", "chosen", "rejected", "first", "second", "label", "tie", "margin", "strength", "weight", "rater")
ROWS = st.dictionaries(st.sampled_from(NAMES), ANYTHING | MESSAGES | st.text(max_size=3), max_size=8)
VOTES = st.lists(
    st.fixed_dictionaries({"pref": st.sampled_from(["a", "b", "tie"]) | ANYTHING}, optional={"by": ANYTHING})
    | ANYTHING,
    max_size=4,
)
PANELS = st.fixed_dictionaries(
    {"a": st.text(max_size=2) | ANYTHING, "b": st.text(max_size=2) | ANYTHING, "votes": VOTES | ANYTHING},
    optional={"prompt": ANYTHING, "label": ANYTHING, "comment": ANYTHING},
)


def judgements(row: object) -> int:
    """How many rows a line is: each vote is one, and what is no row of votes is one."""
    if not isinstance(row, dict) or {"label", "chosen", "rejected"} & set(row):
        return 1
    votes = row.get("votes")
    return max(1, len(votes)) if isinstance(votes, list) else 1


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(ROWS | PANELS | ANYTHING.filter(lambda value: value is not None), max_size=6),
    junk=st.binary(max_size=8),
)
def test_whatever_comes_rows_read_and_rejected_are_the_rows_given(
    rows: list[object], junk: bytes, tmp_path: Path
) -> None:
    lines = [json.dumps(row).encode() for row in rows]
    junk = b"x" + junk.replace(b"\n", b"")
    (tmp_path / "data.jsonl").write_bytes(b"\n".join([*lines, junk]))
    data = read(tmp_path / "data.jsonl", folder=tmp_path / "kept")
    report = data.report
    assert report.given == sum(judgements(row) for row in rows) + 1
    assert report.read + report.rejected == report.given
    assert len(data.dataset) == report.read
    assert len(report.bad_rows) == min(NAMED, report.rejected)
    assert sum(file.given for file in report.files) == report.given
    for row in data.dataset:
        assert 0.0 <= row["label"] <= 1.0
        assert row["weight"] >= 0.0
        assert row["first"] != row["second"]


def test_the_published_dialogues_are_split_where_others_split_them(shared_data: Path) -> None:
    data = read(shared_data / "raw" / "hh-harmless-base-test.jsonl.gz")
    assert (data.report.given, data.report.rejected) == (2312, 0)
    assert data.report.implicit_prompts == 2312
    with gzip.open(shared_data / "preferences" / "hh-harmless-base.jsonl.gz", "rt", encoding="utf-8") as lines:
        others = [json.loads(line) for line in lines]
    same = 0
    for row, other in zip(data.dataset, others, strict=True):
        good, bad = better(row)
        if other["same_prompt"]:
            same += (row["prompt"], good.strip(), bad.strip()) == (
                other["prompt"] + "\n\nAssistant:", other["a"].strip(), other["b"].strip(),
            )  # fmt: skip
    assert same >= 0.99 * sum(other["same_prompt"] for other in others)
