"""The history: experiments, clips, transcripts, scores, votes and jobs in one SQLite file. The only user of sqlite3.

Longer than most files: one table of migrations and one class with a short method per thing that is stored.

Every row belongs to an owner, and every read and write names the owner: there is no call that crosses owners but the
worker's own (`recover_jobs`, `pending_jobs`). One connection writes, behind a lock, with a rollback journal: SQLite
before 3.51.3 can lose committed pages when a WAL is reset. `synchronous=FULL`: a row that was acknowledged survives a
power cut.
"""

import json
import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from merger.bilingual import Text, byte_size
from merger.errors import DiskFull

Side = Literal["a", "merged", "b", "base"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
BUSY_SECONDS = 30.0  # how long a writer waits for a lock that another process holds

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
)


@dataclass(frozen=True)
class StoredTranscript:
    """One side of an experiment; `detail` is free JSON (word times, segments, badges)."""

    text: str
    seconds_wall: float | None = None
    generation: int | None = None
    wer: float | None = None
    cer: float | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredClip:
    sha256: str
    name: str
    seconds: float


@dataclass(frozen=True)
class Experiment:
    """A recipe, applied to sources, heard on a clip. `sources` maps "a", "b", "base" to {"name", "fingerprint", …}."""

    id: str
    created: float  # Unix seconds
    recipe: dict[str, Any]
    digest: str
    sources: dict[str, Any]
    clip: StoredClip | None
    reference: str | None
    normalizer: str | None
    note: str
    starred: bool
    transcripts: dict[str, StoredTranscript]


@dataclass(frozen=True)
class Vote:
    """A blind choice between two named candidates; `choice`: "left", "right", "tie" or "both_bad".

    One ballot over three texts says something about several pairs: these share a `ballot`; None: it stands alone.
    """

    clip: str
    left_name: str
    right_name: str
    choice: Literal["left", "right", "tie", "both_bad"]
    seconds: float | None = None
    ballot: str | None = None


@dataclass(frozen=True)
class Job:
    id: str
    owner: str
    created: float
    updated: float
    kind: str
    state: JobState
    payload: dict[str, Any]
    result: dict[str, Any] | None
    error: dict[str, Any] | None


class Store:
    """Opens (or makes) the database at `path`; `":memory:"` keeps it in memory.

    A damaged file is renamed to `<name>.corrupt-<time>` and a new one is begun; `quarantined` then holds the renamed
    path, so that the caller can say so. Safe to call from several threads.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.quarantined: Path | None = None
        self._lock = threading.RLock()
        if str(path) != ":memory:":
            self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            # A locked or read-only file is not a damaged one: never move it away.
            if isinstance(error, sqlite3.OperationalError) or not self.path.exists():
                raise
            self.quarantined = self.path.with_name(f"{self.path.name}.corrupt-{time.strftime('%Y%m%d-%H%M%S')}")
            self.path.rename(self.quarantined)
            self._connection = self._open()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # --- experiments -------------------------------------------------------------------------------------------------

    def add_experiment(
        self,
        owner: str,
        *,
        recipe: Mapping[str, Any],
        digest: str,
        sources: Mapping[str, Any],
        transcripts: Mapping[str, StoredTranscript],
        clip: StoredClip | None = None,
        reference: str | None = None,
        normalizer: str | None = None,
        note: str = "",
    ) -> str:
        """Record one experiment whole, in one transaction; returns its id."""
        key = uuid.uuid4().hex
        with self._transaction() as db:
            if clip is not None:
                db.execute(
                    "INSERT OR REPLACE INTO clips (sha256, owner, name, seconds) VALUES (?, ?, ?, ?)",
                    (clip.sha256, owner, clip.name, clip.seconds),
                )
            db.execute(
                "INSERT INTO experiments"
                " (id, owner, created, recipe, digest, sources, clip, reference, normalizer, note)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    key, owner, time.time(), _dump(recipe), digest, _dump(sources),
                    clip.sha256 if clip else None, reference, normalizer, note,
                ),
            )  # fmt: skip
            db.executemany(
                "INSERT INTO transcripts (experiment, side, text, detail, seconds_wall, generation, wer, cer)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (key, side, t.text, _dump(t.detail), t.seconds_wall, t.generation, t.wer, t.cer)
                    for side, t in transcripts.items()
                ],
            )
        return key

    def experiment(self, owner: str, key: str) -> Experiment | None:
        rows = self._read(_EXPERIMENTS + " AND e.id = ?", (owner, key))
        return self._experiment(rows[0]) if rows else None

    def experiments(
        self, owner: str, *, starred: bool | None = None, search: str = "", limit: int = 100, offset: int = 0
    ) -> list[Experiment]:
        """Newest first; `search` is looked for in notes, clip names, references and transcripts, as plain text."""
        where, values = _EXPERIMENTS, [owner]
        if starred is not None:
            where, values = where + " AND e.starred = ?", [*values, int(starred)]  # type: ignore[list-item]
        if search:
            where += (
                " AND (instr(e.note, ?) OR instr(coalesce(c.name, ''), ?) OR instr(coalesce(e.reference, ''), ?)"
                " OR EXISTS (SELECT 1 FROM transcripts t WHERE t.experiment = e.id AND instr(t.text, ?)))"
            )
            values = [*values, *[search] * 4]
        rows = self._read(where + " ORDER BY e.created DESC, e.rowid DESC LIMIT ? OFFSET ?", (*values, limit, offset))
        return [self._experiment(row) for row in rows]

    def annotate(self, owner: str, key: str, *, note: str | None = None, starred: bool | None = None) -> bool:
        """Change an experiment's note or star; False when the owner has no such experiment."""
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE experiments SET note = coalesce(?, note), starred = coalesce(?, starred)"
                " WHERE owner = ? AND id = ?",
                (note, None if starred is None else int(starred), owner, key),
            ).rowcount
        return changed == 1

    def delete_experiment(self, owner: str, key: str) -> bool:
        with self._transaction() as db:
            return db.execute("DELETE FROM experiments WHERE owner = ? AND id = ?", (owner, key)).rowcount == 1

    # --- blind votes -------------------------------------------------------------------------------------------------

    def add_vote(self, owner: str, vote: Vote) -> str:
        key = uuid.uuid4().hex
        with self._transaction() as db:
            db.execute(
                "INSERT INTO votes (id, owner, created, clip, left_name, right_name, choice, seconds, ballot)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (key, owner, time.time(), *astuple(vote)),
            )
        return key

    def votes(self, owner: str) -> list[Vote]:
        """Oldest first."""
        rows = self._read("SELECT * FROM votes WHERE owner = ? ORDER BY created, rowid", (owner,))
        return [Vote(*(row[column.name] for column in fields(Vote))) for row in rows]

    # --- jobs --------------------------------------------------------------------------------------------------------

    def add_job(self, owner: str, kind: str, payload: Mapping[str, Any], key: str | None = None) -> str:
        key, now = key or uuid.uuid4().hex, time.time()
        with self._transaction() as db:
            db.execute(
                "INSERT INTO jobs (id, owner, created, updated, kind, state, payload)"
                " VALUES (?, ?, ?, ?, ?, 'queued', ?)",
                (key, owner, now, now, kind, _dump(payload)),
            )
        return key

    def update_job(
        self,
        key: str,
        state: JobState,
        *,
        result: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> None:
        """Called by the worker, which owns every job."""
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET state = ?, updated = ?, result = coalesce(?, result), error = coalesce(?, error)"
                " WHERE id = ?",
                (state, time.time(), _dump_or_none(result), _dump_or_none(error), key),
            )

    def job(self, owner: str, key: str) -> Job | None:
        rows = self._read("SELECT * FROM jobs WHERE owner = ? AND id = ?", (owner, key))
        return _job(rows[0]) if rows else None

    def jobs(self, owner: str, limit: int = 50) -> list[Job]:
        """Newest first."""
        rows = self._read(
            "SELECT * FROM jobs WHERE owner = ? ORDER BY created DESC, rowid DESC LIMIT ?", (owner, limit)
        )
        return [_job(row) for row in rows]

    def pending_jobs(self) -> list[Job]:
        """Queued jobs of all owners, oldest first: the worker takes them up again after a restart."""
        return [
            _job(row) for row in self._read("SELECT * FROM jobs WHERE state = 'queued' ORDER BY created, rowid", ())
        ]

    def recover_jobs(self, error: Mapping[str, Any]) -> int:
        """At start: jobs that a dead process left as running become failed with `error`; returns how many."""
        with self._transaction() as db:
            return db.execute(
                "UPDATE jobs SET state = 'failed', updated = ?, error = ? WHERE state = 'running'",
                (time.time(), _dump(error)),
            ).rowcount

    # --- SQLite ------------------------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA journal_mode = DELETE")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            if (verdict := db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(verdict)
            _migrate(db)
        except BaseException:
            db.close()
            raise
        return db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:  # SQLite rolls back by itself when the disk is full
                    self._connection.execute("ROLLBACK")
                if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                    raise self._disk_full() from error
                raise

    def _disk_full(self) -> DiskFull:
        free = 0 if self.path.name == ":memory:" else shutil.disk_usage(self.path.parent).free
        least = Text("хотя бы 1 МБ", "at least 1 MB")
        return DiskFull(needed=least, free=Text(byte_size(free, "ru"), byte_size(free, "en")))

    def _read(self, query: str, values: tuple[Any, ...]) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def _experiment(self, row: sqlite3.Row) -> Experiment:
        sides = self._read("SELECT * FROM transcripts WHERE experiment = ? ORDER BY rowid", (row["id"],))
        return Experiment(
            id=row["id"],
            created=row["created"],
            recipe=json.loads(row["recipe"]),
            digest=row["digest"],
            sources=json.loads(row["sources"]),
            clip=StoredClip(row["clip"], row["clip_name"], row["clip_seconds"]) if row["clip"] else None,
            reference=row["reference"],
            normalizer=row["normalizer"],
            note=row["note"],
            starred=bool(row["starred"]),
            transcripts={
                t["side"]: StoredTranscript(
                    t["text"], t["seconds_wall"], t["generation"], t["wer"], t["cer"], json.loads(t["detail"])
                )
                for t in sides
            },
        )


_EXPERIMENTS = (
    "SELECT e.*, c.name AS clip_name, c.seconds AS clip_seconds FROM experiments e"
    " LEFT JOIN clips c ON c.owner = e.owner AND c.sha256 = e.clip WHERE e.owner = ?"
)


def _migrate(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied REAL NOT NULL)")
    done = {row["name"] for row in db.execute("SELECT name FROM migrations")}
    for name, script in MIGRATIONS:
        if name in done:
            continue
        db.execute("BEGIN IMMEDIATE")
        try:
            for statement in filter(str.strip, script.split(";")):
                db.execute(statement)
            db.execute("INSERT INTO migrations (name, applied) VALUES (?, ?)", (name, time.time()))
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")


def _dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _dump_or_none(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else _dump(value)


def _job(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"],
        owner=row["owner"],
        created=row["created"],
        updated=row["updated"],
        kind=row["kind"],
        state=row["state"],
        payload=json.loads(row["payload"]),
        result=json.loads(row["result"]) if row["result"] else None,
        error=json.loads(row["error"]) if row["error"] else None,
    )
