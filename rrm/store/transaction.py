"""Writing to SQLite: one transaction that starts with the write lock, and sqlite3's errors as ours.

A transaction that begins as a reader and then writes fails at once when another process has written in between,
whatever the busy timeout; `BEGIN IMMEDIATE` waits its turn instead.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database

from reward_models.errors import InvalidInput
from rrm.errors import DiskFull, RunBusy, RunCorrupt, RunError

SqlValue = str | int | float | None
Row = dict[str, SqlValue]

_CHUNK = 500


@contextmanager
def write(database: Database) -> Iterator[None]:
    """Do everything inside in one transaction, or nothing of it.

    Inside another `write` of the same connection it is a savepoint of that one: an error undoes the inner part, and the
    outer decides about the whole. Raises DiskFull, RunBusy, RunCorrupt; what was committed earlier stays.
    """
    connection = database.conn
    nested = connection.in_transaction
    begin, commit = ("SAVEPOINT inner", "RELEASE inner") if nested else ("BEGIN IMMEDIATE", "COMMIT")
    with translated(connection):
        connection.execute(begin)
        try:
            yield
            connection.execute(commit)
        except BaseException:
            _roll_back(connection, nested)
            raise


def _roll_back(connection: sqlite3.Connection, nested: bool) -> None:
    # A full disk can make SQLite end the transaction by itself; there is nothing left to undo then.
    if not connection.in_transaction:
        return
    if nested:
        connection.execute("ROLLBACK TO inner")
        connection.execute("RELEASE inner")
    else:
        connection.execute("ROLLBACK")


@contextmanager
def translated(connection: sqlite3.Connection, path: Path | None = None) -> Iterator[None]:
    """Turn an error of sqlite3 into one of ours, with a sentence about what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise _ours(error, str(path) if path else _file_of(connection)) from error


def _file_of(connection: sqlite3.Connection) -> str:
    try:
        return str(connection.execute("PRAGMA database_list").fetchone()[2])
    except sqlite3.Error:
        return "the run's database"


def _ours(error: sqlite3.Error, file: str) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0)
    primary = code & 0xFF  # extended codes carry the primary one in the low byte
    if primary == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_WRITE:
        return DiskFull(
            f"no room left to write {file}; everything acknowledged before is safe. "
            "Free some space and run the command again"
        )
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return RunBusy(f"another process keeps {file} locked; wait for it to end, or end it, and try again")
    if primary == sqlite3.SQLITE_NOTADB:
        return RunCorrupt(f"{file} is not a database, or was overwritten; restore the run folder from a copy")
    if primary == sqlite3.SQLITE_CORRUPT:
        return RunCorrupt(f"{file} is damaged ({error}); restore the run folder from a copy")
    if isinstance(error, sqlite3.IntegrityError):
        return InvalidInput(f"the store refuses this row: {error}; expected known ids and the values the schema allows")
    return RunError(f"{file}: SQLite says {error!s}; check that the folder exists and may be read and written")


def rows(database: Database, sql: str, parameters: Sequence[SqlValue] = ()) -> list[Row]:
    """Run a query and return its rows as dictionaries."""
    with translated(database.conn):
        cursor = database.conn.execute(sql, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, values, strict=True)) for values in cursor]


def rows_in(database: Database, sql: str, keys: Iterable[SqlValue]) -> list[Row]:
    """Run a query that holds one `{}` for a list of question marks, as often as the number of keys needs."""
    wanted = list(keys)
    found: list[Row] = []
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        found.extend(rows(database, sql.format(",".join("?" * len(chunk))), chunk))
    return found


def execute(database: Database, sql: str, parameters: Sequence[SqlValue] = ()) -> None:
    """Run one writing statement; call it inside `write`."""
    with translated(database.conn):
        database.conn.execute(sql, parameters)


def insert_once(database: Database, table: str, key: str, new: Sequence[Row]) -> None:
    """Insert rows that have the same columns; a row that is there already is left, one that differs -> RunCorrupt.

    Call it inside `write`, so that nobody writes between the look and the insert.
    """
    if not new:
        return
    columns = ", ".join(f'"{name}"' for name in new[0])
    query = f'SELECT {columns} FROM "{table}" WHERE "{key}" IN ({{}})'
    known = {row[key]: row for row in rows_in(database, query, [row[key] for row in new])}
    fresh: list[tuple[SqlValue, ...]] = []
    for row in new:
        if row[key] not in known:
            known[row[key]] = row
            fresh.append(tuple(row.values()))
        elif known[row[key]] != row:
            raise _different(table, row, known[row[key]], key)
    marks = ",".join("?" * len(new[0]))
    try:
        with translated(database.conn):
            database.conn.executemany(f'INSERT INTO "{table}" ({columns}) VALUES ({marks})', fresh)
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{table}: a field holds a lone surrogate, which is not valid Unicode") from error


def _different(table: str, new: Row, old: Row, key: str) -> RunCorrupt:
    names = ", ".join(name for name in new if new[name] != old[name])
    return RunCorrupt(
        f"{table}: {new[key]!r} is already stored with another {names}; what is stored never changes. "
        "Was the run made with other settings, or by another version? Start a new run folder"
    )
