"""Experiments and votes; with the jobs, everything that is in the file."""

import json
import sqlite3
import time
import uuid
from collections.abc import Mapping
from dataclasses import astuple, fields
from typing import Any

from evaluation.store.jobs import JobRows
from evaluation.store.records import Experiment, StoredClip, StoredTranscript, Vote


class Store(JobRows):
    """The history of everybody; see `database.Database` for how it is opened."""

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


def _dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
