"""A run: a folder with a database, the models it speaks of, and a lock for the process that works on it.

run.db    every text, judgement, step and decision (SQLite; beside it, while open, run.db-wal and run.db-shm)
models/   the artifacts, one folder each
work.lock held by the process that works on the run
"""

import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType

from sqlite_utils import Database

from rrm.errors import RunBusy, RunCorrupt, RunError, RunMissing
from rrm.store.canonical import canonical_json
from rrm.store.connection import open_database
from rrm.store.times import timestamp
from rrm.store.transaction import execute, rows, write

DATABASE_FILE = "run.db"
MODELS_FOLDER = "models"
LOCK_FILE = "work.lock"


class Run:
    """An open run. Use it from any thread: each gets a connection of its own."""

    def __init__(self, folder: Path, *, timeout: float = 30.0) -> None:
        """Open the run in `folder`; `Run.open` says the same in words."""
        self.folder = folder
        self._timeout = timeout
        self._local = threading.local()
        self._opened: list[Database] = []
        self._guard = threading.Lock()
        try:
            values = {row["key"]: json.loads(str(row["value"])) for row in rows(self.database, "SELECT * FROM run")}
            if "created_at" not in values:
                raise RunMissing(f"the run in {folder} was not made to its end; create it again in the same folder")
            self.seed: int = values["seed"]
            self.configuration: Mapping[str, object] = values["configuration"]
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, folder: Path, *, timeout: float = 30.0) -> "Run":
        """Open an existing run, to read or to write; `timeout` is how many seconds a write waits for another one.

        Raises RunMissing, RunCorrupt, SchemaTooNew.
        """
        return cls(folder, timeout=timeout)

    @classmethod
    def create(cls, folder: Path, *, seed: int, configuration: Mapping[str, object], now: str) -> "Run":
        """Make a new run in an empty or new folder; a creation that was killed half-way is completed.

        A folder that holds a run already -> RunError, and it is left as it is.
        """
        (folder / MODELS_FOLDER).mkdir(parents=True, exist_ok=True)
        database = open_database(folder / DATABASE_FILE, create=True)
        try:
            with write(database):
                if rows(database, "SELECT 1 FROM run WHERE key = 'created_at'"):
                    raise RunError(f"{folder} holds a run already; open it, or choose another folder")
                values = {"seed": seed, "configuration": dict(configuration), "created_at": timestamp(now)}
                for key, value in values.items():
                    execute(database, "INSERT INTO run (key, value) VALUES (?, ?)", (key, canonical_json(value)))
        finally:
            database.close()
        return cls(folder)

    @property
    def models(self) -> Path:
        """The folder of the artifacts."""
        return self.folder / MODELS_FOLDER

    @property
    def database(self) -> Database:
        """This thread's connection. SQLite forbids carrying one over a fork, so a child process opens its own."""
        if getattr(self._local, "process", None) != os.getpid():
            opened = open_database(self.folder / DATABASE_FILE, timeout=self._timeout)
            with self._guard:
                self._opened.append(opened)
            self._local.database, self._local.process = opened, os.getpid()
        database: Database = self._local.database
        return database

    def transaction(self) -> AbstractContextManager[None]:
        """Join all writes inside into one transaction: all of them are stored at its end, or none."""
        return write(self.database)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Be the one process that works on this run; a second one -> RunBusy at once.

        The kernel drops the lock with the process, however that ends, so none is ever left behind.
        """
        descriptor = os.open(self.folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
                raise RunBusy(
                    f"process {holder} works on the run in {self.folder}; wait for it to end, or stop it first"
                ) from error
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
            yield
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close the connections of all threads; use no record of this run for writing afterwards."""
        with self._guard:
            for database in self._opened:
                database.close()
            self._opened.clear()
            self._local = threading.local()

    def __enter__(self) -> "Run":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the run."""
        self.close()


def get_value(run: Run, key: str) -> object | None:
    """A setting of the run by its key, or None."""
    found = rows(run.database, "SELECT value FROM run WHERE key = ?", (key,))
    if not found:
        return None
    try:
        value: object = json.loads(str(found[0]["value"]))
    except ValueError as error:
        raise RunCorrupt(f"the run's value {key!r} is not JSON; restore the run folder from a copy") from error
    return value


def set_value(run: Run, key: str, value: object) -> None:
    """Store a setting of the run, replacing an earlier one; the keys that `Run.create` wrote -> RunError."""
    if key in ("seed", "configuration", "created_at", "chain_head"):
        raise RunError(f"the run's {key} is fixed when it is made; choose another key")
    with run.transaction():
        _put(run, key, value)


def _put(run: Run, key: str, value: object) -> None:
    execute(
        run.database,
        "INSERT INTO run (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, canonical_json(value)),
    )
