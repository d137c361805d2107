"""What a batch keeps of the windows that its rows hear, and how rows take new ones."""

from __future__ import annotations

import math
from typing import Protocol

import torch

from evaluation.engine import cuda_hear
from evaluation.engine.cpu import linear
from evaluation.engine.cuda_hear import Hearing
from evaluation.engine.device_loop import Captured, put
from evaluation.engine.model import Caches, Memory, decode_many, fill_cross, heads_first, look, text_caches
from evaluation.engine.tensors import WhisperTensors

# Most windows that are encoded together, and taken in. 18 of 1500 positions make 211 × 5 tiles of the large models'
# products, just what 132 multiprocessors take in eight turns.
INTAKE = 18


class Windows(Protocol):
    """Of b rows."""

    @property
    def memory(self) -> Memory:
        """What the decoder of the rows has before it."""
        ...

    def take_in(self, rows: torch.Tensor, heard: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """Give rows, int64[n], windows with encoder outputs heard[n, 1500, d], and decode prompt int64[n, t]; returns
        its hidden states [n, t, d]."""
        ...


class KeyedWindows:
    """Keys and values of every layer's cross-attention."""

    def __init__(self, tensors: WhisperTensors, rows: int) -> None:
        self._tensors, self.memory = tensors, Caches(tensors, rows)

    def take_in(self, rows: torch.Tensor, heard: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """See `Windows.take_in`."""
        fresh = Caches(self._tensors, len(rows))
        fill_cross(self._tensors, heard, fresh)
        hidden = decode_many(self._tensors, fresh, prompt, 0)
        self.memory.cross_kv.index_copy_(2, rows, fresh.cross_kv)
        _keep_text(self.memory, rows, fresh, prompt.shape[1])
        return hidden

    @staticmethod
    def nbytes(tensors: WhisperTensors, rows: int) -> int:
        """Bytes of so many rows, and of the caches of those that are being taken in."""
        return (rows + min(rows, INTAKE)) * (tensors.text_nbytes() + tensors.cross_nbytes())


class HeardWindows:
    """The encoder's output itself, for the cross-attention of `cuda_hear`; raises what `Hearing` does."""

    def __init__(self, tensors: WhisperTensors, rows: int) -> None:
        self._tensors, self.memory = tensors, SoundMemory(tensors, rows)
        self._prompts: dict[int, PromptPass] = {}

    def take_in(self, rows: torch.Tensor, heard: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """See `Windows.take_in`."""
        self.memory.heard[rows] = heard
        length = prompt.shape[1]
        if length not in self._prompts:
            self._prompts[length] = PromptPass(self.memory, self._tensors, length)
        fresh = self._prompts[length]
        hidden = []
        for some, prompts in zip(*(torch.split(given, fresh.most) for given in (rows, prompt)), strict=True):
            hidden.append(fresh.decode(some, prompts).clone())
            _keep_text(self.memory, some, fresh.memory, length)
        return torch.cat(hidden)

    @staticmethod
    def nbytes(tensors: WhisperTensors, rows: int) -> int:
        """Bytes of so many rows."""
        sound = math.prod(cuda_hear.padded(tensors.source_positions, tensors.width)) * tensors.dtype.itemsize
        return rows * (tensors.text_nbytes() + sound)


class SoundMemory:
    """Encoder outputs heard[rows, 1500, d] in memory as `cuda_hear` wants it; row i hears windows[i], int32[rows]."""

    def __init__(self, tensors: WhisperTensors, rows: int) -> None:
        self._tensors, device = tensors, tensors.device
        self.self_kv = text_caches(tensors, rows, tensors.target_positions)
        self.heard = cuda_hear.room_for(rows, tensors.source_positions, tensors.width, tensors.dtype, device)
        self.windows = torch.arange(rows, dtype=torch.int32, device=device)

    def hear(self, index: int, q: torch.Tensor) -> torch.Tensor:
        """See `Memory.hear`. The plain twin of `Hearing`: with keys and values that are made for this once."""
        cross = self._tensors.decoder[index].cross
        assert cross is not None
        sound = self.heard[self.windows[: len(q)].long()]
        keys, values = (heads_first(linear(sound, *pair), q.shape[1]) for pair in (cross.k, cross.v))
        return look(q, keys, values)


class PromptMemory:
    """What prompts of `length` tokens have before them, of `most` windows: each of their tokens is a row that hears its
    window."""

    def __init__(self, memory: SoundMemory, tensors: WhisperTensors, length: int, most: int) -> None:
        count, device, dtype = most * length, tensors.device, tensors.dtype
        self._length = length
        self.self_kv = text_caches(tensors, most, length)
        self._windows = torch.zeros(count, dtype=torch.int32, device=device)
        self.idle = torch.ones(count, dtype=torch.bool, device=device)
        self._q, self._out = (torch.zeros((count, tensors.width), dtype=dtype, device=device) for _ in range(2))
        self._hear = Hearing(tensors, memory.heard, self._windows, self.idle)

    def listen_to(self, windows: torch.Tensor) -> None:
        """From now on the first prompts are those of windows int64[n]; the others are idle."""
        count = len(windows) * self._length
        self._windows[:count] = windows.repeat_interleave(self._length)
        self.idle.fill_(True)
        self.idle[:count] = False

    def hear(self, index: int, q: torch.Tensor) -> torch.Tensor:
        """See `Memory.hear`. For idle prompts: something finite."""
        windows, heads, length, width = q.shape
        self._q.view(windows, length, heads, width).copy_(q.transpose(1, 2))
        self._hear(index, self._q, self._out)
        return self._out.view(windows, length, heads, width).transpose(1, 2)


class PromptPass:
    """Prompts of `length` tokens for at most `most` new windows, in one graph where there is a GPU, which would rest
    while hundreds of kernels are launched. Raises what `Hearing` does."""

    def __init__(self, sound: SoundMemory, tensors: WhisperTensors, length: int) -> None:
        self.most = max(1, min(INTAKE, cuda_hear.MOST_ROWS // length))
        memory = self.memory = PromptMemory(sound, tensors, length, self.most)
        prompts = torch.zeros((self.most, length), dtype=torch.int64, device=tensors.device)
        shape = (self.most, length, tensors.width)
        hidden = torch.zeros(shape, dtype=tensors.dtype, device=tensors.device)
        self._prompts, self._hidden = prompts, hidden
        # Not a method: a circle would hold the caches of a batch that did not fit until it is collected.
        self._run = Captured(lambda: put(hidden, decode_many(tensors, memory, prompts, 0)), tensors.device)

    def decode(self, windows: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """Hidden states [n, t, d], until the next call, of prompt int64[n, t] for windows int64[n]; its keys and values
        are in `memory`."""
        count = len(windows)
        self.memory.listen_to(windows)
        self._prompts[:count] = prompt
        self._run()
        return self._hidden[:count]


def _keep_text(memory: Memory, rows: torch.Tensor, fresh: Memory, length: int) -> None:
    memory.self_kv[:, :, rows, :, :length] = fresh.self_kv[:, :, : len(rows), :, :length]
