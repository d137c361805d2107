"""Room on a disk."""

from __future__ import annotations

import os
from pathlib import Path

from merger.bilingual import Text, byte_size
from merger.errors import DiskFull


def size_text(count: int) -> Text:
    """A number of bytes for people, in both languages."""
    return Text(byte_size(count, "ru"), byte_size(count, "en"))


def free_bytes(path: Path) -> int:
    """Bytes that may be written on the file system of `path` (or of its nearest folder that exists)."""
    while not path.exists():
        path = path.parent
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def require_space(path: Path, needed: int) -> None:
    """Raises DiskFull with both figures if fewer than `needed` bytes are free."""
    free = free_bytes(path)
    if free < needed:
        raise DiskFull(needed=size_text(needed), free=size_text(free))
