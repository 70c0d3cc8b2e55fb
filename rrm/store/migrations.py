"""Numbered migrations: each runs once, in one transaction together with the record that it ran.

A published migration is never edited; the next change is the next number.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sqlite_utils import Database

from rrm.errors import RunError, SchemaTooNew
from rrm.store.page_schema import FILL_WAITING, LEFT_OUT_RATERS, PAGE_INDEXES, PAGE_TABLES, PAGE_TRIGGERS
from rrm.store.schema import INDEXES, LIVE_JUDGEMENTS, PART_BRIEFS, READABLE_VIEWS, TABLES, TRIGGERS
from rrm.store.transaction import execute, rows, write

APPLICATION_ID = 0x52524D31
"""`RRM1` in the header of the file: `file run.db` and we can tell a run from any other SQLite database."""


class Migration(NamedTuple):
    """One change of the schema."""

    number: int
    name: str
    apply: Callable[[Database], None]


def _tables(database: Database) -> None:
    for statement in (*TABLES, *INDEXES, LIVE_JUDGEMENTS, *TRIGGERS):
        execute(database, statement)


def _readable_views(database: Database) -> None:
    for statement in READABLE_VIEWS:
        execute(database, statement)


def _page(database: Database) -> None:
    for statement in (*PAGE_TABLES, *PAGE_INDEXES, *PAGE_TRIGGERS, LEFT_OUT_RATERS, FILL_WAITING):
        execute(database, statement)


def _part_briefs(database: Database) -> None:
    for statement in PART_BRIEFS:
        execute(database, statement)


MIGRATIONS = (
    Migration(1, "tables", _tables),
    Migration(2, "readable views", _readable_views),
    Migration(3, "what waits, people and sessions", _page),
    Migration(4, "what was written of parts", _part_briefs),
)


def check_numbers(migrations: Sequence[Migration]) -> None:
    """Refuse a list that does not count 1, 2, 3, ...: two migrations with one number would leave one of them out."""
    numbers = [migration.number for migration in migrations]
    if numbers != list(range(1, len(numbers) + 1)):
        raise RunError(
            f"migrations must be numbered 1, 2, 3, ... each once; got {numbers}. Give the new one the next number"
        )


def applied_number(database: Database) -> int:
    """The number of the last migration that this database has; 0 for an empty file."""
    if not rows(database, "SELECT 1 FROM sqlite_master WHERE name = 'migrations'"):
        return 0
    return int(rows(database, "SELECT coalesce(max(number), 0) AS number FROM migrations")[0]["number"] or 0)


def migrate(database: Database, *, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring a database up to date; one written by a newer version -> SchemaTooNew, and it is left as it is."""
    check_numbers(migrations)
    applied = applied_number(database)
    if applied > len(migrations):
        raise SchemaTooNew(
            f"the run has schema {applied}, this version knows up to {len(migrations)}; "
            "install the version that wrote it (or a newer one). Nothing was changed"
        )
    for migration in migrations[applied:]:
        _apply(database, migration)


def _apply(database: Database, migration: Migration) -> None:
    with write(database):
        # Another process may have migrated while this one waited for the lock.
        if applied_number(database) >= migration.number:
            return
        execute(database, f"PRAGMA application_id = {APPLICATION_ID}")
        execute(
            database,
            "CREATE TABLE IF NOT EXISTS migrations "
            "(number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT",
        )
        migration.apply(database)
        execute(
            database,
            "INSERT INTO migrations (number, name, applied_at) VALUES (?, ?, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))",
            (migration.number, migration.name),
        )
