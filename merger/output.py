"""Writing the output file: known size, any order, no second copy in the page cache.

Filling the page cache with gigabytes of fresh pages costs more than the arithmetic. The file is preallocated; workers
`pwrite` where their bytes belong; a flusher starts the write-back of every finished window, waits for it some windows
later and drops the pages. Memory for unwritten data stays bounded, and the closing fsync has little left to do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

WINDOW_BYTES = 8 << 20
WINDOWS_IN_FLIGHT = 4
_START = 2  # SYNC_FILE_RANGE_WRITE
_FINISH = 7  # … with WAIT_BEFORE and WAIT_AFTER


def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    with contextlib.suppress(OSError, AttributeError):
        function = ctypes.CDLL(None, use_errno=True).sync_file_range
        function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
        return cast(Callable[[int, int, int, int], int], function)
    return None


class OutputFile:
    """A file of known size that several threads fill; errors of the flusher surface in `finish`."""

    def __init__(self, path: Path, nbytes: int) -> None:
        self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o644)
        self._sync = _sync_file_range()
        self._windows: queue.Queue[tuple[int, int] | None] = queue.Queue(WINDOWS_IN_FLIGHT)
        self._pending: list[tuple[int, int]] = []
        self._pending_bytes = 0
        self._lock = threading.Lock()
        self._failure: OSError | None = None
        try:
            if nbytes and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._descriptor, 0, nbytes)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._flusher = threading.Thread(target=self._flush, name="flusher", daemon=True)
        self._flusher.start()

    def write(self, data: memoryview, offset: int) -> None:
        """Write all of `data` at `offset`. Raises OSError (a full disk included)."""
        begin, left = offset, data
        while left:
            count = os.pwrite(self._descriptor, left, offset)
            left, offset = left[count:], offset + count
        with self._lock:
            if self._pending and self._pending[-1][1] == begin:
                self._pending[-1] = (self._pending[-1][0], offset)
            else:
                self._pending.append((begin, offset))
            self._pending_bytes += offset - begin
            if self._pending_bytes < WINDOW_BYTES:
                return
            windows, self._pending, self._pending_bytes = self._pending, [], 0
        for window in windows:
            self._windows.put(window)

    def _flush(self) -> None:
        behind: list[tuple[int, int]] = []
        while (window := self._windows.get()) is not None:
            self._sync_window(window, _START)
            behind.append(window)
            while sum(end - begin for begin, end in behind) > WINDOW_BYTES * WINDOWS_IN_FLIGHT:
                done = behind.pop(0)
                self._sync_window(done, _FINISH)
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(self._descriptor, done[0], done[1] - done[0], os.POSIX_FADV_DONTNEED)

    def _sync_window(self, window: tuple[int, int], flags: int) -> None:
        if self._sync is not None and self._failure is None:
            begin, end = window
            if self._sync(self._descriptor, begin, end - begin, flags) != 0:
                number = ctypes.get_errno()
                self._failure = OSError(number, os.strerror(number))

    def finish(self) -> None:
        """Wait until everything is on the disk, and close. Raises OSError if something could not be written."""
        self._windows.put(None)
        self._flusher.join()
        try:
            # The kernel reports a failed write-back once: what the flusher saw must not be lost.
            if self._failure is not None:
                raise self._failure
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def abandon(self) -> None:
        """Close without waiting for the disk; does nothing after `finish`."""
        if self._descriptor >= 0:
            self._windows.put(None)
            self._flusher.join()
            os.close(self._descriptor)
            self._descriptor = -1
