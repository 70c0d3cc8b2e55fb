"""What is evidence cannot be changed through SQL; what was changed by force is found and named."""

import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from reward_models.errors import InvalidInput
from rrm.errors import RunCorrupt
from rrm.judging.queue import answer_many, draw_many
from rrm.store import Answer, ArtifactKind, Choice, Purpose, Run, Stage, register_artifact, verify
from rrm.store.transaction import execute
from tests.rrm.store_samples import NOON, small_run


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A run with five judgements j0 to j4, and a model that was fitted to them."""
    with small_run(tmp_path, comparisons=5) as run:
        leased = draw_many(run, rater_id="ann", level=0, round=0, purpose=Purpose.TRAIN, count=5, now=NOON)
        given = [
            Answer(each.lease_id, Stage.ALONE, Choice.FIRST, judgement_id=f"j{n}") for n, each in enumerate(leased)
        ]
        judgements = answer_many(run, given, now=NOON)
        (run.models / "reward").mkdir()
        (run.models / "reward" / "config.json").write_text("{}")
        (run.models / "reward" / "weights.safetensors").write_bytes(b"weights")
        register_artifact(
            run,
            id="reward-0-0",
            kind=ArtifactKind.REWARD_MODEL,
            level=0,
            round=0,
            folder="models/reward",
            settings={},
            judgements=judgements,
            now=NOON,
        )
    return tmp_path


def by_force(folder: Path, *statements: str) -> None:
    """Run SQL as somebody with the sqlite3 shell would, after dropping every trigger."""
    connection = sqlite3.connect(folder / "run.db")
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


TABLES = ("texts", "documents", "completions", "comparisons", "judgements", "artifacts", "artifact_judgements")


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "change",
    ["UPDATE {} SET {} = {}", "DELETE FROM {}", "INSERT OR REPLACE INTO {} SELECT * FROM {} LIMIT 1"],
    ids=["update", "delete", "replace"],
)
def test_triggers_refuse_to_change_evidence(judged: Path, table: str, change: str) -> None:
    with Run.open(judged) as run:
        column = next(iter(run.database[table].columns)).name
        statement = change.format(table, column if "UPDATE" in change else table, column)
        with pytest.raises(InvalidInput, match=f"{table} is append-only"):
            execute(run.database, statement)
    # A plain connection does not have the settings of ours; the triggers are in the file.
    connection = sqlite3.connect(judged / "run.db")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)
    connection.close()


def test_a_whole_run_has_no_findings(judged: Path) -> None:
    assert verify(judged) == []


def test_the_hash_of_the_chain_by_hand(judged: Path) -> None:
    # hash = sha256(previous hash + canonical JSON of the other columns), the first one after 64 zeros.
    connection = sqlite3.connect(judged / "run.db")
    connection.row_factory = sqlite3.Row
    row = dict(connection.execute("SELECT * FROM judgements WHERE position = 1").fetchone())
    connection.close()
    expected, previous = row.pop("hash"), row.pop("previous_hash")
    written = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert previous == "0" * 64
    assert hashlib.sha256((previous + written).encode()).hexdigest() == expected


def rehashed(position: int) -> Callable[[Path], None]:
    """Change an answer and give it a fitting hash of its own, without going on to those after it."""

    def change(folder: Path) -> None:
        from rrm.store.judgements import chain_hash

        connection = sqlite3.connect(folder / "run.db")
        connection.row_factory = sqlite3.Row
        row = dict(connection.execute("SELECT * FROM judgements WHERE position = ?", (position,)).fetchone())
        connection.close()
        row["choice"] = "second"
        by_force(
            folder, f"UPDATE judgements SET choice = 'second', hash = '{chain_hash(row)}' WHERE position = {position}"
        )

    return change


def sql(*statements: str) -> Callable[[Path], None]:
    return lambda folder: by_force(folder, *statements)


@pytest.mark.parametrize(
    ("damage", "kind", "where", "message"),
    [
        (sql("UPDATE judgements SET choice = 'second' WHERE id = 'j2'"), "judgement", "j2", "it was changed"),
        (sql("UPDATE judgements SET decided_at = '1999' WHERE id = 'j0'"), "judgement", "j0", "it was changed"),
        (rehashed(3), "judgement", "j3", "does not follow"),
        (
            sql("DELETE FROM artifact_judgements", "DELETE FROM judgements WHERE id = 'j1'"),
            "judgement",
            "j2",
            "missing",
        ),
        (
            sql("DELETE FROM artifact_judgements", "DELETE FROM judgements WHERE id = 'j4'"),
            "judgement",
            "position 5",
            "ends at position 4, but the run wrote up to 5",
        ),
        (
            sql("UPDATE comparisons SET second_completion_id = 'c3-0', first_completion_id = 'c3-1' WHERE id = 'p3'"),
            "judgement",
            "j3",
            "not the one that was shown",
        ),
        (
            sql("UPDATE leases SET first_on_left = NOT first_on_left WHERE comparison_id = 'p1'"),
            "judgement",
            "j1",
            "not the one that was shown",
        ),
        (sql("UPDATE artifacts SET judgement_digest = 'x'"), "artifact", "reward-0-0", "do not have their digest"),
        (sql("DELETE FROM artifact_judgements WHERE judgement_id = 'j2'"), "artifact", "reward-0-0", "digest"),
        (sql("DELETE FROM completions WHERE id = 'c4-0'"), "database", "comparisons row 5", "does not exist"),
        (
            lambda folder: (folder / "models/reward/config.json").unlink(),
            "file",
            "models/reward/config.json",
            "is missing",
        ),
        (
            lambda folder: (folder / "models/reward/weights.safetensors").write_bytes(b"Weights"),
            "file",
            "models/reward/weights.safetensors",
            "was changed",
        ),
    ],
)
def test_the_first_wrong_thing_is_named(
    judged: Path, damage: Callable[[Path], object], kind: str, where: str, message: str
) -> None:
    damage(judged)
    first = verify(judged)[0]
    assert (first.kind, first.where) == (kind, where)
    assert message in first.message


def test_a_lease_that_claims_an_answer_is_named(judged: Path) -> None:
    with Run.open(judged) as run, run.transaction():
        execute(run.database, "UPDATE leases SET state = 'open' WHERE comparison_id = 'p2'")
    assert "is open, but has a final answer" in verify(judged)[0].message


def test_a_changed_text_is_named(judged: Path) -> None:
    digest = hashlib.sha256(b"Brief 2, 1").hexdigest()
    by_force(judged, f"UPDATE texts SET text = 'Brief 2, 0' WHERE sha256 = '{digest}'")
    assert [(finding.kind, finding.where) for finding in verify(judged)] == [("text", digest)]


def test_a_damaged_page_is_named(judged: Path) -> None:
    with Run.open(judged) as run:
        run.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page = run.database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'texts'").fetchone()[0]
    file = judged / "run.db"
    content = bytearray(file.read_bytes())
    content[4096 * (page - 1) : 4096 * page] = b"\xff" * 4096
    file.write_bytes(content)
    try:
        findings = verify(judged)
    except RunCorrupt as error:
        assert "damaged" in str(error)  # SQLite may refuse even to look
    else:
        assert findings[0].kind == "database"
