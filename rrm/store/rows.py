"""Records to rows and back: a field of a record is the column of its name.

Enums become their values, booleans 0 or 1, mappings and tuples JSON; a long text becomes the column `<field>_sha256`.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, get_origin, get_type_hints

from rrm.store.canonical import canonical_json, read_object
from rrm.store.transaction import Row, SqlValue

Record = TypeVar("Record")


def to_row(record: object, *, texts: Mapping[str, str] | None = None) -> Row:
    """The row of a record; `texts` gives the sha256 of the fields whose text is stored in the table of texts."""
    row: Row = {}
    for name in _readers(type(record)):
        if texts and name in texts:
            row[f"{name}_sha256"] = texts[name]
        else:
            row[name] = _plain(getattr(record, name))
    return row


def to_record(kind: type[Record], row: Row) -> Record:
    """The record of a row that holds at least its fields."""
    return kind(**{name: None if row[name] is None else read(row[name]) for name, read in _readers(kind).items()})


def _plain(value: Any) -> SqlValue:
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Mapping):
        return canonical_json(dict(value))
    if isinstance(value, tuple):
        return canonical_json(list(value))
    checked: SqlValue = value
    return checked


def _readers(kind: Any) -> dict[str, Any]:
    return _cached_readers(kind)


@cache
def _cached_readers(kind: Any) -> dict[str, Any]:
    return {name: _reader(hint) for name, hint in get_type_hints(kind).items()}


def _reader(hint: Any) -> Any:
    for candidate in (hint, *getattr(hint, "__args__", ())):
        if get_origin(candidate) is not None and issubclass(get_origin(candidate), Mapping):
            return read_object
        if get_origin(candidate) is tuple:
            return _read_tuple
        if candidate is bool or (isinstance(candidate, type) and issubclass(candidate, StrEnum)):
            return candidate
    return _same


def _read_tuple(text: str) -> tuple[Any, ...]:
    return tuple(json.loads(text))


def _same(value: SqlValue) -> SqlValue:
    return value
