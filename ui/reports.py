"""Evaluations on disk: a folder for each, by owner; what is unfinished can go on, what is old makes room."""

import json
import re
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

from merger.bilingual import Text
from ui.errors import NotFound

KEPT = 12  # evaluations of one person
SUMMARY = "summary.json"
AUDIO = ("set", "audio")  # folders that hold sound; gone once the report is made
FILES = ("report.ru.html", "report.en.html", "results.csv", "results.json")
_NAME = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")


class Reports:
    """The evaluations below one folder. A summary is JSON: `id`, `created` (seconds since the epoch), `state` and what
    the page shows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def new(self, owner: str, **summary: Any) -> dict[str, Any]:
        """Makes the folder; the owner's oldest evaluations make room. Returns the summary."""
        now = time.time()
        name = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{secrets.token_hex(3)}"
        folder = self._folder / owner / name
        folder.mkdir(parents=True, mode=0o700)
        told = {"id": name, "created": now, "state": "running", **summary}
        _write(folder, told)
        for old in self.listed(owner)[KEPT:]:
            self.forget(owner, old["id"])
        return told

    def folder(self, owner: str, name: str) -> Path:
        """Raises NotFound for an evaluation that this owner does not have."""
        folder = self._folder / owner / name
        if not _NAME.fullmatch(name) or not (folder / SUMMARY).is_file():
            raise NotFound(what=Text("проверка", "evaluation"))
        return folder

    def summary(self, owner: str, name: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.folder(owner, name) / SUMMARY).read_text(encoding="utf-8"))
        return told

    def note(self, owner: str, name: str, **changes: Any) -> dict[str, Any]:
        """Changes parts of the summary and returns it."""
        told = self.summary(owner, name) | changes
        _write(self.folder(owner, name), told)
        return told

    def listed(self, owner: str) -> list[dict[str, Any]]:
        """Summaries, newest first."""
        names = [path.name for path in (self._folder / owner).glob("*") if (path / SUMMARY).is_file()]
        return sorted((self.summary(owner, name) for name in names), key=lambda told: told["created"], reverse=True)

    def file(self, owner: str, name: str, file: str) -> str:
        """The text of one of FILES. Raises NotFound."""
        path = self.folder(owner, name) / file
        if file not in FILES or not path.is_file():
            raise NotFound(what=Text("файл", "file"))
        return path.read_text(encoding="utf-8-sig")

    def drop_audio(self, owner: str, name: str) -> None:
        """What is heard in the report is inside it; the uploaded set need not stay."""
        for part in AUDIO:
            shutil.rmtree(self.folder(owner, name) / part, ignore_errors=True)

    def forget(self, owner: str, name: str) -> None:
        shutil.rmtree(self.folder(owner, name))


def _write(folder: Path, summary: dict[str, Any]) -> None:
    part = folder / f".{SUMMARY}.{secrets.token_hex(4)}"
    part.write_text(json.dumps(summary, ensure_ascii=False), encoding="utf-8")
    part.replace(folder / SUMMARY)
