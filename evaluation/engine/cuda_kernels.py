"""Kernels in CUDA C++ (`cuda/`) and their launches. They are compiled when they are first needed, by NVRTC, which comes
with torch's CUDA packages as `cuda.bindings` does."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from evaluation.engine.tensors import WhisperTensors

THREADS = 256  # of every block
FOLDER = Path(__file__).parent / "cuda"

_FAILED: dict[tuple[Program, torch.device], str] = {}  # why kernels could not be made: not tried again

Argument = torch.Tensor | int | None


class Program(NamedTuple):
    """Kernels that are compiled together: constants that are declared before the text, the files in `cuda/` that make
    the text, and the kernels' names. The last file ends with `shared_bytes`, what a block of each needs."""

    constants: tuple[tuple[str, int], ...]
    files: tuple[str, ...]
    kernels: tuple[str, ...]

    def source(self, primitives: Path = FOLDER / "primitives.cuh") -> str:
        """All of it."""
        prelude = "".join(f"constexpr int {name} = {value};\n" for name, value in self.constants)
        paths = (primitives, *(FOLDER / name for name in self.files))
        return "\n".join([prelude, *(path.read_text(encoding="utf-8") for path in paths)])


class KernelLaunch(NamedTuple):
    """One launch: the kernel's name, blocks and arguments in its order."""

    kernel: str
    blocks: int
    arguments: tuple[Argument, ...]


def installed() -> bool:
    """Whether the package is there through which CUDA's compiler and launches are reached; torch for CUDA brings it."""
    return importlib.util.find_spec("cuda") is not None and importlib.util.find_spec("cuda.bindings") is not None


def hopper(device: torch.device) -> bool:
    """Whether the device has what the kernels ask for (and programmatic dependent launch): compute capability 9.0."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


def aligned(tensors: WhisperTensors) -> bool:
    """Whether 16 bytes can be read at once from every weight's address."""
    return all(pointer % 16 == 0 for pointer in tensors.pointers())


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


class Sequel:
    """Launches that follow each other; they can be captured.

    early: each but the first may start before its predecessor has ended. Raises ImportError without `cuda.bindings`,
    RuntimeError with CUDA's or the compiler's words where the program cannot be made.
    """

    def __init__(
        self, program: Program, launches: Sequence[KernelLaunch], device: torch.device, *, early: bool = False
    ) -> None:
        self._device, self._early = device, early
        self._kernels = _kernels(program, device)
        # Addresses are all that is passed: the launches keep the tensors.
        self._prepared = [(launch, Packed(launch.arguments)) for launch in launches]

    def __call__(self) -> None:
        """Launch all on the current stream."""
        from cuda.bindings import driver

        early = driver.CUlaunchAttribute()
        early.id = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
        early.value.programmaticStreamSerializationAllowed = 1
        config = driver.CUlaunchConfig()
        config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1
        config.blockDimX = THREADS
        config.hStream = torch.cuda.current_stream(self._device).cuda_stream
        for index, (launch, packed) in enumerate(self._prepared):
            kernel, config.sharedMemBytes = self._kernels[launch.kernel]
            config.gridDimX = launch.blocks
            # The first one waits for all that came before, so that the others may read before they wait.
            config.attrs, config.numAttrs = ([early], 1) if index and self._early else ([], 0)
            _checked(driver.cuLaunchKernelEx(config, kernel, packed.address, 0))


def _kernels(program: Program, device: torch.device) -> dict[str, tuple[Any, int]]:
    """`_made_kernels`; raises RuntimeError with the first failure's words for ever after."""
    key = (program, device)
    if key in _FAILED:
        raise RuntimeError(_FAILED[key])
    try:
        return _made_kernels(program, device)
    except Exception as failure:
        _FAILED[key] = f"{type(failure).__name__}: {failure}"
        raise


@cache
def _made_kernels(program: Program, device: torch.device) -> dict[str, tuple[Any, int]]:
    """The loaded kernels and the bytes of shared memory of their blocks; made once per process."""
    from cuda.bindings import driver

    most = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    names = program.kernels
    major, minor = torch.cuda.get_device_capability(device)
    binary = _compiled(program, f"sm_{major}{minor}")
    with torch.cuda.device(device):
        torch.cuda.synchronize(device)  # makes sure of a context
        module = _checked(driver.cuModuleLoadData(binary))
        found = {name: _checked(driver.cuModuleGetFunction(module, name.encode())) for name in names}
        place, size = _checked(driver.cuModuleGetGlobal(module, b"shared_bytes"))
        sizes = (ctypes.c_int32 * len(names))()
        assert size == ctypes.sizeof(sizes)
        _checked(driver.cuMemcpyDtoH(ctypes.addressof(sizes), place, size))
        for kernel, needed in zip(found.values(), sizes, strict=True):
            _checked(driver.cuFuncSetAttribute(kernel, most, needed))
    return dict(zip(names, zip(found.values(), sizes, strict=True), strict=True))


def _compiled(program: Program, architecture: str) -> bytes:
    from cuda.bindings import nvrtc

    name = program.files[-1]
    made = _checked(nvrtc.nvrtcCreateProgram(program.source().encode(), name.encode(), 0, [], []))
    options = [f"--gpu-architecture={architecture}".encode(), b"--std=c++17"]
    outcome = nvrtc.nvrtcCompileProgram(made, len(options), options)[0]
    if outcome != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        log = b" " * _checked(nvrtc.nvrtcGetProgramLogSize(made))
        nvrtc.nvrtcGetProgramLog(made, log)
        reason = log.rstrip(bytes(1)).decode(errors="replace").strip()
        raise RuntimeError(f"{name} was not compiled: {reason[:2000]}")
    binary: bytes = b" " * _checked(nvrtc.nvrtcGetCUBINSize(made))
    _checked(nvrtc.nvrtcGetCUBIN(made, binary))
    nvrtc.nvrtcDestroyProgram(made)
    return binary


def _checked(outcome: tuple[Any, ...]) -> Any:
    """The value of a call of CUDA's, or RuntimeError with the name of its error."""
    if int(outcome[0]) != 0:
        raise RuntimeError(f"CUDA: {outcome[0].name}")
    return outcome[1] if len(outcome) == 2 else outcome[1:]
