"""Whether an error says that memory ran out: libraries and the system each say it in their own way."""

from __future__ import annotations

import errno

from merger.errors import OutOfMemory


def as_out_of_memory(error: BaseException, device: str | None = None) -> OutOfMemory | None:
    """The coded error if `error` says that memory ran out, on the host or on a device; `device` is what it names."""
    # torch is not imported for this: its error is known by name. Where not even a context fits, CUDA's own words come
    # in its general error. No room for the stack of a thread is Python's general error too.
    words = str(error) if isinstance(error, RuntimeError) else ""
    on_gpu = "CUDA error: out of memory" in words or type(error).__name__ == "OutOfMemoryError"
    on_host = isinstance(error, MemoryError) or "can't start new thread" in words
    if on_gpu or on_host or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return OutOfMemory(device=device or ("GPU" if on_gpu else "RAM"))
    return None
