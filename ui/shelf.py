"""Everybody's recordings on disk: what each is called lies beside it, and what nobody used for long is removed.

    <folder>/<owner>/<clip id>         the sound as it was uploaded
    <folder>/<owner>/<clip id>.json    name in both languages, seconds, reference, when it was added

A restart of the server finds every shelf again. A recording's modification time is when it was last chosen or heard.
"""

import json
import logging
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from merger.bilingual import Text

log = logging.getLogger(__name__)

DAY = 86_400.0
NOTE = ".json"


@dataclass(frozen=True)
class KeptClip:
    """A recording as it lies on disk. `added`: seconds since 1970."""

    owner: str
    id: str
    path: Path
    name: Text
    seconds: float
    reference: str | None
    added: float


class Shelf:
    """The recordings below one folder, kept for `days` since they were last used."""

    def __init__(self, folder: Path, days: float) -> None:
        self.folder = folder
        self.days = days

    def note(self, clip: KeptClip) -> None:
        """Writes what a recording is called; it appears whole or not at all."""
        told = {
            "ru": clip.name.ru, "en": clip.name.en, "seconds": clip.seconds, "reference": clip.reference,
            "added": clip.added,
        }  # fmt: skip
        target = clip.path.with_name(clip.id + NOTE)
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        part.write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
        part.chmod(0o600)
        part.replace(target)

    def kept(self) -> Iterator[KeptClip]:
        """Everything that can be read, the oldest first; what cannot is left to age."""
        found = []
        for note in self.folder.glob(f"*/*{NOTE}"):
            sound = note.with_suffix("")
            try:
                told = json.loads(note.read_text(encoding="utf-8"))
                name, reference = Text(str(told["ru"]), str(told["en"])), told.get("reference")
                seconds, added = float(told["seconds"]), float(told["added"])
            except (OSError, ValueError, KeyError, TypeError):
                log.warning("the note of recording %s cannot be read", sound.name)
                continue
            if sound.is_file() and not sound.is_symlink():
                spoken = None if reference is None else str(reference)
                found.append(KeptClip(note.parent.name, sound.name, sound, name, seconds, spoken, added))
        yield from sorted(found, key=lambda clip: clip.added)

    def used(self, path: Path) -> None:
        """A recording was chosen or heard: its days begin anew."""
        try:
            os.utime(path)
        except OSError:
            log.warning("the time of recording %s cannot be written", path.name)

    def remove(self, path: Path) -> None:
        """The sound and its note."""
        path.unlink(missing_ok=True)
        path.with_name(path.name + NOTE).unlink(missing_ok=True)

    def sweep(self, now: float | None = None) -> list[tuple[str, str]]:
        """Removes what was not used for `days`, and folders that are empty then; returns (owner, clip id) of each."""
        limit = (time.time() if now is None else now) - self.days * DAY
        gone = []
        for path in self.folder.glob("*/*"):
            try:
                if path.suffix == NOTE and path.with_suffix("").exists():
                    continue  # it goes with its sound
                if path.stat().st_mtime < limit:
                    self.remove(path)
                    gone.append((path.parent.name, path.name))
                    if not any(path.parent.iterdir()):
                        path.parent.rmdir()
            except OSError:
                log.warning("recording %s cannot be removed", path.name)
        return gone
