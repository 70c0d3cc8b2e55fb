"""The tables of a run's database, as its first migration makes them, and the views for people.

Plain tables, JSON in text columns, times as ISO-8601 text in UTC: the file makes sense in the sqlite3 shell and in
Datasette without this package. A text is stored once, under its sha256. What is evidence is append-only: triggers
refuse to change, delete or replace a row.
"""

_PLACE = """level INTEGER NOT NULL CHECK (level >= 0),
        round INTEGER NOT NULL CHECK (round >= 0)"""

TABLES = (
    "CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL CHECK (json_valid(value))) STRICT",
    "CREATE TABLE texts (sha256 TEXT PRIMARY KEY CHECK (length(sha256) = 64), text TEXT NOT NULL) STRICT",
    """CREATE TABLE documents (
        id TEXT PRIMARY KEY,
        task TEXT NOT NULL,
        level INTEGER NOT NULL CHECK (level >= 0),
        split TEXT NOT NULL,
        position INTEGER NOT NULL,
        title TEXT NOT NULL,
        text_sha256 TEXT NOT NULL REFERENCES texts,
        parent_id TEXT REFERENCES documents DEFERRABLE INITIALLY DEFERRED
    ) STRICT""",
    f"""CREATE TABLE completions (
        id TEXT PRIMARY KEY,
        document_id TEXT NOT NULL REFERENCES documents,
        {_PLACE},
        agent_id TEXT NOT NULL,
        text_sha256 TEXT NOT NULL REFERENCES texts
    ) STRICT""",
    f"""CREATE TABLE comparisons (
        id TEXT PRIMARY KEY,
        {_PLACE},
        purpose TEXT NOT NULL CHECK (purpose IN ('train', 'validation', 'promotion', 'test')),
        document_id TEXT NOT NULL REFERENCES documents,
        prompt_sha256 TEXT NOT NULL REFERENCES texts,
        first_completion_id TEXT NOT NULL REFERENCES completions,
        second_completion_id TEXT NOT NULL REFERENCES completions,
        reason TEXT NOT NULL,
        position INTEGER NOT NULL,
        aids_planned INTEGER NOT NULL CHECK (aids_planned IN (0, 1)),
        raters_planned INTEGER NOT NULL CHECK (raters_planned >= 1)
    ) STRICT""",
    f"""CREATE TABLE aids (
        id TEXT PRIMARY KEY,
        {_PLACE},
        agent_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        text_sha256 TEXT NOT NULL REFERENCES texts,
        document_id TEXT REFERENCES documents,
        comparison_id TEXT REFERENCES comparisons,
        part_position INTEGER,
        CHECK ((document_id IS NULL) != (comparison_id IS NULL))
    ) STRICT""",
    """CREATE TABLE raters (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('person', 'simulated')),
        settings TEXT NOT NULL CHECK (json_valid(settings))
    ) STRICT""",
    """CREATE TABLE leases (
        id TEXT PRIMARY KEY,
        comparison_id TEXT NOT NULL REFERENCES comparisons,
        rater_id TEXT NOT NULL REFERENCES raters,
        repeat INTEGER NOT NULL CHECK (repeat >= 0),
        first_on_left INTEGER NOT NULL CHECK (first_on_left IN (0, 1)),
        state TEXT NOT NULL CHECK (state IN ('open', 'answered', 'returned')),
        created_at TEXT NOT NULL,
        expires_at TEXT NOT NULL,
        released_at TEXT,
        UNIQUE (comparison_id, rater_id, repeat)
    ) STRICT""",
    """CREATE TABLE judgements (
        position INTEGER PRIMARY KEY CHECK (position >= 1),
        id TEXT NOT NULL UNIQUE,
        lease_id TEXT NOT NULL REFERENCES leases,
        comparison_id TEXT NOT NULL REFERENCES comparisons,
        rater_id TEXT NOT NULL REFERENCES raters,
        stage TEXT NOT NULL CHECK (stage IN ('alone', 'aided')),
        choice TEXT NOT NULL
            CHECK (choice IN ('first', 'second', 'tie', 'both_bad', 'cannot_tell', 'skip', 'undo')),
        comment TEXT NOT NULL,
        aids_seen INTEGER NOT NULL CHECK (aids_seen IN (0, 1)),
        repeat INTEGER NOT NULL,
        details TEXT NOT NULL CHECK (json_valid(details)),
        shown_digest TEXT NOT NULL,
        shown_at TEXT,
        decided_at TEXT NOT NULL,
        supersedes TEXT REFERENCES judgements (id),
        previous_hash TEXT NOT NULL,
        hash TEXT NOT NULL UNIQUE,
        CHECK (choice != 'undo' OR supersedes IS NOT NULL)
    ) STRICT""",
    f"""CREATE TABLE artifacts (
        position INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL CHECK (kind IN ('reward_model', 'agent')),
        {_PLACE},
        folder TEXT NOT NULL,
        files TEXT NOT NULL CHECK (json_valid(files)),
        settings TEXT NOT NULL CHECK (json_valid(settings)),
        parents TEXT NOT NULL CHECK (json_valid(parents)),
        judgement_digest TEXT,
        created_at TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE artifact_judgements (
        artifact_id TEXT NOT NULL REFERENCES artifacts (id),
        judgement_id TEXT NOT NULL REFERENCES judgements (id),
        PRIMARY KEY (artifact_id, judgement_id)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE decisions (
        position INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        artifact_id TEXT NOT NULL REFERENCES artifacts (id),
        promoted INTEGER NOT NULL CHECK (promoted IN (0, 1)),
        record TEXT NOT NULL CHECK (json_valid(record)),
        decided_at TEXT NOT NULL
    ) STRICT""",
    f"""CREATE TABLE steps (
        key TEXT PRIMARY KEY,
        {_PLACE},
        name TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('running', 'finished', 'failed')),
        attempts INTEGER NOT NULL,
        started_at TEXT NOT NULL,
        heartbeat_at TEXT NOT NULL,
        finished_at TEXT,
        error TEXT,
        result TEXT CHECK (result IS NULL OR json_valid(result))
    ) STRICT""",
    """CREATE TABLE progress (
        step_key TEXT NOT NULL REFERENCES steps,
        position INTEGER NOT NULL,
        record TEXT NOT NULL CHECK (json_valid(record)),
        PRIMARY KEY (step_key, position)
    ) STRICT, WITHOUT ROWID""",
)

INDEXES = (
    "CREATE INDEX documents_by_level ON documents (level, split, position)",
    "CREATE INDEX documents_by_parent ON documents (parent_id, position)",
    "CREATE INDEX completions_by_round ON completions (level, round, agent_id)",
    "CREATE INDEX comparisons_by_round ON comparisons (level, round, purpose, position)",
    "CREATE INDEX aids_by_document ON aids (document_id, level, round)",
    "CREATE INDEX aids_by_comparison ON aids (comparison_id)",
    "CREATE INDEX judgements_by_lease ON judgements (lease_id)",
    "CREATE INDEX judgements_by_comparison ON judgements (comparison_id)",
    "CREATE INDEX judgements_by_rater ON judgements (rater_id, position)",
    "CREATE INDEX judgements_by_superseded ON judgements (supersedes)",
)

# A row counts until another takes it back or replaces it; a replacement that was itself taken back no longer counts
# against it. An undo cannot be undone (the answer is given again instead), so two steps are enough.
LIVE_JUDGEMENTS = """CREATE VIEW live_judgements AS
    SELECT * FROM judgements AS answer
    WHERE answer.choice != 'undo' AND NOT EXISTS (
        SELECT 1 FROM judgements AS newer
        WHERE newer.supersedes = answer.id AND (newer.choice = 'undo' OR NOT EXISTS (
            SELECT 1 FROM judgements AS undoing WHERE undoing.supersedes = newer.id AND undoing.choice = 'undo')))"""

_KEYS = {
    "texts": "sha256 = NEW.sha256",
    "documents": "id = NEW.id",
    "completions": "id = NEW.id",
    "comparisons": "id = NEW.id",
    "aids": "id = NEW.id",
    "judgements": "id = NEW.id OR position = NEW.position",
    "artifacts": "id = NEW.id OR position = NEW.position",
    "artifact_judgements": "artifact_id = NEW.artifact_id AND judgement_id = NEW.judgement_id",
    "decisions": "id = NEW.id OR position = NEW.position",
}


def append_only(table: str, same_key: str) -> tuple[str, str, str]:
    """Triggers that refuse to change, delete or replace a row of a table; `same_key` says which row a new one is."""
    # INSERT OR REPLACE deletes without asking a delete trigger unless recursive_triggers is on, hence the third one.
    refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    return (
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {refuse}",
        f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {refuse}",
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same_key}) {refuse}",
    )


TRIGGERS = tuple(statement for table, key in _KEYS.items() for statement in append_only(table, key))

READABLE_VIEWS = (
    """CREATE VIEW comparisons_readable AS
    SELECT comparison.id, comparison.level, comparison.round, comparison.purpose, document.title,
           prompt.text AS prompt, first_text.text AS first, second_text.text AS second,
           first.agent_id AS first_agent, second.agent_id AS second_agent, comparison.reason, comparison.aids_planned
    FROM comparisons AS comparison
    JOIN documents AS document ON document.id = comparison.document_id
    JOIN texts AS prompt ON prompt.sha256 = comparison.prompt_sha256
    JOIN completions AS first ON first.id = comparison.first_completion_id
    JOIN completions AS second ON second.id = comparison.second_completion_id
    JOIN texts AS first_text ON first_text.sha256 = first.text_sha256
    JOIN texts AS second_text ON second_text.sha256 = second.text_sha256
    ORDER BY comparison.level, comparison.round, comparison.position""",
    """CREATE VIEW judgements_readable AS
    SELECT judgement.position, comparison.level, comparison.round, comparison.purpose, comparison.title,
           comparison.prompt, comparison.first, comparison.second, rater.name AS rater, judgement.stage,
           judgement.choice, judgement.comment, lease.first_on_left, judgement.repeat, judgement.aids_seen,
           judgement.decided_at, judgement.id IN (SELECT id FROM live_judgements) AS live, judgement.id
    FROM judgements AS judgement
    JOIN comparisons_readable AS comparison ON comparison.id = judgement.comparison_id
    JOIN raters AS rater ON rater.id = judgement.rater_id
    JOIN leases AS lease ON lease.id = judgement.lease_id
    ORDER BY judgement.position""",
    """CREATE VIEW aids_readable AS
    SELECT aid.id, aid.level, aid.round, aid.agent_id, aid.kind, aid.document_id, aid.comparison_id,
           aid.part_position, texts.text
    FROM aids AS aid JOIN texts ON texts.sha256 = aid.text_sha256""",
    """CREATE VIEW promotions_readable AS
    SELECT decision.position, artifact.kind, artifact.level, artifact.round, artifact.id AS artifact,
           decision.promoted, decision.record, decision.decided_at, artifact.folder
    FROM decisions AS decision JOIN artifacts AS artifact ON artifact.id = decision.artifact_id
    ORDER BY decision.position""",
)

PART_BRIEFS = (
    """CREATE TABLE part_briefs (
        id TEXT PRIMARY KEY,
        document_id TEXT NOT NULL,
        agent_id TEXT NOT NULL,
        part_position INTEGER NOT NULL CHECK (part_position >= 0),
        text_sha256 TEXT NOT NULL REFERENCES texts,
        UNIQUE (document_id, agent_id, part_position)
    ) STRICT""",
    *append_only("part_briefs", "id = NEW.id"),
)
"""What agents wrote of the parts of documents that are read by their parts."""
