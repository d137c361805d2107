"""SHA-256 of files, remembered as long as a file is unchanged.

Reading a model to hash it takes longer than merging it. As version control does, a hash is kept together with the
file's identity (device, inode, size, and times of change to the nanosecond) and used again while all of these hold.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

# A file changed within the clock's resolution of the moment it was hashed could change again unseen.
SETTLED_SECONDS = 2.0


def cache_folder() -> Path:
    """The program's cache folder: $WHISPER_MERGE_CACHE, else whisper-merge in the user's cache folder."""
    own = os.environ.get("WHISPER_MERGE_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisper-merge"


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file, computed once while the file does not change."""
    real = path.resolve()
    # The Hub's cache names its files by their SHA-256: nothing to compute.
    if real.parent.name == "blobs" and len(real.name) == 64 and set(real.name) <= set("0123456789abcdef"):
        return real.name
    before = _identity(real)
    record = cache_folder() / "sha256" / hashlib.sha256(os.fsencode(real)).hexdigest()
    with contextlib.suppress(OSError, ValueError, KeyError):
        known = json.loads(record.read_text())
        if known["identity"] == before:
            return str(known["sha256"])
    with real.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if _identity(real) == before and time.time() - real.stat().st_ctime > SETTLED_SECONDS:
        _remember(record, {"identity": before, "sha256": digest})
    return digest


class Hashed(Protocol):
    """A model whose weight files can be hashed (`checkpoint.Checkpoint`)."""

    def file_hashes(self) -> dict[str, str]:
        """SHA-256 (hex) of every weight file by its name."""
        ...


class SourceHashes:
    """SHA-256 of all sources, computed beside the merge: they are needed only when the header is written.

    One thread per core takes model after model; a single stream of SHA-256 is slower than any of the disk's.
    """

    def __init__(self, sources: Mapping[str, Hashed]) -> None:
        self._found: dict[str, dict[str, str]] = {}
        self._failure: Exception | None = None
        self._sources = sources
        waiting = iter(list(sources))
        count = min(len(sources), os.cpu_count() or 1)
        # Daemons: a merge that is stopped does not wait for them.
        self._threads = [
            threading.Thread(target=self._compute, args=(waiting,), name="hashes", daemon=True) for _ in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _compute(self, waiting: Iterator[str]) -> None:
        try:
            for key in waiting:  # an iterator over a list gives each key to one thread only
                self._found[key] = self._sources[key].file_hashes()
        except Exception as error:  # raised again where the hashes are asked for
            self._failure = error

    def get(self) -> dict[str, dict[str, str]]:
        """The hashes by source and file name, sources in their order."""
        for thread in self._threads:
            thread.join()
        if self._failure is not None:
            raise self._failure
        return {key: self._found[key] for key in self._sources}


def _identity(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _remember(record: Path, known: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time only
        record.parent.mkdir(parents=True, exist_ok=True)
        temporary = record.with_name(f"{record.name}.{os.getpid()}")
        temporary.write_text(json.dumps(known))
        temporary.replace(record)
