"""Dense arithmetic on the CPU, where it matters which library does it.

torch sends float32 matrix products to MKL, which leaves half of an AMD core's vector width unused; oneDNN, which torch
ships as well, does not. Large temporaries cost more in page faults than in arithmetic unless the allocator keeps them.
docs/live.md has the figures. Everything falls back to torch's plain functions where these are missing.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from statistics import median

import torch
from torch.nn import functional as F

# Rows from which a product is one of matrices. Below, torch's own code for vectors is faster while the weight lies in a
# cache, which one of fewer than LARGE_WEIGHT elements is taken to do; from memory it reads half as fast, with one core.
# Measured on two AMD cores (docs/lab-book/live.md).
MANY_ROWS, LARGE_WEIGHT = 8, 1 << 18
LONG_ATTENTION, MANY_QUERIES = 512, 64  # keys and queries from which attention is done by products of whole blocks
QUERY_BLOCK = 500  # queries at a time: scores of 500 × 1500 float32 (3 MB) stay in the caches
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc malloc.h
KEPT_BYTES = 256 << 20

_thread = threading.local()


@cache
def has_onednn() -> bool:
    """Whether torch's oneDNN linear can be called directly."""
    return bool(torch.backends.mkldnn.is_available()) and hasattr(  # type: ignore[no-untyped-call]
        torch.ops.mkldnn, "_linear_pointwise"
    )


def _suits_onednn(x: torch.Tensor, weight: torch.Tensor | None = None, bias: torch.Tensor | None = None) -> bool:
    """Whether oneDNN is the faster for x[..., k], with a weight and bias if they are known, and right: it reads a bias
    as if its elements lay one behind the other."""
    large = weight is not None and weight.numel() >= LARGE_WEIGHT
    enough = large or x.numel() >= MANY_ROWS * x.shape[-1]
    readable = bias is None or bias.is_contiguous()
    return x.device.type == "cpu" and x.dtype == torch.float32 and enough and readable and has_onednn()


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`F.linear`, by the faster library."""
    if _suits_onednn(x, weight, bias):
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return product
    return F.linear(x, weight, bias)


def linear_gelu(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Exact (erf) GELU of `F.linear`."""
    if _suits_onednn(x, weight, bias):
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "none")
        return product
    return F.gelu(F.linear(x, weight, bias))


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Unmasked attention of q[b, h, t, e] to k, v[b, h, s, e]: [b, h, t, e]."""
    if k.shape[2] < LONG_ATTENTION or q.shape[2] < MANY_QUERIES or not _suits_onednn(q):
        return F.scaled_dot_product_attention(q, k, v)
    batch, heads, count, width = q.shape
    scaled = q * width**-0.5
    out = torch.empty_like(scaled)
    for row in range(batch):
        for head in range(heads):
            keys, values = k[row, head].contiguous(), v[row, head].t().contiguous()
            for first in range(0, count, QUERY_BLOCK):
                block = slice(first, first + QUERY_BLOCK)
                weights = linear(scaled[row, head, block], keys).softmax(dim=-1)
                out[row, head, block] = linear(weights, values)
    return out


@cache
def keep_freed_memory() -> bool:
    """Ask the C library to keep up to 256 MB of freed memory instead of giving every large temporary back at once.

    Returns whether the C library understood.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        return bool(libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES) and libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))
    except (OSError, AttributeError):
        return False


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Run torch on `count` threads; None leaves the number as it is, and so does `fix_threads`."""
    before = torch.get_num_threads()
    if count is None or count == before or getattr(_thread, "fixed", False):
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fix_threads(count: int) -> None:
    """Run torch on `count` threads for the rest of the calling thread's life, whatever `threads` asks for.

    Whether torch's number belongs to a thread or to the process depends on how torch was built. So all threads that
    compute at the same time fix the same number, within a `threads` of that number in the thread that started them.
    """
    torch.set_num_threads(count)
    _thread.fixed = True


def fastest_threads(work: Callable[[], object], repeats: int = 3) -> int:
    """The number of threads, a power of two up to torch's own number, with which `work` takes least time (median).

    A busy machine, or one whose cores share a core's arithmetic, is often faster with fewer threads than cores.
    """
    most = torch.get_num_threads()
    counts = sorted({most, *(1 << i for i in range(most.bit_length()) if 1 << i <= most)})
    return min(counts, key=lambda count: _time(work, count, repeats))


def _time(work: Callable[[], object], count: int, repeats: int) -> float:
    taken = []
    with threads(count):
        work()
        for _ in range(repeats):
            started = time.perf_counter()
            work()
            taken.append(time.perf_counter() - started)
    return median(taken)
