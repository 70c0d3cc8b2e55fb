"""Old databases are brought up to date with what is in them; newer ones and foreign ones are refused."""

import hashlib
import sqlite3
from pathlib import Path

import pytest
from sqlite_utils import Database

from reward_models.errors import InvalidInput
from rrm.errors import RunCorrupt, RunError, RunMissing, SchemaTooNew
from rrm.store import Run, documents, verify
from rrm.store.connection import open_database
from rrm.store.migrations import APPLICATION_ID, MIGRATIONS, Migration, applied_number, check_numbers, migrate
from rrm.store.transaction import execute
from tests.rrm.store_samples import NOON, small_run


def old_database(path: Path, *, number: int) -> None:
    """A database as an older version left it, with a run and a document inside."""
    database = Database(sqlite3.connect(path, isolation_level=None), execute_plugins=False)
    migrate(database, migrations=MIGRATIONS[:number])
    digest = hashlib.sha256(b"text").hexdigest()
    database.conn.executescript(
        f"""BEGIN;
        INSERT INTO run VALUES ('seed', '5'), ('configuration', '{{"old": true}}'), ('created_at', '"2025"');
        INSERT INTO texts VALUES ('{digest}', 'text');
        INSERT INTO documents
            SELECT 'd', 'shiftlog', 0, 'train', 0, 'Old', sha256, NULL FROM texts;
        COMMIT;"""
    )
    database.close()


@pytest.mark.parametrize("number", range(1, len(MIGRATIONS) + 1))
def test_an_old_database_is_migrated_with_its_data(tmp_path: Path, number: int) -> None:
    old_database(tmp_path / "run.db", number=number)
    with Run.open(tmp_path) as run:
        assert (run.seed, run.configuration) == (5, {"old": True})
        assert [(each.id, each.text) for each in documents(run)] == [("d", "text")]
        assert applied_number(run.database) == len(MIGRATIONS)
        names = [row["name"] for row in run.database.query("SELECT name FROM migrations ORDER BY number")]
        assert names == [migration.name for migration in MIGRATIONS]
        views = set(run.database.view_names())
        with small_run(tmp_path / "new") as new:
            assert views == set(new.database.view_names())
            assert run.database.schema == new.database.schema
    assert verify(tmp_path) == []


def test_a_failing_migration_leaves_nothing_behind(tmp_path: Path) -> None:
    def failing(database: Database) -> None:
        execute(database, "CREATE TABLE half (id TEXT) STRICT")
        execute(database, "UPDATE texts SET text = 'gone'")

    with small_run(tmp_path) as run:
        before = list(run.database.conn.iterdump())
        number = len(MIGRATIONS) + 1
        with pytest.raises(InvalidInput, match="append-only"):
            migrate(run.database, migrations=(*MIGRATIONS, Migration(number, "failing", failing)))
        assert list(run.database.conn.iterdump()) == before
        added = Migration(number, "nickname", lambda db: execute(db, "ALTER TABLE raters ADD COLUMN nickname TEXT"))
        migrate(run.database, migrations=(*MIGRATIONS, added))
        migrate(run.database, migrations=(*MIGRATIONS, added))
        assert "nickname" in run.database["raters"].columns_dict


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    with small_run(tmp_path) as run, run.transaction():
        execute(run.database, "INSERT INTO migrations VALUES (99, 'future', '2030-01-01T00:00:00Z')")
    with pytest.raises(SchemaTooNew, match="schema 99, this version knows up to"):
        Run.open(tmp_path)
    connection = sqlite3.connect(tmp_path / "run.db")
    assert connection.execute("SELECT max(number) FROM migrations").fetchone() == (99,)
    connection.close()


def test_two_migrations_with_one_number_are_refused() -> None:
    check_numbers(MIGRATIONS)
    with pytest.raises(RunError, match=r"got \[1, 2, 2\]"):
        check_numbers((*MIGRATIONS[:2], Migration(2, "another", lambda db: None)))
    with pytest.raises(RunError):
        check_numbers((MIGRATIONS[1],))


def test_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunMissing, match="there is no run at"):
        Run.open(tmp_path)
    file = tmp_path / "run.db"
    file.write_bytes(b"This is a letter to my grandmother, longer than a header." * 40)
    with pytest.raises(RunCorrupt, match="is not a database"):
        Run.open(tmp_path)
    file.unlink()
    other = sqlite3.connect(file)
    other.execute("CREATE TABLE bookmarks (address TEXT)")
    other.commit()
    other.close()
    with pytest.raises(RunCorrupt, match="not one of a run"):
        Run.create(tmp_path, seed=0, configuration={}, now=NOON)
    with pytest.raises(RunError, match="cannot open"):
        open_database(tmp_path / "no" / "folder.db", create=True)


def test_the_header_names_the_file_as_a_run(tmp_path: Path) -> None:
    small_run(tmp_path).close()
    # Bytes 68 to 71 of an SQLite file are its application id, big-endian.
    assert (tmp_path / "run.db").read_bytes()[68:72] == APPLICATION_ID.to_bytes(4, "big") == b"RRM1"
