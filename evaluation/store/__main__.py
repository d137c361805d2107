"""`python -m evaluation.store backup|check|upgrade`: the history's file, from outside, also while the app runs."""

import argparse
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from evaluation.store import schema
from evaluation.store.store import Store


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: done; 1: the file is damaged or not to be had; the reason is on standard error."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.store", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, told in {
        "backup": "a consistent copy, also while the app writes",
        "check": "whether the file is whole, and which steps it has been through",
        "upgrade": "bring an older file up to date; a copy of it stays beside it",
    }.items():
        command = commands.add_parser(name, help=told)
        command.add_argument("file", type=Path, help="the history, like data/history.sqlite")
        if name == "backup":
            command.add_argument("target", type=Path, help="where the copy goes; an existing file is replaced")
    given = parser.parse_args(arguments)
    if not given.file.is_file():
        print(f"{given.file}: no such file", file=sys.stderr)
        return 1
    try:
        print({"backup": _backup, "check": _check, "upgrade": _upgrade}[given.command](given))
    except sqlite3.DatabaseError as error:
        print(f"{given.file}: {error}", file=sys.stderr)
        return 1
    return 0


def _backup(given: argparse.Namespace) -> str:
    """The source is opened read-only: a backup changes nothing, not even an older schema."""
    part = given.target.with_name(f".{given.target.name}.part")
    part.unlink(missing_ok=True)
    try:
        with closing(_read_only(given.file)) as source, closing(sqlite3.connect(part)) as copy:
            source.backup(copy, pages=256, sleep=0.05)
            _whole(copy)
        part.replace(given.target)
    finally:
        part.unlink(missing_ok=True)
    return f"{given.target}: {given.target.stat().st_size} bytes"


def _check(given: argparse.Namespace) -> str:
    with closing(_read_only(given.file)) as db:
        _whole(db)
        done = schema.applied(db)
        missing = [name for name, _ in schema.MIGRATIONS if name not in done]
        rows = {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _tables(db)}
    return f"whole; steps {', '.join(done) or 'none'}; to come {', '.join(missing) or 'none'}; rows {rows}"


def _upgrade(given: argparse.Namespace) -> str:
    with closing(_read_only(given.file)) as db:
        _whole(db)  # a damaged file is reported here, not set aside
    with closing(Store(given.file)):
        return _check(given)


def _read_only(file: Path) -> sqlite3.Connection:
    db = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=30.0)
    db.execute("PRAGMA busy_timeout = 30000")
    return db


def _tables(db: sqlite3.Connection) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]


def _whole(db: sqlite3.Connection) -> None:
    if (verdict := db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
        raise sqlite3.DatabaseError(verdict)


if __name__ == "__main__":
    sys.exit(main())
