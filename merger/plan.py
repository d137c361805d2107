"""What a merge will write: files, names, offsets and sizes, known before a weight is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Literal

from merger.bilingual import Text
from merger.checkpoint import SINGLE_FILE, Checkpoint
from merger.dtypes import WIDTH
from merger.errors import BadParameter, Fault

# Room for sidecars, which are small beside the weights, and for the file system's own bookkeeping.
SPARE_BYTES = 32 << 20
# The default of save_pretrained: no Whisper reaches it, so a result is one file unless smaller shards are asked for.
MAX_SHARD_BYTES = 50 * 10**9
MAX_SHARDS = 200  # every one of them is an open file while the merge runs
# What is checked before a result appears: what was written, as far as memory tells, or what the disk gives back.
Verify = Literal["written", "full"]
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One tensor of the output; `offset` counts from the first byte behind the header of its file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    file: str = SINGLE_FILE

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
    """The weight files of an output: tensors in the order of their files and bytes."""

    tensors: tuple[OutputTensor, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)

    @cached_property
    def files(self) -> dict[str, tuple[OutputTensor, ...]]:
        """The tensors by the name of their file: one file, or shards."""
        found: dict[str, list[OutputTensor]] = {}
        for tensor in self.tensors:
            found.setdefault(tensor.file, []).append(tensor)
        return {file: tuple(tensors) for file, tensors in found.items()}

    def header(self, file: str, metadata: Mapping[str, str]) -> bytes:
        """A file's first bytes: length and JSON, padded with spaces so that the tensors start at a multiple of 8."""
        entries: dict[str, object] = {"__metadata__": dict(metadata)}
        for tensor in self.files[file]:
            offsets = [tensor.offset, tensor.offset + tensor.nbytes]
            entries[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": offsets}
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=True).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    def index(self) -> dict[str, Any] | None:
        """The content of `model.safetensors.index.json`; None for a single file."""
        if len(self.files) == 1:
            return None
        return {
            "metadata": {"total_size": self.nbytes, "total_parameters": sum(tensor.size for tensor in self.tensors)},
            "weight_map": {tensor.name: tensor.file for tensor in self.tensors},
        }

    def disk_bytes(self) -> int:
        """Free space that the output needs, sidecars included."""
        return self.nbytes + SPARE_BYTES


def plan_output(first: Checkpoint, dtype: str | None = None, max_shard_bytes: int = MAX_SHARD_BYTES) -> OutputPlan:
    """The output has the tensors of the first source, in its order and dtypes (or all in `dtype`).

    Shards are filled one after the other, each with at most `max_shard_bytes` of tensors; a larger tensor has a shard
    of its own. Raises BadParameter if there would be too many.
    """
    entries = [(entry.name, dtype or entry.dtype, entry.shape) for entry in first.weights().values()]
    # Wide dtypes first keeps every tensor aligned to its own width, as the format asks of writers.
    entries.sort(key=lambda entry: -WIDTH[entry[1]])
    shards = list(_filled((OutputTensor(*entry, 0) for entry in entries), max_shard_bytes))
    if len(shards) > MAX_SHARDS:
        raise _shard_fault(
            Text(f"вышло бы {len(shards)} файлов весов.", f"there would be {len(shards)} weight files."),
            Text(f"Не больше {MAX_SHARDS}: укажите больший размер.", f"{MAX_SHARDS} at most: give a larger size."),
        )
    single = len(shards) == 1
    placed = []
    for number, shard in enumerate(shards, start=1):
        file, offset = SINGLE_FILE if single else f"model-{number:05}-of-{len(shards):05}.safetensors", 0
        for tensor in shard:
            placed.append(OutputTensor(tensor.name, tensor.dtype, tensor.shape, offset, file))
            offset += tensor.nbytes
    return OutputPlan(tuple(placed))


def _filled(tensors: Iterable[OutputTensor], most: int) -> Iterable[list[OutputTensor]]:
    shard: list[OutputTensor] = []
    filled = 0
    for tensor in tensors:
        if shard and filled + tensor.nbytes > most:
            yield shard
            shard, filled = [], 0
        shard.append(tensor)
        filled += tensor.nbytes
    yield shard


def parse_shard_size(text: str) -> int:
    """Bytes from `5GB`, `500MB`, `2GiB` or a plain number. Raises BadParameter."""
    found = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([KMG]?I?B|)\s*", text, re.IGNORECASE)
    unit = _UNITS.get(found.group(2).upper(), 0) if found else 0
    number = round(float(found.group(1)) * unit) if found else 0
    if number < 1:
        raise _shard_fault(
            Text(f"«{text}» — не размер.", f"“{text}” is no size."),
            Text("Например: 5GB, 500MB, 2GiB.", "For example: 5GB, 500MB, 2GiB."),
        )
    return number


def _shard_fault(sentence: Text, remedy: Text) -> BadParameter:
    flag = "--max-shard-size"
    return BadParameter(faults=[Fault(sentence, remedy, flag).prefixed(flag, flag)])
