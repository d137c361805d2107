"""Carrying out operators: from the sources' flat buffers into the merged one, in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from merger.arithmetic import Arithmetic
from merger.errors import Cancelled
from merger.live.flat import FlatLayout
from merger.operators import Chunk, Linear, Operator, TopBlend

if TYPE_CHECKING:
    from merger.live.kernels import MergeKernel

# Elements per step. On the CPU its temporaries stay in the second-level cache, and it is short enough for torch not to
# wake its other threads, which costs more than it brings; on a GPU it amortises launches.
STEP = {"cpu": 1 << 15, "cuda": 1 << 26}
# Of the compiled kernels, whose only temporary is the rounded result: fewer calls (docs/lab-book/live.md).
KERNEL_STEP = 1 << 18
NAMES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}
Read = Callable[[int, int], tuple[tuple[torch.Tensor, ...], torch.Tensor | None]]


@dataclass(frozen=True)
class Stretch:
    """Neighbouring tensors that one operator merges: elements [start, stop) of the buffers."""

    operator: Operator
    dtype: torch.dtype
    start: int
    stop: int
    names: tuple[str, ...]


def stretches(
    layout: FlatLayout, operators: Mapping[str, Operator], dtypes: Mapping[str, torch.dtype]
) -> Iterator[Stretch]:
    """The tensors of `operators` in buffer order, neighbours with the same linear operator and output dtype joined.

    Only `Linear` does not look at an element's index, so only there may tensors be joined; the zero gaps between them
    stay zero.
    """
    run: list[str] = []

    def joined() -> Stretch:
        first, last = layout.slots[run[0]], layout.slots[run[-1]]
        return Stretch(operators[run[0]], dtypes[run[0]], first.start, last.stop, tuple(run))

    for name in layout.slots:
        operator = operators.get(name)
        if run and not (
            isinstance(operator, Linear) and operator == operators[run[0]] and dtypes[name] == dtypes[run[0]]
        ):
            yield joined()
            run = []
        if operator is not None:
            run.append(name)
    if run:
        yield joined()


class HostKernels:
    """The compiled kernels of a merge to disk, over flat buffers in host memory."""

    def __init__(
        self, arithmetic: Arithmetic, sources: Sequence[torch.Tensor], base: torch.Tensor | None, merged: torch.Tensor
    ) -> None:
        self._arithmetic = arithmetic
        self._sources = [*sources, *([] if base is None else [base])]
        self._raws = [buffer.view(torch.uint8).numpy() for buffer in self._sources]
        self._dtypes = [NAMES[buffer.dtype] for buffer in self._sources]
        self._merged, self._out = merged, merged.view(torch.uint8).numpy()

    def apply(self, stretch: Stretch, begin: int, end: int) -> bool:
        """Write merged[begin:end] if there is a kernel for the operator; False if not."""
        width = [buffer.element_size() for buffer in self._sources]
        raws = [raw[begin * size : end * size] for raw, size in zip(self._raws, width, strict=True)]
        if self._merged.dtype == stretch.dtype:
            size = stretch.dtype.itemsize
            out = self._out[begin * size : end * size]
        else:
            out = np.empty((end - begin) * stretch.dtype.itemsize, np.uint8)
        offset = begin - stretch.start
        if not self._arithmetic.apply(stretch.operator, raws, self._dtypes, offset, out, NAMES[stretch.dtype]):
            return False
        if self._merged.dtype != stretch.dtype:
            self._merged[begin:end].copy_(torch.from_numpy(out).view(stretch.dtype))
        return True


def carry_out(
    stretch: Stretch,
    read: Read,
    merged: torch.Tensor,
    cancelled: Callable[[], bool] | None,
    kernels: HostKernels | None = None,
) -> None:
    """Write a stretch of the mixture, rounded once to its dtype.

    Where the buffer is wider than that (a float32 buffer on the CPU, an fp16 checkpoint) the values are those that an
    export would hold. Raises Cancelled between two steps.
    """
    start = stretch.start
    if kernels is not None:
        for begin, end in _steps(stretch, start, KERNEL_STEP, cancelled):
            if not kernels.apply(stretch, begin, end):
                break
            start = end
    for begin, end in _steps(stretch, start, STEP[merged.device.type], cancelled):
        sources, base = read(begin, end)
        result = stretch.operator(Chunk(sources, base, begin - stretch.start))
        merged[begin:end].copy_(result if merged.dtype == stretch.dtype else result.to(stretch.dtype))


def _steps(
    stretch: Stretch, start: int, size: int, cancelled: Callable[[], bool] | None
) -> Iterator[tuple[int, int]]:
    """The rest of a stretch from `start` on in steps of about `size` elements, whole rows. Raises Cancelled."""
    row = stretch.operator.row
    step = max(size // row, 1) * row
    for begin in range(start, stretch.stop, step):
        if cancelled is not None and cancelled():
            raise Cancelled
        yield begin, min(begin + step, stretch.stop)


def slot_names(layout: FlatLayout, stack: str) -> list[str]:
    """Names of the tensors that lie in one stack ("encoder" or "decoder")."""
    return [name for name, slot in layout.slots.items() if slot.place.stack == stack]


def same(written: Operator | None, wanted: Operator) -> bool:
    """Whether a tensor already holds what `wanted` would write. Operators of other methods may hold arrays, which do
    not compare as values: those are the same only if they are one object."""
    if isinstance(wanted, (Linear, TopBlend)):
        return written == wanted
    return written is wanted


def make_kernel(layout: FlatLayout, sources: Sequence[torch.Tensor], merged: torch.Tensor) -> MergeKernel | None:
    """The Triton kernel over these buffers; None on the CPU, without triton, or for a layout that it does not suit."""
    if merged.device.type != "cuda":
        return None
    try:
        from merger.live.kernels import MergeKernel, fits_kernel
    except ImportError:
        return None
    return MergeKernel(layout, sources[0], sources[1], merged) if fits_kernel(layout) else None
