"""Medians on a device, and the machine they were taken on."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch


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
    """How fast a large copy goes, bytes read and bytes written counted alike: the floor of whatever only reads."""
    source = torch.empty((256 << 20) if device.type == "cuda" else (64 << 20), dtype=torch.uint8).to(device)
    target = torch.empty_like(source)
    return 2e3 * source.numel() / milliseconds(lambda: target.copy_(source), device)


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
