"""Who computes: numpy, compiled kernels, or torch on a device. All give the same results.

An `Arithmetic` turns raw bytes into float32 arrays and back, and may offer faster ways for what a method measures and
for an operator; where it offers none, the plain definition is used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from merger.arrays import Array
from merger.bilingual import Text
from merger.dtypes import TORCH_NAMES, all_finite, narrow, widen
from merger.errors import DeviceUnavailable
from merger.operators import Cut, Operator

if TYPE_CHECKING:
    from merger.stream import StreamView
    from merger.views import Magnitude


class Arithmetic:
    """Plain numpy. `step` is the number of elements per stretch, a multiple of `views.SUM_BLOCK`."""

    name = "numpy"
    step = 1 << 19
    threads: int | None = None  # None: one per core

    def load(self, raw: np.ndarray, dtype: str) -> Array:
        """float32[n] from raw bytes."""
        return widen(raw, dtype)

    def store(self, values: Array, dtype: str, out: np.ndarray) -> None:
        """Round float32[n] into raw bytes."""
        out[:] = narrow(values, dtype)

    def finite(self, raw: np.ndarray, dtype: str) -> bool:
        """Whether raw bytes hold neither NaN nor infinity."""
        return all_finite(raw, dtype)

    def gram(self, view: StreamView) -> np.ndarray | None:
        """A faster `TensorView.gram`, or None."""
        return None

    def top(self, view: StreamView, magnitude: Magnitude, k: int) -> Cut | None:
        """A faster `TensorView.top`, or None."""
        return None

    def histogram(self, view: StreamView, magnitude: Magnitude, upper: int | None) -> np.ndarray | None:
        """A faster `TensorView.histogram`, or None."""
        return None

    def apply(
        self,
        operator: Operator,
        raws: Sequence[np.ndarray],
        dtypes: Sequence[str],
        start: int,
        out: np.ndarray,
        dtype: str,
        spoilt: np.ndarray | None = None,
    ) -> bool:
        """Apply an operator from raw bytes to raw bytes in one go, if there is a kernel for it; False if not.

        `raws` are the sources' stretches, the base's last if the method has one. In `spoilt`, int32[len(raws) + 1], a
        kernel sets the places of those that hold NaN or infinity to 1, the last place for the result.
        """
        return False


class TorchArithmetic(Arithmetic):
    """torch on a device: the same float32 operations, the same rounding; larger stretches, one feeding thread."""

    step = 1 << 24
    threads = 1

    def __init__(self, device: str) -> None:
        import torch

        self._torch = torch
        self._device = torch.device(device)
        self.name = str(self._device)

    def load(self, raw: np.ndarray, dtype: str) -> Array:
        torch = self._torch
        stored = torch.from_numpy(raw).view(getattr(torch, TORCH_NAMES[dtype]))
        return stored.to(self._device, copy=True).float()

    def store(self, values: Array, dtype: str, out: np.ndarray) -> None:
        torch = self._torch
        kind = getattr(torch, TORCH_NAMES[dtype])
        torch.from_numpy(out).view(kind).copy_(values.to(kind))


def choose_arithmetic(device: str = "auto") -> Arithmetic:
    """The arithmetic for `cpu`, `cuda`, `cuda:N` or `auto` (a GPU if there is one). Raises DeviceUnavailable.

    `auto` asks the driver before torch is imported: on a machine without a GPU that import would take longer than
    the merge.
    """
    if device == "auto":
        device = "cuda" if _nvidia_driver() and _cuda_works() else "cpu"
    if device == "cpu":
        from merger.native import native_arithmetic

        return native_arithmetic() or Arithmetic()
    if not re.fullmatch(r"cuda(:\d{1,3})?", device):
        detail = Text("есть cpu, cuda, cuda:N и auto", "there are cpu, cuda, cuda:N and auto")
        raise DeviceUnavailable(device=device, detail=detail)
    if not _cuda_works(int(device.split(":")[1]) if ":" in device else 0):
        raise DeviceUnavailable(device=device, detail=Text("такой видеокарты нет", "there is no such GPU"))
    return TorchArithmetic(device)


def _nvidia_driver() -> bool:
    return Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


def _cuda_works(index: int = 0) -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available() and index < torch.cuda.device_count()
