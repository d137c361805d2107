"""Writing the weights: every byte in its place, past the page cache or through it, and no failure lost."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from merger import output
from merger.output import SECTOR_BYTES, WINDOW_BYTES, WINDOWS_WAITING, WRITERS, OutputFile, Writers

HEADER = b"h" * 4093


def fill(path: Path, data: np.ndarray, threads: int = 3, piece: int = 700_001) -> None:
    """Write a file as a merge does: pieces in no order from several threads, the header last."""
    with Writers() as writers:
        file = OutputFile(path, len(HEADER), len(data), writers)
        starts = np.random.default_rng(len(data)).permutation(np.arange(0, len(data), piece))

        def work(mine: Any) -> None:
            for start in mine:
                buffer = data[start : start + piece].copy()
                file.write(buffer, int(start))
                buffer[:] = 0xEE  # the caller may use its memory again at once

        workers = [threading.Thread(target=work, args=(starts[index::threads],)) for index in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        file.finish(HEADER)


def some_bytes(size: int) -> np.ndarray:
    return np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)


# Files that end before, at and after the end of a sector and of a window.
SIZES = [0, 1, SECTOR_BYTES - len(HEADER), SECTOR_BYTES, WINDOW_BYTES - len(HEADER), WINDOW_BYTES, 5 * WINDOW_BYTES + 7]


@pytest.mark.parametrize("size", SIZES)
def test_every_byte_in_its_place(size: int, tmp_path: Path) -> None:
    data = some_bytes(size)
    fill(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == HEADER + data.tobytes()


def refuse_open(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refusing(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & output._DIRECT:
            os.close(opened(path, flags & ~output._DIRECT, *rest, **more))  # made, then refused, as Linux may do
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return opened(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refusing)


def refuse_write(monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    written = os.pwrite

    def refusing(descriptor: int, *rest: Any) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & output._DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return written(descriptor, *rest)

    monkeypatch.setattr(os, "pwrite", refusing)


@pytest.mark.parametrize("refuse", [refuse_open, refuse_write])
def test_where_the_page_cache_cannot_be_bypassed(refuse: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch)
    data = some_bytes(12 * WINDOW_BYTES + 5)
    fill(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == HEADER + data.tobytes()


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, at: written(descriptor, data[: 64 * SECTOR_BYTES], at))
    data = some_bytes(2 * WINDOW_BYTES)
    fill(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == HEADER + data.tobytes()


def test_a_failed_write_surfaces_and_blocks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pwrite", failing)
    # More windows than may wait, so that a writer that gave up would leave the others waiting for ever.
    data = some_bytes((2 * WINDOWS_WAITING + 2 * WRITERS) * WINDOW_BYTES)
    with Writers() as writers:
        file = OutputFile(tmp_path / "file", 0, len(data), writers)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            file.write(data, 0)
            file.finish(b"")
        file.abandon()


def test_a_file_with_a_gap_is_never_finished(tmp_path: Path) -> None:
    with Writers() as writers:
        file = OutputFile(tmp_path / "file", 4, 100, writers)
        file.write(np.zeros(60, np.uint8), 0)
        with pytest.raises(AssertionError, match="never given"):
            file.finish(b"head")
