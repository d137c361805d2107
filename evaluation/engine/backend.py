"""How the parts of the engine are run on a device: with measured threads on the CPU, as captured graphs on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

import torch

from evaluation.engine.cpu import fastest_threads, keep_freed_memory, threads
from evaluation.engine.device_greedy import DeviceWindowDecoder, MakeStep, make_plain_span
from evaluation.engine.device_loop import Captured, Step, put
from evaluation.engine.greedy import Decoded, WindowDecoder
from evaluation.engine.kernel_choice import fastest_span, fastest_step
from evaluation.engine.model import Caches, decode_many, encode, encoder_layer, fill_cross
from evaluation.engine.rules import Rules
from evaluation.engine.streams import own_stream
from evaluation.engine.tensors import WhisperTensors

_MEASURED: dict[tuple[Hashable, ...], tuple[int, int]] = {}  # CPU threads by model shape


class Backend(Protocol):
    """One model on one device, a window at a time; used by one thread at a time."""

    @property
    def tensors(self) -> WhisperTensors:
        """The model's weights."""
        ...

    @property
    def stream(self) -> torch.cuda.Stream | None:
        """On a GPU a stream of its own, for when it runs at the same time as others."""
        ...

    def encode(self, window: torch.Tensor) -> torch.Tensor:
        """Encoder output [1500, d], a tensor of its own, of one window of log-mel features [mel_bins, 3000]."""
        ...

    def decode(
        self,
        heard: torch.Tensor,
        prompt: Sequence[int],
        limit: int,
        rules: Rules,
        *,
        drafts: Sequence[Sequence[int]],
        cancelled: Callable[[], bool] | None,
    ) -> Decoded:
        """What is written for encoder output [1500, d]; afterwards the caches hold that window."""
        ...


def make_backend(tensors: WhisperTensors, caches: Caches) -> Backend:
    """The backend for the device that the weights lie on."""
    return CudaBackend(tensors, caches) if tensors.device.type == "cuda" else CpuBackend(tensors, caches)


class CpuBackend:
    """Plain calls; the numbers of threads are those that were fastest here when the engine was made."""

    def __init__(self, tensors: WhisperTensors, caches: Caches) -> None:
        keep_freed_memory()
        self.tensors, self.caches, self.stream = tensors, caches, None
        self._decoder = WindowDecoder(tensors, caches)
        self.encode_threads, self.decode_threads = measured_threads(tensors, caches)

    def encode(self, window: torch.Tensor) -> torch.Tensor:
        """See `Backend.encode`."""
        with threads(self.encode_threads):
            return encode(self.tensors, window[None])[0]

    def decode(
        self,
        heard: torch.Tensor,
        prompt: Sequence[int],
        limit: int,
        rules: Rules,
        *,
        drafts: Sequence[Sequence[int]],
        cancelled: Callable[[], bool] | None,
    ) -> Decoded:
        """See `Backend.decode`."""
        with threads(self.encode_threads):
            fill_cross(self.tensors, heard[None], self.caches)
        with threads(self.decode_threads):
            return self._decoder.decode(prompt, limit, rules, drafts=drafts, cancelled=cancelled)


class CudaBackend:
    """Captured graphs over buffers that keep their addresses; captured when they are first needed."""

    def __init__(self, tensors: WhisperTensors, caches: Caches, make_step: MakeStep | None = None) -> None:
        self.tensors, self.caches = tensors, caches
        self.stream = own_stream(self, tensors.device)
        make_span = make_plain_span if make_step else fastest_span(tensors)
        self._decoder = DeviceWindowDecoder(tensors, caches, make_step or fastest_step(tensors), make_span, self.stream)
        shape = (1, tensors.conv1[0].shape[1], 2 * tensors.source_positions)
        self._window = torch.zeros(shape, dtype=tensors.dtype, device=tensors.device)
        self._heard = torch.zeros(
            (1, tensors.source_positions, tensors.width), dtype=tensors.dtype, device=tensors.device
        )
        self._encode: Captured | None = None
        self._fill: Captured | None = None

    def encode(self, window: torch.Tensor) -> torch.Tensor:
        """See `Backend.encode`."""
        if self._encode is None:
            self._encode = self._captured(lambda: put(self._heard, encode(self.tensors, self._window)))
        self._window.copy_(window[None])
        self._encode()
        return self._heard[0].clone()

    def decode(
        self,
        heard: torch.Tensor,
        prompt: Sequence[int],
        limit: int,
        rules: Rules,
        *,
        drafts: Sequence[Sequence[int]],
        cancelled: Callable[[], bool] | None,
    ) -> Decoded:
        """See `Backend.decode`."""
        if self._fill is None:
            self._fill = self._captured(lambda: fill_cross(self.tensors, self._heard, self.caches))
        self._heard.copy_(heard[None])
        self._fill()
        return self._decoder.decode(prompt, limit, rules, drafts=drafts, cancelled=cancelled)

    def _captured(self, function: Step) -> Captured:
        return Captured(function, self.tensors.device, stream=self.stream)


def measured_threads(tensors: WhisperTensors, caches: Caches) -> tuple[int, int]:
    """The numbers of CPU threads with which one encoder layer and one decoder step take least time on this machine."""
    shape = (tensors.width, tensors.encoder_heads, len(tensors.decoder), tensors.embed.shape[0])
    key = (*shape, torch.get_num_threads(), tensors.dtype)
    if key not in _MEASURED:
        sound = torch.zeros((1, tensors.source_positions, tensors.width), dtype=tensors.dtype)
        token = torch.zeros((1, 1), dtype=torch.int64)
        middle = tensors.target_positions // 4
        with torch.inference_mode():
            _MEASURED[key] = (
                fastest_threads(lambda: encoder_layer(tensors, tensors.encoder[0], sound)),
                fastest_threads(lambda: decode_many(tensors, caches, token, middle)),
            )
    return _MEASURED[key]
