"""Preference data of any origin as one memory-mapped data set, with an account of what was read.

Rows stream from the source to an Arrow file on disk in batches, so that no list of all rows is ever held; the data set
is a map of that file (`datasets.Dataset`). A row that named the better completion gets its place from a seeded coin,
so that position tells nothing.
"""

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import datasets
import pyarrow
import torch
from jaxtyping import Float, Int
from torch import Tensor

from reward_models.errors import ArtifactError
from reward_models.preference_columns import BadCell, ParsedRow, PreferenceColumns, Row, parse_row
from reward_models.preference_files import GivenRow, Source, open_source
from reward_models.preference_votes import VoteReader
from reward_models.read_report import ReadReport, ReadTally

BATCH = 1000
"""Rows written at a time."""
FILE = "preferences.arrow"

StrengthUse = Literal["column", "margin", "label"]
_MESSAGES = pyarrow.list_(pyarrow.struct({"role": pyarrow.string(), "content": pyarrow.string()}))


class PreferenceData(NamedTuple):
    """Preferences, ready for use."""

    dataset: datasets.Dataset
    """Columns prompt, first, second (texts, or lists of messages), label, weight, margin, strength, rater, group, id,
    comment, judgement, level, choice, origin; of those after weight, all but origin are None where they are missing."""
    report: ReadReport
    """What was found on the way."""


class PreferenceTensors(NamedTuple):
    """What a loss needs of a data set, row by row."""

    labels: Float[Tensor, " comparisons"]
    """Probability that the first is better."""
    weights: Float[Tensor, " comparisons"]
    """How many judgements each row counts for."""
    margins: Float[Tensor, " comparisons"] | None
    """By how much the better one should lead, 0 where the row says nothing; None if no row does."""
    groups: Int[Tensor, " comparisons"]
    """Number of the group; where the data name none, rows of one prompt are one."""


def read_preferences(
    source: str | Path | datasets.Dataset,
    *,
    generator: torch.Generator,
    columns: PreferenceColumns | None = None,
    strength_as: StrengthUse = "column",
    split: str | None = None,
    encoding: str | None = None,
    folder: Path | None = None,
) -> PreferenceData:
    """Read preferences from a file, a folder, a `Dataset` or the hub; see `preference_files.open_source`.

    `columns` names the columns (none: the usual names), `generator` throws the coin for the place of the better
    completion. A tie has the label 0.5. What a strength means only the data know, so that it is kept in its column; on
    request it also becomes the `margin` of a row that has none, in logits, or the `label`: sigmoid(strength) for the
    better completion, as if it were the difference of two scores. `folder` keeps the Arrow file; without one it lies
    in a temporary folder until the process ends.

    A row with `votes` becomes one row for each, with its rater and what it says as the comment.

    A row that cannot be used is named and counted in the report, never dropped in silence; nothing in a row raises.
    Raises ArtifactError if the source, or a file of it, cannot be read or holds no rows, or the disk refuses.
    """
    found = open_source(source, split=split, encoding=encoding)
    tally, place = ReadTally(), _own_folder() if folder is None else folder
    parsed = _parsed(found, PreferenceColumns() if columns is None else columns, tally)
    dataset = _written(_oriented(parsed, strength_as, generator), place)
    report = tally.report(found.files, found.ignored_files)
    if report.given == 0:
        (place / FILE).unlink()
        what = "the data set" if isinstance(source, datasets.Dataset) else source
        raise ArtifactError(f"{what} holds no rows; expected one comparison a row, and in a table a header above them")
    return PreferenceData(dataset=dataset, report=report)


def preference_tensors(dataset: datasets.Dataset) -> PreferenceTensors:
    """Labels, weights, margins and groups of a data set of `read_preferences`."""
    labels, weights = (torch.tensor(dataset[name][:], dtype=torch.float64) for name in ("label", "weight"))
    margins = dataset["margin"][:]
    numbers: dict[str, int] = {}
    groups = [
        numbers.setdefault(f"prompt {prompt!r}" if group is None else f"group {group}", len(numbers))
        for batch in dataset.select_columns(["group", "prompt"]).iter(batch_size=BATCH)
        for group, prompt in zip(batch["group"], batch["prompt"], strict=True)
    ]
    leads = torch.tensor([margin or 0.0 for margin in margins], dtype=torch.float64)
    return PreferenceTensors(
        labels=labels,
        weights=weights,
        margins=None if all(margin is None for margin in margins) else leads,
        groups=torch.tensor(groups, dtype=torch.long),
    )


class _Placed(NamedTuple):
    """A row and where it came from."""

    row: ParsedRow
    origin: str


def _parsed(source: Source, columns: PreferenceColumns, tally: ReadTally) -> Iterator[_Placed]:
    """The usable rows; every row is told to the tally."""
    texts: bool | None = None
    votes = VoteReader(columns)
    for given in source.rows:
        for raw, names in _judgements(given, columns, votes):
            if isinstance(raw, BadCell):
                tally.reject(given.file, given.line, raw)
                continue
            row = parse_row(raw, names)
            if isinstance(row, ParsedRow):
                texts = isinstance(row.first, str) if texts is None else texts
                row = _of_one_kind(row, texts=texts)
            if isinstance(row, BadCell):
                tally.reject(given.file, given.line, row)
            else:
                tally.accept(given.file, raw, row, names)
                yield _Placed(row, f"{given.file}:{given.line}")


def _judgements(
    given: GivenRow, columns: PreferenceColumns, votes: VoteReader
) -> Iterator[tuple[Row | BadCell, PreferenceColumns]]:
    """What is judged in a row, and the columns that say it: one judgement, or one for each vote."""
    if given.flaw is not None:
        yield BadCell(None, given.flaw), columns
    elif votes.has_votes(given.values):
        yield from votes.rows(given.values)
    else:
        yield given.values, columns


def _of_one_kind(row: ParsedRow, *, texts: bool) -> ParsedRow | BadCell:
    if isinstance(row.first, str) is texts:
        return row
    kinds = ("texts", "messages") if texts else ("messages", "texts")
    return BadCell(None, f"holds {kinds[1]} where the rows before hold {kinds[0]}; a data set has one kind")


def _oriented(
    rows: Iterator[_Placed], strength_as: StrengthUse, generator: torch.Generator
) -> Iterator[dict[str, object]]:
    for row, origin in rows:
        label, margin = row.label, row.margin
        if strength_as == "margin" and margin is None:
            margin = row.strength
        if strength_as == "label" and row.strength is not None and label in (0.0, 1.0):
            sure = float(torch.tensor(row.strength, dtype=torch.float64).sigmoid())
            label = sure if label == 1.0 else 1.0 - sure
        sides = (row.first, row.second)
        if row.ranked and bool(torch.rand((), generator=generator) < 0.5):
            sides, label = (row.second, row.first), 1.0 - label
        yield {
            "prompt": row.prompt, "first": sides[0], "second": sides[1], "label": label, "weight": row.weight,
            "margin": margin, "strength": row.strength, "rater": row.rater, "group": row.group, "id": row.id,
            "comment": row.comment, "judgement": row.judgement, "level": row.level, "choice": row.choice,
            "origin": origin,
        }  # fmt: skip


def _written(rows: Iterator[dict[str, object]], folder: Path) -> datasets.Dataset:
    """Write the rows to an Arrow file that appears complete or not at all, and map it."""
    path, partial = folder / FILE, folder / f".{FILE}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        batch = list(islice(rows, BATCH))
        schema = _schema(texts=not batch or isinstance(batch[0]["first"], str))
        with pyarrow.OSFile(str(partial), "wb") as file, pyarrow.ipc.new_stream(file, schema) as stream:
            stream.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
            while batch := list(islice(rows, BATCH)):
                stream.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
        partial.replace(path)
    except (OSError, pyarrow.ArrowException) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"could not write {path}: {error}; check the disk and its permissions") from error
    finally:
        partial.unlink(missing_ok=True)
    return datasets.Dataset.from_file(str(path))


def _schema(*, texts: bool) -> pyarrow.Schema:
    side = pyarrow.string() if texts else _MESSAGES
    kinds = {
        **dict.fromkeys(("prompt", "first", "second"), side),
        **dict.fromkeys(("label", "weight", "margin", "strength"), pyarrow.float64()),
        **dict.fromkeys(
            ("rater", "group", "id", "comment", "judgement", "level", "choice", "origin"), pyarrow.string()
        ),
    }
    return pyarrow.schema(list(kinds.items()))


def _own_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="preferences-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
