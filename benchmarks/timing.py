"""Medians on a device, and the machine they were taken on."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from evaluation.engine.cpu import linear


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(work: Callable[[], object], device: torch.device, repeats: int = 15, warm_up: int = 2) -> float:
    """Median wall time of `work` in ms, the device synchronised before and after each repeat."""
    return percentiles(work, device, repeats, warm_up)["p50"]


def percentiles(
    work: Callable[[], object], device: torch.device, repeats: int = 15, warm_up: int = 2
) -> dict[str, float]:
    """p50 and p95 (the largest of few) of the wall time in ms."""
    for _ in range(warm_up):
        work()
    taken = []
    for _ in range(repeats):
        synchronize(device)
        started = time.perf_counter()
        work()
        synchronize(device)
        taken.append(1e3 * (time.perf_counter() - started))
    taken.sort()
    return {"p50": round(median(taken), 4), "p95": round(taken[min(len(taken) - 1, int(0.95 * len(taken)))], 4)}


def interleaved(
    works: dict[str, Callable[[], object]], device: torch.device, rounds: int, warm_up: int = 1
) -> dict[str, float]:
    """Median wall times in ms of several pieces of work, taken in turn: what else the machine does hits all alike."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for round_number in range(warm_up + rounds):
        for name, work in works.items():
            synchronize(device)
            started = time.perf_counter()
            work()
            synchronize(device)
            if round_number >= warm_up:
                taken[name].append(1e3 * (time.perf_counter() - started))
    return {name: round(median(times), 3) for name, times in taken.items()}


def bytes_per_second(device: torch.device) -> float:
    """The memory's speed: in a large copy (bytes read and written) or a sum (bytes read), whichever is faster."""
    # Ones: what was never written, a CPU reads from one page of zeros in its cache.
    source = torch.ones((1 << 28) if device.type == "cuda" else (1 << 24), dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    copying = 2 * source.nbytes / milliseconds(lambda: target.copy_(source), device)
    return 1e3 * max(copying, source.nbytes / milliseconds(source.sum, device))


def operations_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """The arithmetic's speed: floating-point operations in a large product, two to a multiplication. On CPUs torch's
    own product may be half as fast as the one that the engine calls: the faster counts."""
    size = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn((size, size), device=device).to(dtype) for _ in range(2))
    with torch.inference_mode():
        taken = min(milliseconds(lambda: left @ right, device), milliseconds(lambda: linear(left, right, None), device))
    return 2e3 * size**3 / taken


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures belong to."""
    described: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if device.type == "cpu":
        described["threads"] = torch.get_num_threads()
    return described
