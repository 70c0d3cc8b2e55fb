"""Panels: several raters' votes in one row, each of which is a row of its own; and the real ones that people kept."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from reward_models.preference_columns import PreferenceColumns
from reward_models.preference_data import PreferenceData, read_preferences

PANEL = {
    "id": "x/1", "group": "sums", "prompt": "2 + 2?", "a": "4", "b": "5",
    "votes": [{"by": "eve", "pref": "a", "why": "It adds up."}, {"by": "bob", "pref": "b"}, {"by": 3, "pref": "tie"}],
}  # fmt: skip


def read(folder: Path, *rows: object, **settings: Any) -> PreferenceData:
    path = folder / "data.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return read_preferences(path, generator=torch.Generator().manual_seed(0), **settings)


def test_each_vote_is_a_row(tmp_path: Path) -> None:
    data = read(tmp_path, {**PANEL, "gold": "a"})
    assert [(row["label"], row["rater"], row["comment"]) for row in data.dataset] == [
        (1.0, "eve", "It adds up."), (0.0, "bob", None), (0.5, "3", None),
    ]  # fmt: skip
    for row in data.dataset:
        assert (row["prompt"], row["first"], row["second"]) == ("2 + 2?", "4", "5")
        assert (row["group"], row["id"], row["origin"], row["weight"]) == ("sums", "x/1", "data.jsonl:1", 1.0)
    report = data.report
    assert (report.given, report.read, report.rejected, report.ties) == (3, 3, 0, 1)
    # Raters who disagree: one pair with answers both ways, and nothing said twice.
    assert (report.contradictory_pairs, report.duplicates) == (1, 0)
    assert (report.first_better, report.second_better) == (1, 1)
    assert report.ignored_columns == ("gold",)


def test_what_else_a_vote_says_is_named(tmp_path: Path) -> None:
    data = read(tmp_path, {**PANEL, "votes": [{"by": "eve", "pref": "a", "delta": 2}, {"by": "eve", "pref": "a"}]})
    assert data.report.ignored_columns == ("votes[].delta",)
    assert data.report.duplicates == 1


def test_a_panel_has_no_answer_of_one_rater(tmp_path: Path) -> None:
    """A name of an answer beside several votes is that of none of them; a vote may have one of its own."""
    votes = [{"by": "eve", "pref": "tie"}, {"by": "bob", "pref": "tie", "judgement": "j2", "choice": "both_bad"}]
    data = read(tmp_path, {**PANEL, "votes": votes, "judgement": "j1", "choice": "both_bad"})
    assert [(row["judgement"], row["choice"]) for row in data.dataset] == [(None, None), ("j2", "both_bad")]
    assert data.report.ignored_columns == ("choice", "judgement")


def test_columns_of_a_panel_have_the_names_they_are_given(tmp_path: Path) -> None:
    row = {"q": "2 + 2?", "one": "4", "other": "5", "answers": PANEL["votes"]}
    columns = PreferenceColumns(prompt="q", first="one", second="other", votes="answers")
    data = read(tmp_path, row, columns=columns)
    assert data.dataset["label"][:] == [1.0, 0.0, 0.5]
    assert set(data.dataset["first"][:]) == {"4"}


def test_where_a_row_says_itself_what_is_better_its_votes_are_not_asked(tmp_path: Path) -> None:
    data = read(tmp_path, {"prompt": "p", "chosen": "4", "rejected": "5", "votes": PANEL["votes"]})
    assert (data.report.given, data.report.ignored_columns) == (1, ("votes",))
    data = read(tmp_path, {"first": "4", "second": "5", "label": 0.75, "votes": PANEL["votes"]})
    assert data.dataset["label"][:] == [0.75]


def test_votes_that_cannot_be_used_are_rows_that_are_rejected(tmp_path: Path) -> None:
    votes = [{"by": "eve", "pref": "A"}, {"by": "eve"}, "a", {"by": [1], "pref": "a"}, {"pref": "a", "why": 3}]
    rows = [
        {**PANEL, "votes": [*votes, {"pref": "tie"}]}, {**PANEL, "votes": []}, {**PANEL, "votes": "a"},
        {**PANEL, "b": None}, {**PANEL, "b": "4"},
    ]  # fmt: skip
    report = read(tmp_path, *rows).report
    assert [(bad.line, bad.column, bad.reason.partition(";")[0]) for bad in report.bad_rows] == [
        (1, "votes[].pref", "is 'A' in vote 1"),
        (1, "votes[].pref", "is None in vote 2"),
        (1, "votes[]", "has a str as vote 3"),
        (1, "votes[].by", "is [1]"),
        (1, "votes[].why", "is 3"),
        (2, "votes", "is empty"),
        (3, "votes", "is a str"),
        *[(4, "b", "is missing")] * 3,
        *[(5, "b", "is equal to a")] * 3,
    ]
    assert (report.given, report.read, report.rejected) == (14, 1, 13)


def first_panels(folder: Path, name: str, count: int) -> list[dict[str, Any]]:
    """The first lines of a published file, with nothing left out."""
    with gzip.open(folder / "preferences" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line, _ in zip(lines, range(count), strict=False)]


@pytest.mark.parametrize(
    "name", ["crowdrag25", "hh-helpful-base", "finegrained-rlhf", "squality-humaneval", "ukpconvarg1"]
)
def test_published_panels_keep_every_vote(name: str, shared_data: Path, tmp_path: Path) -> None:
    panels = first_panels(shared_data, name, 300)
    data = read(tmp_path, *panels)
    # Two equal texts cannot be compared.
    usable = [(panel, vote) for panel in panels if panel["a"] != panel["b"] for vote in panel["votes"]]
    assert (data.report.given, data.report.read) == (sum(len(panel["votes"]) for panel in panels), len(usable))
    labels = {"a": 1.0, "b": 0.0, "tie": 0.5}
    for row, (panel, vote) in zip(data.dataset, usable, strict=True):
        assert (row["prompt"], row["first"], row["second"]) == (panel["prompt"], panel["a"], panel["b"])
        assert (row["id"], row["group"]) == (panel["id"], panel["group"])
        assert (row["label"], row["rater"], row["comment"]) == (
            labels[vote["pref"]], vote["by"], vote.get("why") or None,
        )  # fmt: skip
    # One of them has the better one always first.
    assert bool(data.report.oddities()) is (name == "hh-helpful-base")


def test_a_published_file_is_read_whole_and_packed(shared_data: Path) -> None:
    path = shared_data / "preferences" / "squality-humaneval.jsonl.gz"
    report = read_preferences(path, generator=torch.Generator()).report
    # 300 pairs, three raters each: the table in the data's own README.
    assert (report.given, report.read, report.ties, report.first_better) == (900, 900, 17, 108)
