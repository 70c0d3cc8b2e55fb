"""Rows of a data set, where whatever is wrong with its files is told in one line."""

import csv
from collections.abc import Iterator
from pathlib import Path

from pyarrow import ArrowException

from reward_models.errors import ArtifactError
from reward_models.preference_files import GivenRow, open_source
from rrm.texts.words import shown


def open_rows(source: Path | str, *, split: str | None, encoding: str | None) -> Iterator[GivenRow]:
    """The rows of a data set, as `preference_files.open_source` finds them.

    Raises ArtifactError, also while the rows are read, if there is no such data set or it is damaged.
    """
    try:
        yield from open_source(source, split=split, encoding=encoding).rows
    except ArtifactError as error:
        raise ArtifactError(shown(str(error))) from error
    # A table can end within its header, and a folder of a saved data set can hold anything.
    except (csv.Error, ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{source} cannot be read ({shown(str(error))}); restore it") from error
