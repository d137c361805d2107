"""A CUDA stream of its own for every model, so that several can run at the same time."""

from __future__ import annotations

import threading
import weakref
from collections import Counter

import torch

from evaluation.engine.turns import wait

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


def settle(device: torch.device) -> None:
    """Wait for what this thread has launched, if that was on a stream of its own: others may read it from theirs."""
    if device.type == "cuda":
        stream = torch.cuda.current_stream(device)
        if stream != torch.cuda.default_stream(device):
            wait(stream)


def reads(tensor: torch.Tensor) -> None:
    """Note that the current stream reads a tensor which another may have made: its memory is not reused before."""
    if tensor.is_cuda:
        tensor.record_stream(torch.cuda.current_stream(tensor.device))
