"""The history from outside: copied while the app writes, checked, brought up to date."""

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from evaluation.store import MIGRATIONS, Store, Vote
from evaluation.store.__main__ import main


def votes(store: Store, count: int) -> None:
    for number in range(count):
        store.add_vote("ann", Vote(f"c{number}", "A", "B", "left"))


def test_a_backup_is_whole_while_the_app_writes(tmp_path: Path) -> None:
    store, stop = Store(tmp_path / "h.sqlite"), threading.Event()
    votes(store, 20)

    def writing() -> None:
        while not stop.is_set():
            votes(store, 1)

    writer = threading.Thread(target=writing)
    writer.start()
    try:
        told = subprocess.run(
            [sys.executable, "-m", "evaluation.store", "backup", tmp_path / "h.sqlite", tmp_path / "copy.sqlite"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    finally:
        stop.set()
        writer.join()
    assert told.stdout.startswith(str(tmp_path / "copy.sqlite"))
    copy = Store(tmp_path / "copy.sqlite")
    assert 20 <= len(copy.votes("ann")) <= len(store.votes("ann"))
    assert copy.quarantined is None and not list(tmp_path.glob(".*.part"))


def test_the_stores_own_backup_replaces_an_older_one(tmp_path: Path) -> None:
    store = Store(tmp_path / "h.sqlite")
    for count in (1, 3):
        votes(store, count)
        store.backup(tmp_path / "copy.sqlite")
    assert len(Store(tmp_path / "copy.sqlite").votes("ann")) == 4


def test_an_older_file_is_backed_up_as_it_is_and_upgraded_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "h.sqlite"
    monkeypatch.setattr("evaluation.store.schema.MIGRATIONS", MIGRATIONS[:-1])
    old = Store(path)
    key = old.add_job("ann", "export", {"folder": "x"})
    old.close()
    monkeypatch.setattr("evaluation.store.schema.MIGRATIONS", MIGRATIONS)
    assert main(["backup", str(path), str(tmp_path / "copy.sqlite")]) == 0
    for file in (path, tmp_path / "copy.sqlite"):
        assert main(["check", str(file)]) == 0
        assert f"to come {MIGRATIONS[-1][0]}" in capsys.readouterr().out
    assert main(["upgrade", str(path)]) == 0
    assert "to come none" in capsys.readouterr().out
    job = Store(path).job("ann", key)
    assert job is not None and (job.payload, job.attempts) == ({"folder": "x"}, 0)
    before = sqlite3.connect(tmp_path / f"h.sqlite.before-{MIGRATIONS[-1][0]}")
    assert before.execute("SELECT id FROM jobs").fetchall() == [(key,)]


@pytest.mark.parametrize("command", ["check", "upgrade", "backup"])
def test_a_damaged_file_is_reported_and_left_where_it_is(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, target = tmp_path / "h.sqlite", tmp_path / "copy.sqlite"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    assert main([command, str(path), *([str(target)] if command == "backup" else [])]) == 1
    assert capsys.readouterr().err.startswith(str(path))
    assert [file.name for file in tmp_path.iterdir()] == ["h.sqlite"]


def test_what_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "none.sqlite")]) == 1
    assert "no such file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
