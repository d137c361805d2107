"""The tables, made and changed by named steps."""

import sqlite3
import time

# Applied in order, each once, each in its own transaction. Never edit one that was released: add the next.
MIGRATIONS: tuple[tuple[str, str], ...] = (
    (
        "0001_experiments",
        """
        CREATE TABLE clips (
            sha256 TEXT NOT NULL, owner TEXT NOT NULL, name TEXT NOT NULL, seconds REAL NOT NULL,
            PRIMARY KEY (owner, sha256)
        );
        CREATE TABLE experiments (
            id TEXT PRIMARY KEY, owner TEXT NOT NULL, created REAL NOT NULL,
            recipe TEXT NOT NULL, digest TEXT NOT NULL, sources TEXT NOT NULL,
            clip TEXT, reference TEXT, normalizer TEXT,
            note TEXT NOT NULL DEFAULT '', starred INTEGER NOT NULL DEFAULT 0
        );
        CREATE INDEX experiments_by_owner ON experiments (owner, created DESC);
        CREATE TABLE transcripts (
            experiment TEXT NOT NULL REFERENCES experiments (id) ON DELETE CASCADE, side TEXT NOT NULL,
            text TEXT NOT NULL, detail TEXT NOT NULL, seconds_wall REAL, generation INTEGER, wer REAL, cer REAL,
            PRIMARY KEY (experiment, side)
        );
        """,
    ),
    (
        "0002_votes",
        """
        CREATE TABLE votes (
            id TEXT PRIMARY KEY, owner TEXT NOT NULL, created REAL NOT NULL, clip TEXT NOT NULL,
            left_name TEXT NOT NULL, right_name TEXT NOT NULL, choice TEXT NOT NULL, seconds REAL
        );
        CREATE INDEX votes_by_owner ON votes (owner, created);
        """,
    ),
    (
        "0003_jobs",
        """
        CREATE TABLE jobs (
            id TEXT PRIMARY KEY, owner TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL, kind TEXT NOT NULL,
            state TEXT NOT NULL, payload TEXT NOT NULL, result TEXT, error TEXT
        );
        CREATE INDEX jobs_by_owner ON jobs (owner, created DESC);
        CREATE INDEX jobs_by_state ON jobs (state, created);
        """,
    ),
    ("0004_ballots", "ALTER TABLE votes ADD COLUMN ballot TEXT;"),
    ("0005_attempts", "ALTER TABLE jobs ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;"),
)


class NewerSchema(sqlite3.OperationalError):
    """The file was written by a newer version of this program: it is left alone, not set aside."""


def applied(db: sqlite3.Connection) -> list[str]:
    """Names of the steps that this file has been through, in their order."""
    tables = db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migrations'").fetchall()
    return [name for (name,) in db.execute("SELECT name FROM migrations ORDER BY name")] if tables else []


def migrate(db: sqlite3.Connection) -> list[str]:
    """Takes the steps that are missing, each in a transaction of its own; returns their names. Raises NewerSchema."""
    done = set(applied(db))
    if unknown := sorted(done - {name for name, _ in MIGRATIONS}):
        raise NewerSchema(f"written by a newer version of whisper-merge, which added {', '.join(unknown)}")
    db.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied REAL NOT NULL)")
    missing = [(name, script) for name, script in MIGRATIONS if name not in done]
    for name, script in missing:
        db.execute("BEGIN IMMEDIATE")
        try:
            for statement in filter(str.strip, script.split(";")):
                db.execute(statement)
            db.execute("INSERT INTO migrations (name, applied) VALUES (?, ?)", (name, time.time()))
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
    return [name for name, _ in missing]
