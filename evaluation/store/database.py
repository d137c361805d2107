"""One connection to one SQLite file, and what may happen to it.

One connection writes, behind a lock, with a rollback journal: SQLite before 3.51.3 can lose committed pages when a WAL
is reset (https://sqlite.org/wal.html, "The WAL-Reset Bug"). `synchronous=EXTRA`: in this mode FULL alone does not sync
the folder after a commit, so a power cut could bring the journal back and undo a row that was acknowledged.
"""

import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from evaluation.store import schema
from merger.bilingual import Text, byte_size
from merger.errors import DiskFull

BUSY_SECONDS = 30.0  # how long a writer waits for a lock that another process holds


class Database:
    """Opens (or makes) the database at `path`; `":memory:"` keeps it in memory.

    A damaged file is renamed to `<name>.corrupt-<time>` with its journal and a new one is begun; `quarantined` then
    holds the renamed path, so that the caller can say so. A file that is locked, read-only or of a newer version is
    not damaged: opening it raises. Before an older file is brought up to date it is copied to `<name>.before-<step>`.
    Safe to call from several threads.
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
            if isinstance(error, sqlite3.OperationalError) or not self.path.exists():
                raise
            self.quarantined = self._set_aside()
            self._connection = self._open()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def works(self) -> bool:
        """Whether the file can be read now; waits for no lock, and one that is held is no fault."""
        with closing(sqlite3.connect(self.path, timeout=0.1)) as db:
            try:
                return int(db.execute("SELECT count(*) FROM migrations").fetchone()[0]) > 0
            except sqlite3.OperationalError as error:
                return "locked" in str(error)

    def backup(self, target: Path) -> None:
        """A consistent copy while others read and write; `target` appears whole or not at all."""
        part = target.with_name(f".{target.name}.part")
        part.unlink(missing_ok=True)
        copy = sqlite3.connect(part)
        try:
            with self._lock:
                self._connection.backup(copy)
            if (verdict := copy.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(verdict)
        except BaseException:
            copy.close()
            part.unlink(missing_ok=True)
            raise
        copy.close()
        part.replace(target)

    def _set_aside(self) -> Path:
        """The journal goes too: left behind, it would be played back into the new file."""
        aside = self.path.with_name(f"{self.path.name}.corrupt-{time.strftime('%Y%m%d-%H%M%S')}")
        for ending in ("-journal", "-wal", "-shm"):
            companion = self.path.with_name(self.path.name + ending)
            if companion.exists():
                companion.rename(aside.with_name(aside.name + ending))
        self.path.rename(aside)
        return aside

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA journal_mode = DELETE")
            db.execute("PRAGMA synchronous = EXTRA")
            db.execute("PRAGMA foreign_keys = ON")
            if (verdict := db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(verdict)
            self._keep_before_upgrade(db)
            schema.migrate(db)
        except BaseException:
            db.close()
            raise
        return db

    def _keep_before_upgrade(self, db: sqlite3.Connection) -> None:
        done = schema.applied(db)
        missing = [name for name, _ in schema.MIGRATIONS if name not in done]
        if not done or not missing or self.path.name == ":memory:":
            return
        kept = self.path.with_name(f"{self.path.name}.before-{missing[0]}")
        if not kept.exists():
            copy = sqlite3.connect(kept)
            try:
                db.backup(copy)
            finally:
                copy.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:  # SQLite rolls back by itself when the disk is full
                    self._connection.execute("ROLLBACK")
                if self._is_full(error):
                    raise self._disk_full() from error
                raise

    def _is_full(self, error: BaseException) -> bool:
        """Without a byte left not even the journal can be made: that is told as an input/output or opening error."""
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_FULL:
            return True
        vague = code is not None and code & 0xFF in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
        return vague and shutil.disk_usage(self.path.parent).free < 1 << 16

    def _disk_full(self) -> DiskFull:
        free = 0 if self.path.name == ":memory:" else shutil.disk_usage(self.path.parent).free
        least = Text("хотя бы 1 МБ", "at least 1 MB")
        return DiskFull(needed=least, free=Text(byte_size(free, "ru"), byte_size(free, "en")))

    def _read(self, query: str, values: tuple[Any, ...]) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()
