"""Source tensors read piece by piece from their files.

Reads go with `preadv` into buffers that are used again and again: memory stays the same whatever the model's size. A
tensor that fits the buffer is read once and stays there while it is measured and merged; a larger one is read again.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from merger.arithmetic import Arithmetic
from merger.bilingual import Text
from merger.checkpoint import Checkpoint
from merger.dtypes import WIDTH
from merger.errors import CorruptFile, IncompleteFile
from merger.layout import Place
from merger.operators import Chunk, Cut
from merger.safetensors_header import TensorEntry
from merger.views import Magnitude, TensorView

LOOK = 1 << 12  # elements
AHEAD_BYTES = 32 << 20  # how far the kernel is asked to read ahead of us


class SourceFiles:
    """The opened weight files of all sources; safe to use from several threads. Close it, or use `with`."""

    def __init__(self, sources: Mapping[str, Checkpoint]) -> None:
        self.keys = tuple(sources)
        self._entries = {key: checkpoint.weights() for key, checkpoint in sources.items()}
        self._descriptors: dict[Path, int] = {}
        self._identities: dict[Path, tuple[int, int, int]] = {}
        self._asked: dict[Path, int] = {}  # up to which byte of a file the kernel was asked to read ahead
        for checkpoint in sources.values():
            for file in checkpoint.files:
                if file not in self._descriptors:
                    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
                    self._descriptors[file] = descriptor
                    self._asked[file] = 0
                    self._identities[file] = self._identity(descriptor)

    def __enter__(self) -> SourceFiles:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    @staticmethod
    def _identity(descriptor: int) -> tuple[int, int, int]:
        status = os.fstat(descriptor)
        return status.st_ino, status.st_size, status.st_mtime_ns

    def check_unchanged(self) -> None:
        """Raises CorruptFile if a file was written to while it was being merged."""
        for file, descriptor in self._descriptors.items():
            if self._identity(descriptor) != self._identities[file]:
                detail = Text("он изменился во время слияния", "it changed while it was being merged")
                raise CorruptFile(file=file.name, detail=detail)

    def entry(self, key: str, name: str) -> TensorEntry:
        """Where a source keeps a tensor."""
        return self._entries[key][name]

    def read(self, entry: TensorEntry, start: int, buffer: np.ndarray) -> None:
        """Fill `buffer` (uint8) with the tensor's bytes from byte `start` on. Raises IncompleteFile."""
        descriptor = self._descriptors[entry.file]
        view, offset = buffer.data, entry.offset + start
        self._read_ahead(entry.file, descriptor, offset + len(view))
        while view:
            count = os.preadv(descriptor, [view], offset)
            if count <= 0:
                found = os.fstat(descriptor).st_size
                raise IncompleteFile(file=entry.file.name, expected=entry.offset + entry.nbytes, found=found)
            view, offset = view[count:], offset + count

    def _read_ahead(self, file: Path, descriptor: int, end: int) -> None:
        """Ask the kernel for what comes next, so that a cold disk is read in long runs whatever the workers' order."""
        if end + AHEAD_BYTES // 2 <= self._asked[file] or not hasattr(os, "posix_fadvise"):
            return
        begin = self._asked[file] if end < self._asked[file] else end
        self._asked[file] = begin + AHEAD_BYTES
        os.posix_fadvise(descriptor, begin, AHEAD_BYTES, os.POSIX_FADV_WILLNEED)


class Buffers:
    """One worker's memory: a buffer per source, grown to at most `limit` bytes each and used again."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._memory: dict[str, np.ndarray] = {}

    def get(self, key: str, nbytes: int) -> np.ndarray:
        """uint8[nbytes] of the buffer named `key`; what it held before is lost."""
        memory = self._memory.get(key)
        if memory is None or len(memory) < nbytes:
            memory = self._memory[key] = np.empty(nbytes, np.uint8)
        return memory[:nbytes]


class StreamedTensor:
    """One tensor of all sources as raw bytes, read when needed; belongs to one worker thread."""

    def __init__(self, files: SourceFiles, place: Place, buffers: Buffers, step: int, checkpoint: Callable[[], None]):
        self.place = place
        self.step = step  # elements per stretch
        self.entries = [files.entry(key, place.name) for key in files.keys]
        self.dtypes = [entry.dtype for entry in self.entries]
        self._files, self._buffers, self._between = files, buffers, checkpoint
        self._fits = all(entry.nbytes <= buffers.limit for entry in self.entries)
        self._kept = False
        self._loaded = [0] * len(self.entries)  # bytes of each source that lie in its buffer, once it is kept

    def keep(self) -> None:
        """From now on hold what is read, if it fits: the tensor will be passed over more than once."""
        self._kept = self._fits

    def raw(self, index: int, start: int, count: int) -> np.ndarray:
        """uint8 bytes of `count` elements from element `start` on; valid until the next stretch is asked for."""
        entry, width = self.entries[index], WIDTH[self.dtypes[index]]
        key, begin, end = f"source {index}", start * width, (start + count) * width
        if not self._kept:
            buffer = self._buffers.get(key, end - begin)
            self._files.read(entry, begin, buffer)
            return buffer
        buffer = self._buffers.get(key, entry.nbytes)
        if self._loaded[index] < end:
            self._files.read(entry, self._loaded[index], buffer[self._loaded[index] : end])
            self._loaded[index] = end
        return buffer[begin:end]

    def scratch(self, key: str, nbytes: int) -> np.ndarray:
        """uint8[nbytes] for a measurement's own use; what it held before is lost."""
        return self._buffers.get(key, nbytes)

    def stretches(self, row: int = 1) -> Iterator[tuple[int, int]]:
        """(first element, count) of consecutive stretches of whole rows; checks for cancellation between them."""
        step = max(self.step // row, 1) * row
        for start in range(0, self.place.size, step):
            self._between()
            yield start, min(step, self.place.size - start)

    def all_equal(self, indices: Sequence[int]) -> bool:
        """Whether the sources hold the same bytes; stops at the first stretch that differs."""
        if len({self.dtypes[index] for index in indices}) > 1:
            return False
        # Tensors that were trained differ at once: a short look first saves reading most of them twice.
        look = (0, min(LOOK, self.place.size))
        return all(self._equal(indices, start, count) for start, count in itertools.chain([look], self.stretches()))

    def _equal(self, indices: Sequence[int], start: int, count: int) -> bool:
        first = self.raw(indices[0], start, count)
        return all(np.array_equal(first, self.raw(index, start, count)) for index in indices[1:])


class StreamView(TensorView):
    """A streamed tensor as a method sees it; `indices` are the sources, `base` the index of the base."""

    def __init__(
        self, tensor: StreamedTensor, indices: Sequence[int], base: int | None, arithmetic: Arithmetic, survey: object
    ) -> None:
        super().__init__(tensor.place, len(indices), base is not None, survey)
        self.tensor, self.indices, self.base, self.arithmetic = tensor, tuple(indices), base, arithmetic

    def only(self, sources: Sequence[int]) -> StreamView:
        indices = [self.indices[source] for source in sources]
        return StreamView(self.tensor, indices, self.base, self.arithmetic, self.survey)

    def chunk(self, start: int, count: int) -> Chunk:
        """One stretch as float32 arrays."""
        load, dtypes = self.arithmetic.load, self.tensor.dtypes
        sources = tuple(load(self.tensor.raw(index, start, count), dtypes[index]) for index in self.indices)
        base = None if self.base is None else load(self.tensor.raw(self.base, start, count), dtypes[self.base])
        return Chunk(sources, base, start)

    def chunks(self) -> Iterator[Chunk]:
        self.tensor.keep()
        for start, count in self.tensor.stretches():
            yield self.chunk(start, count)

    def row_chunks(self) -> Iterator[Chunk]:
        self.tensor.keep()
        for start, count in self.tensor.stretches(self.place.size // self.place.rows):
            yield self.chunk(start, count)

    def gram(self) -> np.ndarray:
        self.tensor.keep()
        found = self.arithmetic.gram(self)
        return super().gram() if found is None else found

    def top(self, magnitude: Magnitude, k: int) -> Cut:
        self.tensor.keep()
        found = self.arithmetic.top(self, magnitude, k) if 0 < k < self.place.size else None
        return super().top(magnitude, k) if found is None else found

    def histogram(self, magnitude: Magnitude, upper: int | None) -> np.ndarray:
        self.tensor.keep()
        found = self.arithmetic.histogram(self, magnitude, upper)
        return super().histogram(magnitude, upper) if found is None else found
