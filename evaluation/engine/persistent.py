"""One token through the decoder in one kernel (`decoder.cu`), for one window on a Hopper GPU or a newer one.

Compiled for the model's shape when it is made, by NVRTC, which comes with torch's CUDA packages as `cuda.bindings` does.
Its twins are `TritonDecoder` and `model.decode_rows`; `kernel_choice` tries it against the latter before it is used.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from evaluation.engine.model import Caches
from evaluation.engine.tensors import WhisperTensors

HEAD_WIDTH = 64
WARPS = 8  # workers; the loader is one more
BLOCK_BYTES = 227 << 10  # shared memory that one block may have
AHEAD_BYTES = 50 << 10  # on their way to one block: more would only stand in line, and messages behind them
MOST_SLOTS, GROUP = 64, 8
PADDING = 256  # bytes that `shared_bytes` may count too low: alignment
TRIPLES = 22
ENTRY = b"decode_token"
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Shape:
    """The constants that `decoder.cu` is compiled with, under the names it has for them."""

    D: int
    H: int
    F: int
    L: int
    V: int
    S: int
    T: int
    GRID: int
    WARPS: int
    SLOTS: int
    AHEAD: int

    @classmethod
    def of(cls, tensors: WhisperTensors, blocks: int, warps: int = WARPS) -> Shape:
        """The shape of a model on a device with so many multiprocessors. Every block has to have a share of every
        product, and small models are faster on fewer blocks, which have less to tell each other."""
        width, hidden, layers = tensors.width, tensors.decoder[0].fc1[0].shape[0], len(tensors.decoder)
        shape = cls(
            D=width, H=tensors.decoder_heads, F=hidden, L=layers, V=tensors.head.shape[0],
            S=tensors.source_positions, T=tensors.target_positions, GRID=min(blocks, width // 4), WARPS=warps,
            SLOTS=0, AHEAD=0,
        )  # fmt: skip
        slots = min((BLOCK_BYTES - shape.shared_bytes()) // shape.slot_bytes(), MOST_SLOTS)
        return replace(shape, SLOTS=slots, AHEAD=min(AHEAD_BYTES // (4 * width), slots - GROUP))

    def shared_bytes(self) -> int:
        """Shared memory of a block without its slots, and then with them."""
        words = 9 + 18 * (self.L + 1) + 7 * 4
        halves = 4 * self.D + self.F + 4 * -(-self.F // 2 // self.GRID) + 3 * HEAD_WIDTH
        floats = self.WARPS * (HEAD_WIDTH + 4) + 3 * TRIPLES + 32 * (self.WARPS + 4) + self.GRID + self.T
        return 8 * words + 2 * halves + 4 * floats + PADDING + self.SLOTS * self.slot_bytes()

    def slot_bytes(self) -> int:
        """Shared memory of a slot: two rows, each a little apart from the next, and two barriers."""
        return 2 * (2 * self.D + 16) + 16

    def exchange_bytes(self) -> int:
        """What the blocks tell each other: words of 8 bytes for two values, 16 for three of an attention's stretch."""
        return 8 * (6 * self.D + self.F) // 2 + 16 * TRIPLES * self.H * (self.GRID // self.H)

    def prelude(self, bf16: bool) -> str:
        """The declaration of these constants."""
        values = ", ".join(f"{field.name} = {getattr(self, field.name)}" for field in fields(self))
        return f"constexpr int {values};\nconstexpr bool BF16 = {str(bf16).lower()};\n"


def suits(tensors: WhisperTensors) -> bool:
    """Whether the kernel can compute this model: half precision, fused projections, heads of 64, rows of which copies
    of 16 bytes can be made."""
    width, hidden = tensors.width, tensors.decoder[0].fc1[0].shape[0]
    return (
        tensors.dtype in {torch.float16, torch.bfloat16}
        and all(layer.attn.fused is not None for layer in tensors.decoder)
        and width == HEAD_WIDTH * tensors.decoder_heads
        and width % HEAD_WIDTH == 0
        and hidden % width == 0
        and hidden <= 4 * width
        and tensors.target_positions % 4 == 0
        and all(pointer % 16 == 0 for pointer in tensors.pointers())
    )


def address_table(
    tensors: WhisperTensors, caches: Caches, token: torch.Tensor, position: torch.Tensor, scores: torch.Tensor,
    exchange: torch.Tensor, epoch: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """int64 on the model's device: the addresses in the order of `Head`; then, for every layer and for the output head,
    weight and bias of each product and gain and bias of each norm (0 where there is none)."""
    whole = (tensors.embed, tensors.decoder_positions, token, position, caches.self_kv, caches.cross_kv,
             scores, exchange, epoch)  # fmt: skip
    nothing = [None] * 10
    parts: list[Sequence[Any]] = [whole]
    for layer in tensors.decoder:
        attn, cross = layer.attn, layer.cross
        assert attn.fused is not None and cross is not None and layer.cross_norm is not None
        parts.append((
            *attn.fused, *attn.out, *cross.q, *cross.out, *layer.fc1, *layer.fc2,
            *layer.attn_norm, *layer.cross_norm, *layer.mlp_norm,
        ))  # fmt: skip
    parts.append((tensors.head, None, *nothing, *tensors.decoder_norm, None, None, None, None))
    addresses = [0 if t is None else t.data_ptr() for part in parts for t in part]
    return torch.tensor(addresses, dtype=torch.int64).to(tensors.device)


class PersistentDecoder:
    """`scores`, float32 logits [1, vocabulary], of token int64[1] at position int64[1]; `forward` can be captured.

    Raises ImportError without `cuda.bindings`, ValueError for models it does not suit, RuntimeError with CUDA's or the
    compiler's words where it cannot be made.
    """

    def __init__(
        self, tensors: WhisperTensors, caches: Caches, token: torch.Tensor, position: torch.Tensor
    ) -> None:
        if not suits(tensors) or len(token) != 1 or not caches.cross_kv.is_contiguous():
            raise ValueError("the one-kernel decoder does not support this")
        device = tensors.device
        self.shape = Shape.of(tensors, torch.cuda.get_device_properties(device).multi_processor_count)
        major, minor = torch.cuda.get_device_capability(device)
        self._kernel = _kernel(self.shape, tensors.dtype == torch.bfloat16, f"sm_{major}{minor}", device)
        self.scores = torch.zeros((1, self.shape.V), dtype=torch.float32, device=device)
        self._exchange = torch.zeros(self.shape.exchange_bytes() // 8, dtype=torch.int64, device=device)
        self._epoch = torch.zeros(1, dtype=torch.int32, device=device)
        self._kept = (tensors, caches, token, position)  # the table holds their addresses
        self._table = address_table(
            tensors, caches, token, position, self.scores, self._exchange, self._epoch
        )
        self._argument = ctypes.c_uint64(self._table.data_ptr())
        self._arguments = (ctypes.c_void_p * 1)(ctypes.addressof(self._argument))

    def forward(self) -> None:
        """Launch it on the current stream. All blocks have to run at once, which a cooperative launch promises."""
        from cuda.bindings import driver

        stream = torch.cuda.current_stream(self._table.device).cuda_stream
        _checked(driver.cuLaunchCooperativeKernel(
            self._kernel, self.shape.GRID, 1, 1, 32 * (self.shape.WARPS + 1), 1, 1, self.shape.shared_bytes(),
            stream, ctypes.addressof(self._arguments),
        ))  # fmt: skip


def source(shape: Shape, bf16: bool) -> str:
    """The kernel for one shape, whole."""
    parts = [(FOLDER / name).read_text(encoding="utf-8") for name in ("primitives.cuh", "decoder.cu")]
    return "\n".join([shape.prelude(bf16), *parts])


@cache
def _kernel(shape: Shape, bf16: bool, architecture: str, device: torch.device) -> Any:
    """The compiled and loaded kernel; compiled once per process, which takes about two seconds."""
    from cuda.bindings import driver, nvrtc

    program = _checked(nvrtc.nvrtcCreateProgram(source(shape, bf16).encode(), b"decoder.cu", 0, [], []))
    options = [f"--gpu-architecture={architecture}".encode(), b"--std=c++17"]
    outcome = nvrtc.nvrtcCompileProgram(program, len(options), options)[0]
    if outcome != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        log = b" " * _checked(nvrtc.nvrtcGetProgramLogSize(program))
        nvrtc.nvrtcGetProgramLog(program, log)
        raise RuntimeError(f"decoder.cu was not compiled: {log.decode(errors='replace').strip()[:2000]}")
    binary = b" " * _checked(nvrtc.nvrtcGetCUBINSize(program))
    _checked(nvrtc.nvrtcGetCUBIN(program, binary))
    nvrtc.nvrtcDestroyProgram(program)
    with torch.cuda.device(device):
        torch.cuda.synchronize(device)  # makes sure of a context
        kernel = _checked(driver.cuModuleGetFunction(_checked(driver.cuModuleLoadData(binary)), ENTRY))
    most = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    _checked(driver.cuFuncSetAttribute(kernel, most, shape.shared_bytes()))
    return kernel


def _checked(outcome: tuple[Any, ...]) -> Any:
    """The value of a call of CUDA's, or RuntimeError with the name of its error."""
    if int(outcome[0]) != 0:
        raise RuntimeError(f"CUDA: {outcome[0].name}")
    return outcome[1] if len(outcome) == 2 else outcome[1:]
