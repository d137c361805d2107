"""A CUDA stream of its own for every model, so that several can run at the same time, and what they share."""

from __future__ import annotations

import threading
import weakref
from collections import Counter

import torch

STREAMS = 16  # of torch's pool of 32; more models than that are not in memory at once

_lock = threading.Lock()
_pools: dict[torch.device, list[torch.cuda.Stream]] = {}
_owners: Counter[int] = Counter()  # by the stream's handle


def own_stream(owner: object, device: torch.device) -> torch.cuda.Stream | None:
    """A stream that no other living owner has, as long as there are not more than STREAMS of them; None on the CPU.

    torch hands out the streams of its pool in turn, so that two models could be given the same one. Captures of a model
    are made on its stream too: a library's workspace belongs to a stream, and graphs that run at the same time must not
    share one.
    """
    if device.type != "cuda":
        return None
    with _lock:
        pool = _pools.setdefault(device, [])
        while len(pool) < STREAMS:
            stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            if stream.cuda_stream not in {one.cuda_stream for one in pool}:
                pool.append(stream)
        chosen = min(pool, key=lambda stream: _owners[stream.cuda_stream])
        _owners[chosen.cuda_stream] += 1
    weakref.finalize(owner, _give_back, chosen.cuda_stream)
    return chosen


def _give_back(handle: int) -> None:
    # Without the lock: the collector may call this in a thread that holds it. Two owners at worst share a stream.
    _owners[handle] -= 1


class Shared:
    """A tensor that the current stream makes and any other may read, also before it is done."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor
        self._made: torch.cuda.Event | None = None
        if tensor.is_cuda:
            self._made = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._made.record(torch.cuda.current_stream(tensor.device))  # type: ignore[no-untyped-call]

    def nbytes(self) -> int:
        return self._tensor.nbytes

    def read(self) -> torch.Tensor:
        """The tensor, for what is launched on the current stream from now on: that waits until it is made, and its
        memory is not reused before that has read it."""
        if self._made is not None:
            stream = torch.cuda.current_stream(self._tensor.device)
            stream.wait_event(self._made)  # type: ignore[no-untyped-call]
            self._tensor.record_stream(stream)
        return self._tensor
