"""The database of a run for others: without accounts, with a search over all texts and a word on each table."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlite_utils import Database

from rrm.store.run import DATABASE_FILE, Run

PRIVATE = ("accounts", "sign_ins", "wrong_passwords", "hands")
"""Tables that are nobody else's business."""

TABLES = {
    "judgements_readable": "Every answer with the texts that were compared, in the order in which they were given.",
    "comparisons_readable": "Every comparison with its texts, who wrote them, and why it was asked.",
    "aids_readable": "What assistants showed to raters.",
    "promotions_readable": "Which agent replaced which, and the figures it rested on.",
    "judgements": "The answers as a chain of hashes: nothing can be changed without a trace.",
    "live_judgements": "The answers that count: not taken back, not replaced.",
    "texts": "Every text once, by its sha256; with full-text search.",
    "artifacts": "Reward models and agents, with the digests of their files.",
    "artifact_judgements": "Which judgements each reward model was fitted to.",
}


def write_database(run: Run, path: Path) -> None:
    """Write a copy of the run's database with its `metadata.json` beside it: `datasette run.db -m metadata.json`.

    The copy is one moment of the run, even while somebody judges. Rater names are in it; sign-ins and passwords are
    not, not even in pages that were freed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    run.database.conn.execute("VACUUM INTO ?", (str(path),))
    with closing(sqlite3.connect(path)) as connection:
        _close_off(connection)
        for name in PRIVATE:
            connection.execute(f"DROP TABLE IF EXISTS {name}")
        Database(connection).table("texts").enable_fts(["text"], tokenize="porter")
        connection.commit()
        connection.execute("VACUUM")
    tables = {name: {"description": words} for name, words in TABLES.items()}
    metadata = {"title": f"rrm run {run.folder.resolve().name}", "databases": {path.stem: {"tables": tables}}}
    path.with_name("metadata.json").write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


@contextmanager
def one_moment(run: Run, folder: Path) -> Iterator[Run]:
    """Write the database into a folder, and give what it holds to read: it stays as it is while people judge on.

    Nobody who judges waits for the reader. There are no models beside it; those lie where the run itself is.
    """
    write_database(run, folder / DATABASE_FILE)
    with Run.open(folder) as moment:
        yield moment
    with closing(sqlite3.connect(folder / DATABASE_FILE)) as connection:
        _close_off(connection)


def _close_off(connection: sqlite3.Connection) -> None:
    """What stays readable must not wait for a writer that never comes, nor need files beside it."""
    connection.execute("PRAGMA journal_mode = DELETE")
