"""The decoder in CUDA (`cuda/decoder.cu`): one or a few tokens of one text, six kernels a layer; from Hopper GPUs on.

Compiled for the model's shape when it is made, by NVRTC, which comes with torch's CUDA packages as `cuda.bindings`
does. Its twins are `TritonDecoder` and `model.decode_span`; `kernel_choice` tries it before it is used.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from evaluation.engine.model import Caches
from evaluation.engine.tensors import WhisperTensors

THREADS, CLUSTER, OWN = 256, 8, 8  # as in decoder.cu: OWN outputs of one product, or columns of a head, per block
HEAD_WIDTH = OWN * CLUSTER
MOST_TOKENS = 8  # in one pass; their input has to lie beside the weights in shared memory
WIDEST = 8 * THREADS  # of the norms: a thread holds eight values
FOLDER = Path(__file__).parent / "cuda"
KERNELS = ("embed", "attend_to_text", "attend_to_sound", "project_out", "feed_up", "feed_down", "score")

_FAILED: dict[tuple[Shape, str], str] = {}  # why kernels could not be made: not tried again in this process

Argument = torch.Tensor | int | None


class KernelLaunch(NamedTuple):
    """One kernel of `decoder.cu`: its name, blocks and arguments in its order."""

    kernel: str
    blocks: int
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Shape:
    """The constants that `decoder.cu` is compiled with, under the names it has for them."""

    D: int
    F: int
    S: int
    T: int
    V: int
    BF16: bool
    ROWS: int

    @classmethod
    def of(cls, tensors: WhisperTensors, rows: int = 1) -> Shape:
        """The shape of a model and a pass over `rows` tokens."""
        return cls(
            D=tensors.width, F=tensors.decoder[0].fc1[0].shape[0], S=tensors.source_positions,
            T=tensors.target_positions, V=tensors.head.shape[0], BF16=tensors.dtype == torch.bfloat16, ROWS=rows,
        )  # fmt: skip

    def prelude(self) -> str:
        """The declaration of these constants."""
        return "".join(f"constexpr int {one.name} = {int(getattr(self, one.name))};\n" for one in fields(self))


def suits(tensors: WhisperTensors, caches: Caches) -> bool:
    """Whether the kernels can compute this model for these caches: one window, half precision, fused projections with
    biases, heads of 64, addresses from which 16 bytes can be read at once."""
    width, hidden = tensors.width, tensors.decoder[0].fc1[0].shape[0]
    return (
        caches.self_kv.shape[2] == 1
        and tensors.dtype in {torch.float16, torch.bfloat16}
        and all(layer.attn.fused is not None and layer.attn.fused[1] is not None for layer in tensors.decoder)
        and width == HEAD_WIDTH * tensors.decoder_heads
        and width <= WIDEST
        and hidden % HEAD_WIDTH == 0
        and tensors.target_positions % CLUSTER == 0
        and all(pointer % 16 == 0 for pointer in tensors.pointers())
    )


def installed() -> bool:
    """Whether the package is there through which CUDA's compiler and launches are reached; torch for CUDA brings it."""
    return importlib.util.find_spec("cuda") is not None and importlib.util.find_spec("cuda.bindings") is not None


def takes(tokens: int) -> bool:
    """Whether a pass can be over so many tokens: they are multiplied in pairs."""
    return tokens == 1 or (tokens % 2 == 0 and tokens <= MOST_TOKENS)


class CudaDecoder:
    """`scores`, float32 logits [t, vocabulary], of tokens int64[t], 1 or an even number of them up to MOST_TOKENS, that
    follow each other from `position`, int64 of one element; `forward` can be captured.

    Raises ImportError without `cuda.bindings`, ValueError for models it does not suit, RuntimeError with CUDA's or the
    compiler's words where it cannot be made.
    """

    pdl = True  # launches may start early

    def __init__(
        self, tensors: WhisperTensors, caches: Caches, tokens: torch.Tensor, position: torch.Tensor
    ) -> None:
        count = len(tokens)
        if not suits(tensors, caches) or not takes(count) or position.numel() != 1:
            raise ValueError("the CUDA kernels do not support this")
        device = self._device = tensors.device
        major, minor = torch.cuda.get_device_capability(device)
        self._kernels = _kernels(Shape.of(tensors, count), f"sm_{major}{minor}", device)
        self.scores = torch.zeros((count, tensors.head.shape[0]), dtype=torch.float32, device=device)
        launches = launches_of(tensors, caches, tokens, position, self.scores)
        # Addresses are all that is passed: the launches keep the tensors.
        self._prepared = [(launch, Packed(launch.arguments)) for launch in launches]

    def forward(self) -> None:
        """Launch everything on the current stream."""
        from cuda.bindings import driver

        stream = torch.cuda.current_stream(self._device).cuda_stream
        early = driver.CUlaunchAttribute()
        early.id = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
        early.value.programmaticStreamSerializationAllowed = 1
        config = driver.CUlaunchConfig()
        config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1
        config.blockDimX, config.hStream = THREADS, stream
        for index, (launch, packed) in enumerate(self._prepared):
            kernel, config.sharedMemBytes = self._kernels[launch.kernel]
            config.gridDimX = launch.blocks
            # The first one waits for all that came before, so that the others may read before they wait.
            config.attrs, config.numAttrs = ([early], 1) if index else ([], 0)
            _checked(driver.cuLaunchKernelEx(config, kernel, packed.address, 0))


class Packed:
    """Arguments of a kernel as CUDA takes them: at `address` an array of addresses of values."""

    def __init__(self, arguments: tuple[Argument, ...]) -> None:
        self._values = [_value(argument) for argument in arguments]
        self._array = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(value) for value in self._values))
        self.address = ctypes.addressof(self._array)


def _value(argument: Argument) -> Any:
    if isinstance(argument, int):
        return ctypes.c_int32(argument)
    return ctypes.c_uint64(0 if argument is None else argument.data_ptr())


def launches_of(
    tensors: WhisperTensors, caches: Caches, tokens: torch.Tensor, position: torch.Tensor, scores: torch.Tensor
) -> Iterator[KernelLaunch]:
    """The launches that make a step, with buffers of their own between them."""
    width, hidden, heads = tensors.width, tensors.decoder[0].fc1[0].shape[0], tensors.decoder_heads
    x, heard, inner = (
        torch.zeros((len(tokens), size), dtype=tensors.dtype, device=tensors.device) for size in (width, width, hidden)
    )
    yield KernelLaunch("embed", 1, (tokens, position, tensors.embed, tensors.decoder_positions, x))
    for index, layer in enumerate(tensors.decoder):
        assert layer.attn.fused is not None and layer.cross is not None and layer.cross_norm is not None
        own, sound = caches.self_kv[index], caches.cross_kv[index]
        across = sound.stride()[2:4]
        yield KernelLaunch(
            "attend_to_text", CLUSTER * heads,
            (x, *layer.attn.fused, *layer.attn_norm, position, own[0], own[1], heard),
        )  # fmt: skip
        yield KernelLaunch("project_out", width // OWN, (heard, *layer.attn.out, x))
        yield KernelLaunch(
            "attend_to_sound", CLUSTER * heads,
            (x, *layer.cross.q, *layer.cross_norm, sound[0], sound[1], heard, *across),
        )  # fmt: skip
        yield KernelLaunch("project_out", width // OWN, (heard, *layer.cross.out, x))
        yield KernelLaunch("feed_up", hidden // (2 * OWN), (x, *layer.fc1, *layer.mlp_norm, inner))
        yield KernelLaunch("feed_down", width // OWN, (inner, *layer.fc2, x))
    yield KernelLaunch("score", -(-len(tensors.head) // (4 * OWN)), (x, tensors.head, *tensors.decoder_norm, scores))


def source(shape: Shape, primitives: Path = FOLDER / "primitives.cuh") -> str:
    """The kernels for one shape, whole."""
    files = (primitives, *(FOLDER / name for name in ("product.cuh", "attention.cuh", "decoder.cu")))
    return "\n".join([shape.prelude(), *(path.read_text(encoding="utf-8") for path in files)])


def _kernels(shape: Shape, architecture: str, device: torch.device) -> dict[str, tuple[Any, int]]:
    """`_made_kernels`; raises RuntimeError with the first failure's words for ever after."""
    key = (shape, architecture)
    if key in _FAILED:
        raise RuntimeError(_FAILED[key])
    try:
        return _made_kernels(shape, architecture, device)
    except Exception as failure:
        _FAILED[key] = f"{type(failure).__name__}: {failure}"
        raise


@cache
def _made_kernels(shape: Shape, architecture: str, device: torch.device) -> dict[str, tuple[Any, int]]:
    """The loaded kernels and the bytes of shared memory of their blocks; made once per process."""
    from cuda.bindings import driver

    most = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    binary = _compiled(shape, architecture)
    with torch.cuda.device(device):
        torch.cuda.synchronize(device)  # makes sure of a context
        module = _checked(driver.cuModuleLoadData(binary))
        found = {name: _checked(driver.cuModuleGetFunction(module, name.encode())) for name in KERNELS}
        place, size = _checked(driver.cuModuleGetGlobal(module, b"shared_bytes"))
        sizes = (ctypes.c_int32 * len(KERNELS))()
        assert size == ctypes.sizeof(sizes)
        _checked(driver.cuMemcpyDtoH(ctypes.addressof(sizes), place, size))
        for kernel, needed in zip(found.values(), sizes, strict=True):
            _checked(driver.cuFuncSetAttribute(kernel, most, needed))
    return dict(zip(KERNELS, zip(found.values(), sizes, strict=True), strict=True))


def _compiled(shape: Shape, architecture: str) -> bytes:
    from cuda.bindings import nvrtc

    program = _checked(nvrtc.nvrtcCreateProgram(source(shape).encode(), b"decoder.cu", 0, [], []))
    options = [f"--gpu-architecture={architecture}".encode(), b"--std=c++17"]
    outcome = nvrtc.nvrtcCompileProgram(program, len(options), options)[0]
    if outcome != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        log = b" " * _checked(nvrtc.nvrtcGetProgramLogSize(program))
        nvrtc.nvrtcGetProgramLog(program, log)
        reason = log.rstrip(bytes(1)).decode(errors="replace").strip()
        raise RuntimeError(f"decoder.cu was not compiled: {reason[:2000]}")
    binary: bytes = b" " * _checked(nvrtc.nvrtcGetCUBINSize(program))
    _checked(nvrtc.nvrtcGetCUBIN(program, binary))
    nvrtc.nvrtcDestroyProgram(program)
    return binary


def _checked(outcome: tuple[Any, ...]) -> Any:
    """The value of a call of CUDA's, or RuntimeError with the name of its error."""
    if int(outcome[0]) != 0:
        raise RuntimeError(f"CUDA: {outcome[0].name}")
    return outcome[1] if len(outcome) == 2 else outcome[1:]
