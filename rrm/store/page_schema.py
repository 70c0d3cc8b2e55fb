"""The tables that the page needs: what still waits to be judged, people and their rights, training sessions.

What waits is derived from comparisons and leases, and is kept so that the next comparison is found at once among a
hundred thousand. Who was left out of fits is evidence, and so append-only; passwords are kept as salted hashes only.
"""

from rrm.store.schema import append_only

PAGE_TABLES = (
    """CREATE TABLE waiting (
        comparison_id TEXT PRIMARY KEY REFERENCES comparisons,
        level INTEGER NOT NULL,
        round INTEGER NOT NULL,
        purpose TEXT NOT NULL,
        place REAL NOT NULL,
        reason TEXT,
        raters_planned INTEGER NOT NULL,
        raters_missing INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE accounts (
        rater_id TEXT PRIMARY KEY REFERENCES raters,
        role TEXT NOT NULL CHECK (role IN ('rater', 'lead')),
        password TEXT NOT NULL,
        active INTEGER NOT NULL CHECK (active IN (0, 1)),
        created_at TEXT NOT NULL,
        changed_at TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE sign_ins (
        token_sha256 TEXT PRIMARY KEY,
        rater_id TEXT NOT NULL REFERENCES accounts,
        created_at TEXT NOT NULL,
        expires_at TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE wrong_passwords (
        name TEXT PRIMARY KEY,
        failures INTEGER NOT NULL,
        wait_until TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE exclusions (
        position INTEGER PRIMARY KEY,
        rater_id TEXT NOT NULL REFERENCES raters,
        left_out INTEGER NOT NULL CHECK (left_out IN (0, 1)),
        reason TEXT NOT NULL,
        decided_by TEXT NOT NULL,
        decided_at TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE reveals (
        lease_id TEXT PRIMARY KEY REFERENCES leases,
        revealed_at TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE hands (
        lease_id TEXT PRIMARY KEY REFERENCES leases,
        tab TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE sessions (
        position INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL CHECK (kind IN ('reward_model', 'round')),
        level INTEGER NOT NULL CHECK (level >= 0),
        round INTEGER NOT NULL CHECK (round >= 0),
        settings TEXT NOT NULL CHECK (json_valid(settings)),
        status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'stopped', 'finished', 'failed')),
        stop_requested INTEGER NOT NULL DEFAULT 0 CHECK (stop_requested IN (0, 1)),
        attempts INTEGER NOT NULL DEFAULT 0,
        message TEXT NOT NULL DEFAULT '',
        done INTEGER NOT NULL DEFAULT 0,
        total INTEGER,
        started_by TEXT NOT NULL,
        created_at TEXT NOT NULL,
        started_at TEXT,
        heartbeat_at TEXT,
        finished_at TEXT,
        seconds REAL NOT NULL DEFAULT 0,
        error TEXT,
        result TEXT CHECK (result IS NULL OR json_valid(result))
    ) STRICT""",
    """CREATE TABLE session_points (
        session_id TEXT NOT NULL REFERENCES sessions (id),
        position INTEGER NOT NULL,
        record TEXT NOT NULL CHECK (json_valid(record)),
        PRIMARY KEY (session_id, position)
    ) STRICT, WITHOUT ROWID""",
)

PAGE_INDEXES = (
    "CREATE INDEX waiting_in_order ON waiting (level, round, place, comparison_id) WHERE raters_missing > 0",
    "CREATE INDEX waiting_counted ON waiting (level, round, purpose, raters_planned, raters_missing)",
    "CREATE INDEX leases_answered ON leases (rater_id, released_at) WHERE state = 'answered'",
    "CREATE INDEX leases_repeated ON leases (comparison_id) WHERE repeat = 1 AND state = 'answered'",
    "CREATE INDEX leases_by_rater ON leases (rater_id, state, expires_at)",
    "CREATE INDEX leases_in_time ON leases (rater_id, created_at)",
    "CREATE INDEX leases_by_comparison ON leases (comparison_id, repeat, state)",
    "CREATE INDEX sign_ins_by_rater ON sign_ins (rater_id)",
    "CREATE INDEX judgements_by_time ON judgements (rater_id, decided_at)",
)

PAGE_TRIGGERS = (
    *append_only("exclusions", "position = NEW.position"),
    *append_only("reveals", "lease_id = NEW.lease_id"),
)

LEFT_OUT_RATERS = """CREATE VIEW left_out_raters AS
    SELECT rater_id FROM exclusions AS decision WHERE left_out = 1 AND NOT EXISTS (
        SELECT 1 FROM exclusions AS later
        WHERE later.rater_id = decision.rater_id AND later.position > decision.position)"""

FILL_WAITING = """
    INSERT INTO waiting (comparison_id, level, round, purpose, place, raters_planned, raters_missing)
    SELECT comparison.id, comparison.level, comparison.round, comparison.purpose,
        (comparison.position + 0.5) / (1.0 + (
            SELECT max(other.position) FROM comparisons AS other WHERE other.level = comparison.level
                AND other.round = comparison.round AND other.purpose = comparison.purpose)),
        comparison.raters_planned, comparison.raters_planned - (
            SELECT count(*) FROM leases
            WHERE leases.comparison_id = comparison.id AND repeat = 0 AND state = 'answered'
                AND rater_id NOT IN (SELECT rater_id FROM left_out_raters))
    FROM comparisons AS comparison WHERE true
    ON CONFLICT (comparison_id) DO NOTHING"""
"""Fills the table for comparisons that are not in it. The place is a share of its purpose's comparisons, so that the
purposes of a round are asked evenly mixed."""
