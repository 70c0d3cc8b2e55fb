"""Opening a run's database: checked, migrated, in write-ahead mode."""

import sqlite3
from pathlib import Path
from time import monotonic, sleep

from sqlite_utils import Database

from rrm.errors import RunCorrupt, RunError, RunMissing
from rrm.store.migrations import APPLICATION_ID, migrate
from rrm.store.transaction import execute, rows, translated, write

__all__ = ["open_database", "write"]


def open_database(path: Path, *, create: bool = False, timeout: float = 30.0) -> Database:
    """Open the database file of a run and bring its schema up to date.

    Args:
        path: the file.
        create: make the file if there is none.
        timeout: seconds to wait for another process to end its transaction, before RunBusy.

    Raises RunMissing (no file), RunCorrupt (not a database, or not one of a run), SchemaTooNew.
    """
    if not create and not path.is_file():
        raise RunMissing(f"there is no run at {path.parent} (no {path.name}); check the folder, or start a run there")
    # No implicit transactions: `write` says where they begin. A thread has its own connection (`Run.database`); the
    # check is off only so that `Run.close` can close those of threads that have ended.
    try:
        connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise RunError(f"cannot open {path} ({error}); check that the folder exists and may be written") from error
    try:
        with translated(connection, path):
            return _prepared(Database(connection, execute_plugins=False), path, timeout)
    except BaseException:
        connection.close()
        raise


def _prepared(database: Database, path: Path, timeout: float) -> Database:
    _refuse_others(database, path)
    for pragma in ("foreign_keys = ON", "synchronous = FULL", "recursive_triggers = ON"):
        execute(database, f"PRAGMA {pragma}")
    _enable_wal(database, timeout)
    migrate(database)
    return database


def _enable_wal(database: Database, timeout: float) -> None:
    """Write-ahead mode, also where another process opens the same new file at this moment.

    SQLite does not wait for that switch as it waits for a write: it says at once that the database is locked.
    """
    until = monotonic() + timeout
    while database.journal_mode != "wal":
        try:
            database.enable_wal()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or monotonic() > until:
                raise
            sleep(0.01)


def _refuse_others(database: Database, path: Path) -> None:
    if not rows(database, "SELECT 1 FROM sqlite_master LIMIT 1"):
        return
    found = rows(database, "PRAGMA application_id")[0]["application_id"]
    if found != APPLICATION_ID:
        raise RunCorrupt(
            f"{path} is an SQLite database, but not one of a run (application id {found}, expected {APPLICATION_ID}); "
            "choose another folder"
        )
