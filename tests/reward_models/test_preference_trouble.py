"""Files as they come: in other encodings and formats than their names say, with columns that are not what they say."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
import torch

from reward_models.errors import ArtifactError
from reward_models.preference_data import PreferenceData, read_preferences

ROW = {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}
LINE = json.dumps(ROW).encode() + b"\n"


def read(source: Path | datasets.Dataset, *, encoding: str | None = None) -> PreferenceData:
    return read_preferences(source, generator=torch.Generator().manual_seed(0), encoding=encoding)


def written(folder: Path, data: bytes, *, name: str = "data.jsonl") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def reason(folder: Path, row: object) -> str:
    """Why the only row of a file is rejected."""
    report = read(written(folder, json.dumps(row).encode())).report
    (bad,) = report.bad_rows
    assert (report.given, report.read) == (1, 0)
    assert "\n" not in str(bad)
    return str(bad)


def test_names_that_are_nearly_right_are_pointed_out(tmp_path: Path) -> None:
    said = reason(tmp_path, {"prompt": "p", "CHOSEN": "a", "rejcted": "b"})
    assert "has the columns CHOSEN, prompt, rejcted; expected chosen and rejected, or first, second and label" in said
    assert said.endswith("(is it 'CHOSEN' for chosen, 'rejcted' for rejected?)")
    said = reason(tmp_path, {"prompt": "p", "chosen": "a", "rejectd": "b"})
    assert "column rejected: is missing" in said
    assert said.endswith("the row has the columns chosen, prompt, rejectd (is it 'rejectd' for rejected?)")
    assert "is it" not in reason(tmp_path, {"question": "p", "answer": "a"})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "is missing"),
        (float("nan"), "is nan"),
        (3, "is a int"),
        (True, "is a bool"),
        ({"text": "a"}, "is a dict"),
        ([["a"]], "has a list as message 1"),
        ([{"role": "user", "content": 3}], "has a int as content of message 1"),
    ],
)
def test_what_is_no_text_is_named(value: object, said: str, tmp_path: Path) -> None:
    for column in ("chosen", "rejected"):
        found = reason(tmp_path, {**ROW, column: value})
        assert f"line 1, column {column}: {said}; expected a" in found
        assert "has the columns" not in found


def test_a_missing_value_of_a_table_of_floats_is_no_text() -> None:
    """What pandas makes of an empty cell."""
    rows = datasets.Dataset.from_list([ROW, {**ROW, "chosen": None}])
    assert [(bad.line, bad.column) for bad in read(rows).report.bad_rows] == [(2, "chosen")]


def test_a_label_that_contradicts_chosen_and_rejected_is_counted(tmp_path: Path) -> None:
    labels = [0, "rejected", 1, "chosen", 0.9, None, "web", 7]
    rows = [{**ROW, "prompt": str(place), "label": label} for place, label in enumerate(labels)]
    report = read(written(tmp_path, b"\n".join(json.dumps(row).encode() for row in rows))).report
    assert (report.read, report.contradicting_labels, report.ignored_columns) == (8, 2, ("label",))
    assert "in 2 rows the label, which is not read beside chosen and rejected" in str(report)
    assert read(written(tmp_path, LINE)).report.oddities() == ()


def test_a_prompt_that_is_a_completion_is_counted(tmp_path: Path) -> None:
    rows = [ROW, {"prompt": "5", "chosen": "4", "rejected": "5"}, {"chosen": "", "rejected": "x", "prompt": ""}]
    report = read(written(tmp_path, b"\n".join(json.dumps(row).encode() for row in rows))).report
    assert (report.read, report.prompts_as_completions) == (3, 1)
    assert "in 1 rows the prompt is one of the completions" in str(report)


@pytest.mark.parametrize(("label", "odd"), [(lambda n: 1, True), (lambda n: 0, True), (lambda n: int(n == 3), False)])
def test_a_place_that_always_wins_is_said(label: Callable[[int], int], odd: bool, tmp_path: Path) -> None:
    rows = [{"first": f"a{n}", "second": f"b{n}", "label": label(n)} for n in range(20)]
    report = read(written(tmp_path, b"\n".join(json.dumps(row).encode() for row in rows))).report
    assert (report.first_better, report.second_better) == (sum(map(label, range(20))), 20 - sum(map(label, range(20))))
    assert ("is better wherever one is" in str(report)) is odd
    few = read(written(tmp_path, b"\n".join(json.dumps(row).encode() for row in rows[:19]))).report
    assert few.oddities() == ()


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_line_ends_and_marks_make_no_difference(end: bytes, tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    joined = mark + LINE.strip() + end + end + mark + LINE.replace(b"2 + 2", b"3 + 1").strip()
    data = read(written(tmp_path, joined))
    assert data.dataset["prompt"][:] == ["2 + 2?", "3 + 1?"]
    table = end.join([mark + b"prompt,chosen,rejected", b'"two' + end + b'lines",a,b', b""])
    (row,) = read(written(tmp_path, table, name="data.csv")).dataset
    assert row["prompt"] == f"two{end.decode()}lines"


def test_another_encoding_is_named_with_its_byte_line_and_a_way_out(tmp_path: Path) -> None:
    bad = b'{"chosen": "caf\xe9", "rejected": "b"}\n'
    report = read(written(tmp_path, LINE + bad)).report
    way_out = "name the file's own encoding, such as encoding='latin-1' (--encoding latin-1)"
    assert str(report.bad_rows[0]) == f"data.jsonl, line 2: byte 0xe9 at 16 is no UTF-8; {way_out}"
    table = written(tmp_path, b"prompt,chosen,rejected\np,caf\xe9,b\n", name="data.csv")
    assert str(read(table).report.bad_rows[0]) == f"data.csv, line 2: byte 0xe9 at 6 is no UTF-8; {way_out}"
    assert "café" in str(read(table, encoding="latin-1").dataset[0])
    with pytest.raises(ArtifactError, match=r"data.csv, line 1: byte 0xe9 at 4 is no UTF-8; name the file's own"):
        read(written(tmp_path, b"caf\xe9,chosen,rejected\np,a,b\n", name="data.csv"))


@pytest.mark.parametrize("encoding", [None, "utf-8", "UTF-8", "utf8", "UTF_8", "utf-8-sig", "UTF-8-SIG"])
def test_a_wrong_byte_costs_its_row_by_whatever_name_utf_8_goes(encoding: str | None, tmp_path: Path) -> None:
    bad = b'{"chosen": "caf\xe9", "rejected": "b"}\n'
    report = read(written(tmp_path, LINE + bad + LINE), encoding=encoding).report
    assert (report.given, report.read, [row.line for row in report.bad_rows]) == (3, 2, [2])


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_recognised(encoding: str, tmp_path: Path) -> None:
    path = written(tmp_path, LINE.decode().encode(encoding))
    with pytest.raises(ArtifactError, match=rf"data.jsonl begins with zero bytes.*--encoding {encoding}\)$"):
        read(path)
    assert read(path, encoding=encoding).report.read == 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (gzip.compress(LINE, mtime=0), "but packed with gzip; end its name in .gz"),
        (b"PK\x03\x04rest", "but a zip archive or a spreadsheet"),
        (b"PAR1rest", "but Parquet"),
        (b"(\xb5/\xfdrest", "but packed with Zstandard"),
        (b'[\n{"chosen": "a"}\n]', "one JSON text over many lines; expected one object a line"),
        (b'{\n"chosen": "a"\n}', "one JSON text over many lines"),
        (b"", "data.jsonl holds no rows"),
        (b"\n \r\n", "data.jsonl holds no rows"),
        (b"\xef\xbb\xbf", "data.jsonl holds no rows"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(data: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=said) as caught:
        read_preferences(written(tmp_path, data), generator=torch.Generator(), folder=tmp_path / "kept")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_damaged_gzip_says_where_it_breaks_off(tmp_path: Path) -> None:
    packed = gzip.compress(LINE * 3)
    for data in (packed[:-8], packed[:-8] + b"\0" * 8, LINE):
        with pytest.raises(ArtifactError, match=r"data.jsonl.gz cannot be read after line \d .*damaged, so copy it"):
            read(written(tmp_path, data, name="data.jsonl.gz"))


@pytest.mark.parametrize(("separator", "name"), [(b";", "data.csv"), (b"\t", "data.csv"), (b",", "data.tsv")])
def test_another_separator_between_cells_is_recognised(separator: bytes, name: str, tmp_path: Path) -> None:
    data = b"\n".join(separator.join(row) for row in ([b"prompt", b"chosen", b"rejected"], [b"p", b"a", b"b"]))
    with pytest.raises(
        ArtifactError, match=r"has one column, .*stood between cells; cells of .csv are separated by commas"
    ):
        read(written(tmp_path, data, name=name))


def test_a_table_without_rows_and_a_folder_of_nothing_hold_no_rows(tmp_path: Path) -> None:
    written(tmp_path, b"prompt,chosen,rejected\n", name="data.csv")
    with pytest.raises(ArtifactError, match="holds no rows; expected one comparison a row, and in a table a header"):
        read(tmp_path / "data.csv")
    with pytest.raises(ArtifactError, match="the data set holds no rows"):
        read(datasets.Dataset.from_list([]))


def test_a_folder_of_mixed_files_counts_each(tmp_path: Path) -> None:
    written(tmp_path, LINE + b"x\n", name="a.jsonl")
    written(tmp_path, b"", name="b.jsonl")
    written(tmp_path, b"prompt,chosen,rejected\n3 + 1?,4,5\n", name="c.csv")
    written(tmp_path, gzip.compress(LINE, mtime=0), name="d.json.gz")
    datasets.Dataset.from_list([ROW]).to_parquet(tmp_path / "e.parquet")
    written(tmp_path, b"PK", name="f.xlsx")
    report = read(tmp_path).report
    assert [(file.file, file.given, file.read) for file in report.files] == [
        ("a.jsonl", 2, 1), ("b.jsonl", 0, 0), ("c.csv", 1, 1), ("d.json.gz", 1, 1), ("e.parquet", 1, 1),
    ]  # fmt: skip
    assert (report.ignored_files, report.duplicates) == (("f.xlsx",), 2)


def test_what_fuzzing_found_is_said_in_one_line(tmp_path: Path) -> None:
    """A header that ends within its quotation marks, a Parquet file whose reader explains itself at length."""
    with pytest.raises(ArtifactError, match="line 1 is no line of column names") as raised:
        read(written(tmp_path, b'prompt,"chosen\n', name="open.csv"))
    assert "\n" not in str(raised.value)
    table = tmp_path / "data.parquet"
    datasets.Dataset.from_list([ROW]).to_parquet(table)
    data = bytearray(table.read_bytes())
    data[-12:-8] = b"\xff\xff\xff\x7f"
    data[-40:-20] = bytes(20)
    table.write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match=r"data\.parquet cannot be read after line 0") as raised:
        read(table)
    assert "\n" not in str(raised.value)


def test_a_report_can_always_be_printed(tmp_path: Path) -> None:
    """A key of JSON may hold half a surrogate pair, which no terminal takes."""
    report = read(written(tmp_path, LINE + b'{"chosen\\ud800": "a", "rejected": "b"}\n')).report
    assert report.rejected == 1
    assert "chosen\\ud800" in str(report).encode().decode()
