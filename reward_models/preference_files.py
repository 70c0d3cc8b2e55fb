"""Rows of preference data out of whatever holds them, one at a time, each with its place.

Read are JSONL, CSV, TSV and Parquet, also as .gz; a folder of these; a folder that `Dataset.save_to_disk` wrote; and
the name of a data set on the Hugging Face hub. A line that is no row comes with a flaw in place of values: whoever
counts the rows counts it too.
"""

import codecs
import csv
import gzip
import io
import json
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import datasets
from pyarrow import ArrowException
from pyarrow.parquet import ParquetFile

from reward_models.errors import ArtifactError
from reward_models.preference_columns import Row

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
"""What is read, each also with .gz behind it."""
_BATCH = 1000
_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_PACKED = (
    (b"\x1f\x8b", "packed with gzip; end its name in .gz"),
    (b"(\xb5/\xfd", "packed with Zstandard; unpack it"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet; save it as CSV or JSONL"),
    (b"PAR1", "Parquet; end its name in .parquet"),
)
_NAME_IT = "name the file's own encoding, such as encoding='latin-1' (--encoding latin-1)"


class GivenRow(NamedTuple):
    """One row of a source."""

    file: str
    """Where it stands, seen from the source."""
    line: int
    """Line, or row where the format has no lines; from 1."""
    values: Row
    """Its columns; empty if there is a flaw."""
    flaw: str | None
    """Why it is no row."""


class Source(NamedTuple):
    """Rows to come, and what will be passed over."""

    rows: Iterator[GivenRow]
    """All rows in the order of the files; to be read once."""
    files: tuple[str, ...]
    """The files that rows may come from, also where none does; empty where there are no files."""
    ignored_files: tuple[str, ...]
    """Files of a folder that are of no format that is read."""


def open_source(source: str | Path | datasets.Dataset, *, split: str | None, encoding: str | None) -> Source:
    """Find out what a source is.

    An existing path is a file or a folder; any other text is the name of a data set on the hub. `split` takes those
    files of a folder that have the word in their name (`train.jsonl`, `train/part-0.parquet`), and the split of a data
    set; none takes all. `encoding` is that of text files; none means UTF-8, or UTF-16 and UTF-32 where a mark says so.

    Raises ArtifactError if there is nothing to read, the hub cannot be reached, or (while reading) a file is damaged.
    """
    if isinstance(source, datasets.Dataset):
        return Source(_numbered("dataset", source), (), ())
    path = Path(source)
    if path.is_dir() and any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        return Source(_splits(path.name, datasets.load_from_disk(str(path)), split), (), ())
    if path.is_dir():
        return _folder(path, split=split, encoding=encoding)
    if path.is_file():
        if not _format(path):
            raise ArtifactError(f"{path} is of no known format; give one of {', '.join(SUFFIXES)}, or these with .gz")
        return Source(_rows_of_file(path, path.name, encoding), (path.name,), ())
    if isinstance(source, Path) or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source):
        raise ArtifactError(f"{source} does not exist; give a file, a folder, or the name of a data set on the hub")
    return Source(_splits(source, _from_hub(source, split), None), (), ())


def _folder(folder: Path, *, split: str | None, encoding: str | None) -> Source:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path: str(path.relative_to(folder)) for path in found}
    visible = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    wanted = [path for path in visible if _format(path) and (split is None or _has_word(names[path], split))]
    if not wanted:
        which = "" if split is None else f" of the split {split!r}"
        raise ArtifactError(f"{folder} holds no file{which} that can be read; expected {', '.join(SUFFIXES)}, or .gz")
    rows = (row for path in wanted for row in _rows_of_file(path, names[path], encoding))
    read, ignored = ([names[path] for path in some] for some in (wanted, [one for one in visible if not _format(one)]))
    return Source(rows, tuple(read), tuple(ignored))


def _has_word(name: str, word: str) -> bool:
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", name) is not None


def _format(path: Path) -> str | None:
    """The suffix without .gz, if it is one of those that are read."""
    name = path.name.lower().removesuffix(".gz")
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)


def _from_hub(name: str, split: str | None) -> datasets.Dataset | Mapping[Any, datasets.Dataset]:
    try:
        return datasets.load_dataset(name, split=split)
    # Whatever goes wrong on the way to a server arrives as one of these, in wordings that change with each release.
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise ArtifactError(
            f"{name} is no path here, and reading it from the Hugging Face hub failed ({error}); check the name and "
            "the network, or give a file or folder"
        ) from error


def _splits(
    name: str, found: datasets.Dataset | Mapping[Any, datasets.Dataset], split: str | None
) -> Iterator[GivenRow]:
    if isinstance(found, datasets.Dataset):
        return _numbered(name, found)
    if split is not None and split not in found:
        raise ArtifactError(f"{name} has no split {split!r}; it has {', '.join(found)}")
    chosen = list(found) if split is None else [split]
    return (row for one in chosen for row in _numbered(f"{name}/{one}", found[one]))


def _numbered(file: str, rows: Iterable[Row]) -> Iterator[GivenRow]:
    return (GivenRow(file, line, row, None) for line, row in enumerate(rows, start=1))


def _rows_of_file(path: Path, name: str, encoding: str | None) -> Iterator[GivenRow]:
    """The rows of one file; a file that breaks off says after which line."""
    kind, line = _format(path), 0
    try:
        with _opened(path, seekable=kind == ".parquet") as data:
            for row in _rows_of_data(data, name, kind, encoding):
                line = row.line
                yield row
    except ArtifactError:
        raise
    except (OSError, EOFError, zlib.error, UnicodeError, LookupError, ArrowException) as error:
        remedy = "it is cut off or damaged, so copy it again"
        if isinstance(error, UnicodeError | LookupError):
            remedy = "name its encoding as Python does: utf-8, utf-16-le, latin-1, cp1252, ..."
        what = " ".join(str(error).split())
        raise ArtifactError(f"{path} cannot be read after line {line} ({what}); {remedy}") from error


def _rows_of_data(data: io.BufferedIOBase, name: str, kind: str | None, encoding: str | None) -> Iterator[GivenRow]:
    if kind == ".parquet":
        batches = ParquetFile(data).iter_batches(batch_size=_BATCH)
        yield from _numbered(name, (row for batch in batches for row in batch.to_pylist()))
    elif kind in (".csv", ".tsv"):
        with _text(data, name, encoding, newline="") as lines:
            yield from _table_rows(lines, name, delimiter="," if kind == ".csv" else "\t")
    else:
        with _text(data, name, encoding, newline="\n") as lines:
            yield from _json_rows(lines, name)


@contextmanager
def _opened(path: Path, *, seekable: bool) -> Iterator[io.BufferedIOBase]:
    """The bytes of a file without its compression; unpacked to a file of its own where a format jumps about."""
    if not path.name.lower().endswith(".gz"):
        with path.open("rb") as plain:
            yield plain
        return
    with gzip.open(path, "rb") as packed:
        if not seekable:
            yield packed
            return
        with tempfile.TemporaryFile() as unpacked:
            shutil.copyfileobj(packed, unpacked)
            unpacked.seek(0)
            yield cast(io.BufferedIOBase, unpacked)


def _text(data: io.BufferedIOBase, name: str, encoding: str | None, *, newline: str) -> io.TextIOWrapper:
    buffered = io.BufferedReader(cast(io.RawIOBase, data))
    start = buffered.peek(4)[:4]
    packed = next((what for mark, what in _PACKED if start.startswith(mark)), None)
    if packed is not None:
        raise ArtifactError(f"{name} is not the text that its name says but {packed}")
    if encoding is None:
        encoding = next((found for mark, found in _MARKS if start.startswith(mark)), "utf-8-sig")
        if encoding == "utf-8-sig" and b"\0" in start:
            guess = "utf-16-be" if start.startswith(b"\0") else "utf-16-le"
            raise ArtifactError(
                f"{name} begins with zero bytes, as UTF-16 without a mark does; if it is that, name its encoding: "
                f"encoding='{guess}' (--encoding {guess})"
            )
    # A wrong byte in UTF-8 costs its row, not the file: it comes through as half a character, which a row may not hold.
    # Python knows an encoding by many names (UTF-8, utf8, utf_8); one of them is its own.
    errors = "surrogateescape" if codecs.lookup(encoding).name.startswith("utf-8") else "strict"
    return io.TextIOWrapper(buffered, encoding=encoding, errors=errors, newline=newline)


def _json_rows(lines: Iterable[str], name: str) -> Iterator[GivenRow]:
    first = True
    for number, line in enumerate(lines, start=1):
        # Files that were joined have a mark in the middle.
        text = line.rstrip().removeprefix("\ufeff")
        if not text:
            continue
        if first and text.strip() in ("[", "{", "[{"):
            raise ArtifactError(
                f"{name} is one JSON text over many lines; expected one object a line, as jq -c '.[]' makes of a list"
            )
        first, values = False, _object(text)
        flaw = values if isinstance(values, str) else None
        yield GivenRow(name, number, {} if isinstance(values, str) else values, flaw)


def _object(line: str) -> Mapping[str, object] | str:
    """The JSON object of a line, or why it is none."""
    if (wrong := _wrong_byte(line)) is not None:
        return wrong
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        return f"is no JSON ({error.msg} at {error.pos + 1}); expected one object a line"
    except (ValueError, RecursionError) as error:
        return f"is no JSON ({error}); expected one object a line"
    return found if isinstance(found, dict) else f"is a JSON {type(found).__name__}; expected one object a line"


def _wrong_byte(text: str) -> str | None:
    """What is said of a text with a byte that is no UTF-8."""
    wrong = re.search("[\udc80-\udcff]", text)
    if wrong is None:
        return None
    return f"byte 0x{ord(wrong.group()) - 0xDC00:02x} at {wrong.start() + 1} is no UTF-8; {_NAME_IT}"


def _table_rows(lines: Iterable[str], name: str, *, delimiter: str) -> Iterator[GivenRow]:
    with _long_cells():
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        header = _header(_first_line(reader, name), name)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield GivenRow(name, line, {}, f"is no row of a table ({error})")
                continue
            if not cells:
                continue
            flaw = f"has {len(cells)} cells; the header has {len(header)}" if len(cells) != len(header) else None
            flaw = _wrong_byte(delimiter.join(cells)) or flaw
            values = {} if flaw else {column: _cell(cell) for column, cell in zip(header, cells, strict=True)}
            yield GivenRow(name, line, values, flaw)


def _first_line(reader: Iterator[list[str]], name: str) -> list[str]:
    try:
        return next(reader, [])
    except csv.Error as error:
        raise ArtifactError(
            f"{name}, line 1 is no line of column names ({error}); close its quotation marks, or give the table one"
        ) from error


def _header(header: list[str], name: str) -> list[str]:
    """The column names; ArtifactError for names that can be none."""
    if (wrong := _wrong_byte(",".join(header))) is not None:
        raise ArtifactError(f"{name}, line 1: {wrong}")
    if len(set(header)) < len(header):
        raise ArtifactError(f"{name} names a column twice in its first line; give each column a name of its own")
    if len(header) == 1 and (other := re.search("[;|\t,]", header[0])) is not None:
        raise ArtifactError(
            f"{name} has one column, {header[0]!a:.60}, as if {other.group()!a} stood between cells; cells of .csv are "
            "separated by commas, and those of .tsv by tabs"
        )
    return header


def _cell(cell: str) -> object:
    """A cell; one that is written as a JSON list of objects is a list of messages."""
    if not cell.startswith("[{"):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let cells be of any length, which the csv module allows for the whole process only."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)
