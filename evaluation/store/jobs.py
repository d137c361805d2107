"""Jobs that outlive the server's process."""

import json
import sqlite3
import time
import uuid
from collections.abc import Mapping
from typing import Any

from evaluation.store.database import Database
from evaluation.store.records import Job, JobState

ATTEMPTS = 2  # a job that was running each of so many times when the server died is not begun again


class JobRows(Database):
    """The table of jobs; kept forever, one row each."""

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
        """Called by the worker, which owns every job. To begin is an attempt; to put back takes it off again."""
        attempt = {"running": 1, "queued": -1}.get(state, 0)
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET state = ?, updated = ?, result = coalesce(?, result), error = coalesce(?, error),"
                " attempts = max(0, attempts + ?) WHERE id = ?",
                (state, time.time(), _dump_or_none(result), _dump_or_none(error), attempt, key),
            )

    def job(self, owner: str, key: str) -> Job | None:
        rows = self._read("SELECT * FROM jobs WHERE owner = ? AND id = ?", (owner, key))
        return _job(rows[0]) if rows else None

    def any_job(self, key: str) -> Job | None:
        """Whoever's it is: for those who hold the unguessable id."""
        rows = self._read("SELECT * FROM jobs WHERE id = ?", (key,))
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

    def recover_jobs(self, error: Mapping[str, Any]) -> tuple[int, int]:
        """At start: what a dead process left as running is queued again, or failed with `error` after ATTEMPTS of them.

        Returns (queued again, failed).
        """
        now = time.time()
        with self._transaction() as db:
            failed = db.execute(
                "UPDATE jobs SET state = 'failed', updated = ?, error = ? WHERE state = 'running' AND attempts >= ?",
                (now, _dump(error), ATTEMPTS),
            ).rowcount
            again = db.execute(
                "UPDATE jobs SET state = 'queued', updated = ? WHERE state = 'running'", (now,)
            ).rowcount
        return again, failed


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
        attempts=row["attempts"],
    )
