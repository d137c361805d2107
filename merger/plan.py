"""What a merge will write: names, offsets and sizes, known before a weight is read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from merger.checkpoint import Checkpoint
from merger.dtypes import WIDTH

# Room for sidecars, which are small beside the weights, and for the file system's own bookkeeping.
SPARE_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One tensor of the output file; `offset` counts from the first byte behind the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.size * WIDTH[self.dtype]


@dataclass(frozen=True)
class OutputPlan:
    """The output file: tensors in the order of their bytes."""

    tensors: tuple[OutputTensor, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)

    def header(self, metadata: Mapping[str, str]) -> bytes:
        """The file's first bytes: length and JSON, padded with spaces so that the tensors start at a multiple of 8."""
        entries: dict[str, object] = {"__metadata__": dict(metadata)}
        for tensor in self.tensors:
            offsets = [tensor.offset, tensor.offset + tensor.nbytes]
            entries[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": offsets}
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=True).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    def disk_bytes(self) -> int:
        """Free space that the output needs, sidecars included."""
        return self.nbytes + SPARE_BYTES


def plan_output(first: Checkpoint, dtype: str | None = None) -> OutputPlan:
    """The output has the tensors of the first source, in its order and dtypes (or all in `dtype`)."""
    entries = first.weights().values()
    return OutputPlan(tuple(_laid_out((entry.name, dtype or entry.dtype, entry.shape) for entry in entries)))


def _laid_out(tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> Iterable[OutputTensor]:
    # Wide dtypes first keeps every tensor aligned to its own width, as the format asks of writers.
    offset = 0
    for name, dtype, shape in sorted(tensors, key=lambda tensor: -WIDTH[tensor[1]]):
        tensor = OutputTensor(name, dtype, shape, offset)
        offset += tensor.nbytes
        yield tensor
