"""From checkpoint files into flat buffers, and where those buffers lie."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import numpy as np
import torch

from merger.bilingual import Text
from merger.checkpoint import Checkpoint
from merger.engine import REPORTED_TENSORS
from merger.errors import Cancelled, DeviceUnavailable, NonfiniteWeights, WeightsOverflow
from merger.live.flat import FlatLayout
from merger.safetensors_header import TensorEntry

TORCH_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
READ_BYTES = 64 << 20
HEADROOM = 0.85  # share of the free memory that weights may take; the rest is for caches and activations


def choose_device(device: str | torch.device) -> torch.device:
    """The device that was asked for; "auto" is the GPU if there is one. Raises DeviceUnavailable."""
    if str(device) == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise DeviceUnavailable(
            device=device, detail=Text("нет такого устройства", "there is no such device")
        ) from None
    if chosen.type not in {"cpu", "cuda"}:
        detail = Text("поддерживаются cpu и cuda", "cpu and cuda are supported")
        raise DeviceUnavailable(device=device, detail=detail)
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable(device=device, detail=Text("видеокарты CUDA нет", "there is no CUDA device"))
    if chosen.type == "cuda" and chosen.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return chosen


def choose_dtype(dtype: str | torch.dtype | None, device: torch.device, checkpoint: Checkpoint) -> torch.dtype:
    """The dtype that is computed in: the one asked for, else float32 on the CPU and the checkpoint's own on a GPU."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype is not None:
        return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[dtype]
    return torch.float32 if device.type == "cpu" else TORCH_DTYPES[checkpoint.dtype]


def free_memory(device: torch.device) -> int:
    """Bytes that can be taken on the device now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def load_flat(
    checkpoint: Checkpoint,
    layout: FlatLayout,
    dtype: torch.dtype,
    device: torch.device,
    *,
    pinned: bool = False,
    cancelled: Callable[[], bool] | None = None,
) -> torch.Tensor:
    """All weights of a checkpoint in one buffer of this layout; gaps are zero.

    Raises Cancelled between tensors, NonfiniteWeights for NaN and infinity.
    """
    buffer = torch.zeros(layout.size, dtype=dtype, device=device, pin_memory=pinned and torch.cuda.is_available())
    weights = checkpoint.weights()
    names: list[str] = []
    tops: list[torch.Tensor] = []
    for name, entry in weights.items():
        if cancelled is not None and cancelled():
            raise Cancelled
        slot = layout.slots[name]
        _read_into(buffer[slot.start : slot.stop], entry)
        if entry.size == 0:
            continue
        names.append(name)
        # The largest of all, which NaN is too, in one pass; on a GPU nothing waits for it here.
        tops.append(torch.linalg.vector_norm(buffer[slot.start : slot.stop], ord=math.inf, dtype=torch.float32))
    spoilt = sorted(name for name, top in zip(names, torch.stack(tops).isfinite().tolist(), strict=True) if not top)
    if spoilt:
        kind = WeightsOverflow if all(_finite(weights[name]) for name in spoilt) else NonfiniteWeights
        raise kind(file=checkpoint.name, tensors=spoilt[:REPORTED_TENSORS])
    return buffer


def _finite(entry: TensorEntry) -> bool:
    stored = torch.empty(entry.size, dtype=TORCH_DTYPES[entry.dtype])
    _read_into(stored, entry)
    return bool(stored.isfinite().all())


def _read_into(target: torch.Tensor, entry: TensorEntry) -> None:
    dtype = TORCH_DTYPES[entry.dtype]
    step = READ_BYTES // dtype.itemsize
    with entry.file.open("rb") as stream:
        stream.seek(entry.offset)
        for begin in range(0, entry.size, step):
            count = min(step, entry.size - begin)
            raw = np.fromfile(stream, np.uint8, count * dtype.itemsize)
            target[begin : begin + count].copy_(torch.from_numpy(raw).view(dtype))
