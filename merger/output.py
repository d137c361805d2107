"""Writing the output files: known sizes, any order, past the page cache.

Filling the page cache with gigabytes of fresh pages costs more than the arithmetic. Workers copy their results into
windows of a file, aligned and 4 MiB long; full windows go to a few writer threads, which write them with O_DIRECT while
the workers go on. Where the file system has no O_DIRECT a window is written through the page cache, its write-back
started at once, waited for some windows later, and its pages dropped. Memory for unwritten data stays bounded, and the
closing fsync has little left to do.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import mmap
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np

WINDOW_BYTES = 4 << 20
# O_DIRECT wants file offsets, lengths and memory in multiples of the disk's sector, 4096 bytes at most.
SECTOR_BYTES = 4096
WRITERS = 4  # requests under way together: a disk that is asked one thing at a time idles between answers
WINDOWS_WAITING = 4
WINDOWS_BEHIND = 8  # buffered writing only: how far the wait for the disk lags behind
_DIRECT: int = getattr(os, "O_DIRECT", 0)
_START = 2  # SYNC_FILE_RANGE_WRITE
_FINISH = 7  # … with WAIT_BEFORE and WAIT_AFTER


@functools.cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    with contextlib.suppress(OSError, AttributeError):
        function = ctypes.CDLL(None, use_errno=True).sync_file_range
        function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
        return cast(Callable[[int, int, int, int], int], function)
    return None


def _pages(nbytes: int) -> mmap.mmap:
    """Private memory in huge pages where there are any: a request of 4 KiB pieces takes the disk half as long again."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, nbytes)
    pages = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel built without them
            pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


class _Window:
    """One stretch of a file in memory, and how many of its bytes are still to come."""

    def __init__(self, memory: np.ndarray, start: int, nbytes: int) -> None:
        self.memory, self.start, self.nbytes, self.missing = memory, start, nbytes, nbytes


class Writers:
    """The threads that write, and the memory they write from; shared by all files of a merge. Use `with`."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[OutputFile, _Window] | None] = queue.Queue(WINDOWS_WAITING)
        self._free: list[np.ndarray] = []
        self._threads = [threading.Thread(target=self._run, name="writer", daemon=True) for _ in range(WRITERS)]

    def __enter__(self) -> Writers:
        try:
            for thread in self._threads:
                thread.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        running = [thread for thread in self._threads if thread.ident is not None]
        for _thread in running:
            self._waiting.put(None)
        for thread in running:
            thread.join()

    def memory(self) -> np.ndarray:
        """Page-aligned uint8[WINDOW_BYTES] that nobody else uses."""
        try:
            return self._free.pop()
        except IndexError:
            return np.frombuffer(_pages(WINDOW_BYTES), np.uint8)

    def submit(self, file: OutputFile, window: _Window) -> None:
        """Have a full window written; waits while many others wait."""
        self._waiting.put((file, window))

    def _run(self) -> None:
        while (task := self._waiting.get()) is not None:
            file, window = task
            file.write_window(window)
            self._free.append(window.memory)


class OutputFile:
    """A weight file of known size that several threads fill, every byte once, its header last.

    A failure surfaces in `write` or `finish`.
    """

    def __init__(self, path: Path, header_bytes: int, data_bytes: int, writers: Writers) -> None:
        self._header_bytes, self._nbytes = header_bytes, header_bytes + data_bytes
        self._writers = writers
        self._descriptor, self._direct = _open(path)
        self._lock = threading.Condition()
        self._open: dict[int, _Window] = {}
        self._under_way = 0  # windows that were handed to the writers and are not written yet
        self._behind: list[tuple[int, int]] = []
        self._failure: OSError | None = None
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._descriptor, 0, self._nbytes)
        except BaseException:
            os.close(self._descriptor)
            raise

    def write(self, data: np.ndarray, offset: int) -> None:
        """Take in uint8 `data` for `offset` behind the header; it may be changed as soon as this returns.

        Waits while the disk lags behind. Raises OSError (a full disk included) if an earlier write failed.
        """
        self._take(data, self._header_bytes + offset)

    def _take(self, data: np.ndarray, offset: int) -> None:
        while len(data):
            if self._failure is not None:
                raise self._failure
            window = self._window(offset // WINDOW_BYTES)
            begin = offset - window.start
            count = min(window.nbytes - begin, len(data))
            window.memory[begin : begin + count] = data[:count]
            with self._lock:
                window.missing -= count
                complete = window.missing == 0
                if complete:
                    del self._open[window.start // WINDOW_BYTES]
                    self._under_way += 1
            if complete:
                self._writers.submit(self, window)
            data, offset = data[count:], offset + count

    def _window(self, index: int) -> _Window:
        with self._lock:
            window = self._open.get(index)
            if window is None:
                start = index * WINDOW_BYTES
                nbytes = min(WINDOW_BYTES, self._nbytes - start)
                window = self._open[index] = _Window(self._writers.memory(), start, nbytes)
            return window

    def write_window(self, window: _Window) -> None:
        """Put a full window on the disk; called by the writers."""
        try:
            if self._failure is None:
                self._put(window)
                if not self._direct:
                    self._write_back(window)
        except OSError as error:
            self._failure = error
        finally:
            with self._lock:
                self._under_way -= 1
                self._lock.notify_all()

    def _put(self, window: _Window) -> None:
        # The last window is written in whole sectors; `finish` cuts the file to its size.
        padded = -(-window.nbytes // SECTOR_BYTES) * SECTOR_BYTES
        left, offset = window.memory[:padded].data, window.start
        while left:
            try:
                count = os.pwrite(self._descriptor, left, offset)
            except OSError as error:
                if error.errno != errno.EINVAL or not self._direct:
                    raise
                # Some file systems accept the flag and refuse the write.
                fcntl.fcntl(self._descriptor, fcntl.F_SETFL, fcntl.fcntl(self._descriptor, fcntl.F_GETFL) & ~_DIRECT)
                self._direct = False
                continue
            left, offset = left[count:], offset + count

    def _write_back(self, window: _Window) -> None:
        """Start the write-back of one window; wait for an older one and drop its pages."""
        self._sync(window.start, window.nbytes, _START)
        with self._lock:
            self._behind.append((window.start, window.nbytes))
            done = self._behind.pop(0) if len(self._behind) > WINDOWS_BEHIND else None
        if done is not None:
            self._sync(*done, _FINISH)
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(self._descriptor, *done, os.POSIX_FADV_DONTNEED)

    def _sync(self, start: int, nbytes: int, flags: int) -> None:
        function = _sync_file_range()
        if function is not None and function(self._descriptor, start, nbytes, flags) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def finish(self, header: bytes) -> None:
        """Write the header, wait until everything is on the disk, and close. Raises OSError if something failed."""
        self._take(np.frombuffer(header, np.uint8), 0)
        self._wait()
        try:
            # The kernel reports a failed write-back once: what a writer saw must not be lost.
            if self._failure is not None:
                raise self._failure
            if self._open:
                raise AssertionError("some bytes of the file were never given")
            os.ftruncate(self._descriptor, self._nbytes)
            os.fsync(self._descriptor)
        finally:
            self._close()

    def abandon(self) -> None:
        """Close without waiting for the disk; does nothing after `finish`."""
        if self._descriptor >= 0:
            self._wait()
            self._close()

    def _wait(self) -> None:
        with self._lock:
            self._lock.wait_for(lambda: self._under_way == 0)

    def _close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1


def _open(path: Path) -> tuple[int, bool]:
    """A new file's descriptor, and whether it bypasses the page cache."""
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
    if _DIRECT:
        try:
            return os.open(path, flags | _DIRECT, 0o644), True
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # The kernel may have made the file before it refused the flag.
            path.unlink(missing_ok=True)
    return os.open(path, flags, 0o644), False
