"""The compiled kernels of `kernels.c`: built once per machine when a C compiler is there, never needed.

Without them numpy does the same work, slower and bit for bit equal. `WHISPER_MERGE_KERNELS=off` turns them off, the
path of a folder there takes them from libraries that were compiled in advance (`prebuilt`).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from merger.arithmetic import Arithmetic
from merger.arrays import bits_of, single
from merger.deltas import DeltaMerge, Trim
from merger.dtypes import WIDTH, widen
from merger.hashing import cache_folder
from merger.operators import Cut, Difference, Linear, Operator, TopBlend
from merger.stream import StreamView
from merger.views import LOW_BITS, SUM_BLOCK, Magnitude

log = logging.getLogger("merger")

SOURCE = Path(__file__).with_name("kernels.c")
HEADER = Path(__file__).with_name("kernels_wide.h")
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC")
BUILD_SECONDS = 60
CODES = {"F16": 0, "BF16": 1, "F32": 2}
MAX_VECTORS = 32
# A bracket of ± this share of the elements around the expected threshold is collected and searched exactly.
BRACKET = 0.0125
SAMPLE = 1 << 14


def _processor() -> str:
    """What `-march=native` depends on: a cache folder may be shared by unlike machines."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return platform.processor()


def source_text() -> str:
    """All that is compiled: what a library was made of."""
    return SOURCE.read_text() + HEADER.read_text()


def _library_path() -> Path:
    identity = "\n".join([source_text(), " ".join(FLAGS), platform.machine(), _processor()])
    return cache_folder() / "kernels" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.so"


def build() -> Path | None:
    """Compile the kernels unless that was done before; None if there is no compiler or it fails."""
    library = _library_path()
    if library.exists():
        return library
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        return None
    try:
        library.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
            made = Path(scratch) / "kernels.so"
            command = [compiler, *FLAGS, "-o", str(made), str(SOURCE)]
            subprocess.run(command, check=True, capture_output=True, timeout=BUILD_SECONDS)
            made.replace(library)
    except (OSError, subprocess.SubprocessError) as error:
        log.info("the kernels could not be built: %s", error)
        return None
    return library


@functools.cache
def load() -> ctypes.CDLL | None:
    """The kernels, or None where they are turned off or cannot be built."""
    from merger.prebuilt import find

    setting = os.environ.get("WHISPER_MERGE_KERNELS", "")
    if setting == "off":
        return None
    path = (find(Path(setting)) if setting else None) or build()
    # Code is run only from a file that nobody else could have put there.
    if path is None or path.stat().st_uid not in {os.getuid(), 0} or path.stat().st_mode & 0o022:
        return None
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        log.info("the kernels could not be loaded: %s", error)
        return None
    number, pointer, count, pattern = ctypes.c_int, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
    library.wm_widen.argtypes = (number, pointer, count, pointer)
    library.wm_narrow.argtypes = (number, pointer, count, pointer)
    library.wm_finite.argtypes = (number, pointer, count)
    library.wm_linear.argtypes = (number, pointer, pointer, pointer, count, number, pointer, pointer)
    library.wm_gram.argtypes = (number, pointer, pointer, count, count, pointer)
    library.wm_collect.argtypes = (
        number, pointer, number, pointer, count, count, pattern, pattern, pointer, pointer, count, pointer,
    )  # fmt: skip
    library.wm_collect.restype = count
    library.wm_delta_merge.argtypes = (
        number, pointer, pointer, pointer, pointer, pointer, number, ctypes.c_float, count, number, pointer, pointer,
    )  # fmt: skip
    library.wm_histogram.argtypes = (number, pointer, number, pointer, count, pattern, pointer)
    library.wm_top_blend.argtypes = (
        number, pointer, number, pointer, count, pattern, count, pointer, pointer, number, pointer, pointer,
    )  # fmt: skip
    return library


def native_arithmetic() -> Arithmetic | None:
    """The arithmetic of the kernels, or None where there are none."""
    return None if (library := load()) is None else NativeArithmetic(library)


def _codes(dtypes: Sequence[str]) -> Any:
    return (ctypes.c_int * len(dtypes))(*(CODES[dtype] for dtype in dtypes))


def _pointers(raws: Sequence[np.ndarray]) -> Any:
    return (ctypes.c_void_p * len(raws))(*(raw.ctypes.data for raw in raws))


def _floats(values: Sequence[float]) -> Any:
    return (ctypes.c_float * len(values))(*values)


class NativeArithmetic(Arithmetic):
    """The CPU with compiled kernels; every one of them has its plain twin in numpy."""

    name = "cpu"

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def load(self, raw: np.ndarray, dtype: str) -> np.ndarray:
        if dtype == "F32":
            return widen(raw, dtype)
        values = np.empty(len(raw) // WIDTH[dtype], np.float32)
        self._library.wm_widen(CODES[dtype], raw.ctypes.data, len(values), values.ctypes.data)
        return values

    def store(self, values: np.ndarray, dtype: str, out: np.ndarray) -> None:
        values = np.ascontiguousarray(values)
        self._library.wm_narrow(CODES[dtype], values.ctypes.data, len(values), out.ctypes.data)

    def finite(self, raw: np.ndarray, dtype: str) -> bool:
        return bool(self._library.wm_finite(CODES[dtype], raw.ctypes.data, len(raw) // WIDTH[dtype]))

    def gram(self, view: StreamView) -> np.ndarray | None:
        tensor = view.tensor
        order = list(view.indices) if view.base is None else [view.base, *view.indices]
        if len(order) > MAX_VECTORS:
            return None
        dtypes = [tensor.dtypes[index] for index in order]
        total = np.zeros((len(order), len(order)))
        for start, count in tensor.stretches():
            raws = [tensor.raw(index, start, count) for index in order]
            self._library.wm_gram(
                len(order), _codes(dtypes), _pointers(raws), count, SUM_BLOCK, total.ctypes.data
            )
        return total

    def top(self, view: StreamView, magnitude: Magnitude, k: int) -> Cut | None:
        pair = _pair(view, magnitude)
        if pair is None or view.place.size >= 1 << 32:
            return None
        low, high = self._bracket(view, pair, k)
        return self._search(view, pair, k, low, high)

    def _bracket(self, view: StreamView, pair: Sequence[Any], k: int) -> tuple[int, int]:
        """Patterns between which the k-th largest magnitude most likely lies, from an evenly spaced sample."""
        tensor = view.tensor
        stride = max(view.place.size // SAMPLE, 1)
        samples = []
        for start, count in tensor.stretches():
            first, second = (
                widen(
                    np.ascontiguousarray(
                        tensor.raw(index, start, count).view(np.uint32 if WIDTH[dtype] == 4 else np.uint16)[::stride]
                    ).view(np.uint8),
                    dtype,
                )
                for index in pair
                for dtype in (tensor.dtypes[index],)
            )
            samples.append(bits_of(np.abs(first - second)))
        ordered = np.sort(np.concatenate(samples))
        rank = len(ordered) * (1 - k / view.place.size)
        margin = max(len(ordered) * BRACKET, 32)
        lowest, highest = int(rank - margin), int(rank + margin)
        low = int(ordered[lowest]) if lowest >= 0 else 0
        high = int(ordered[highest]) if highest < len(ordered) else 0x7FFFFFFF
        return low, high

    def _search(self, view: StreamView, pair: Sequence[Any], k: int, low: int, high: int) -> Cut | None:
        """The exact cut from the elements of the bracket; None if they are too many or the bracket missed."""
        tensor = view.tensor
        capacity = max(view.place.size // 12, 1 << 16)
        found = tensor.scratch("collected", capacity * 4).view(np.int32)
        index = tensor.scratch("positions", capacity * 4).view(np.uint32)
        above, stored = ctypes.c_int64(0), 0
        first, second = (CODES[tensor.dtypes[each]] for each in pair)
        for start, count in tensor.stretches():
            x, y = (tensor.raw(each, start, count).ctypes.data for each in pair)
            added = self._library.wm_collect(
                first, x, second, y, count, start, low, high,
                found[stored:].ctypes.data, index[stored:].ctypes.data, capacity - stored, ctypes.byref(above),
            )  # fmt: skip
            if added < 0:
                return None
            stored += added
        wanted = k - above.value
        if not 0 < wanted <= stored:
            return None
        patterns = found[:stored]
        threshold = int(np.partition(patterns, stored - wanted)[stored - wanted])
        ties = wanted - int((patterns > threshold).sum())
        return Cut(threshold, int(index[np.flatnonzero(patterns == threshold)[ties - 1]]))

    def histogram(self, view: StreamView, magnitude: Magnitude, upper: int | None) -> np.ndarray | None:
        pair, tensor = _pair(view, magnitude), view.tensor
        if pair is None:
            return None
        total = np.zeros(1 << (16 if upper is None else LOW_BITS), np.int64)
        first, second = (CODES[tensor.dtypes[each]] for each in pair)
        for start, count in tensor.stretches():
            x, y = (tensor.raw(each, start, count).ctypes.data for each in pair)
            high = -1 if upper is None else upper
            self._library.wm_histogram(first, x, second, y, count, high, total.ctypes.data)
        return total

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
        count = len(out) // WIDTH[dtype]
        flag = None if spoilt is None else spoilt[-1:].ctypes.data  # the kernels look at what they wrote
        if isinstance(operator, Linear) and 0 < len(operator.terms) <= MAX_VECTORS:
            used = [index for index, _ in operator.terms]
            self._library.wm_linear(
                len(used), _codes([dtypes[index] for index in used]), _pointers([raws[index] for index in used]),
                _floats([value for _, value in operator.terms]), count, CODES[dtype], out.ctypes.data, flag,
            )  # fmt: skip
            shown = len(used) == len(raws)
        elif isinstance(operator, TopBlend):
            inside, outside = ([single(value) for value in each.coefficients] for each in operator.mixtures)
            self._library.wm_top_blend(
                CODES[dtypes[0]], raws[0].ctypes.data, CODES[dtypes[1]], raws[1].ctypes.data, count,
                operator.cut.threshold, operator.cut.last_tie + 1 - start, _floats(inside), _floats(outside),
                CODES[dtype], out.ctypes.data, flag,
            )  # fmt: skip
            shown = all([*inside, *outside])
        elif isinstance(operator, DeltaMerge) and _is_plain(operator):
            cuts = [thinning.cut for thinning in operator.thinnings if isinstance(thinning, Trim)]
            self._library.wm_delta_merge(
                len(cuts), _codes(dtypes), _pointers(raws), _floats([single(weight) for weight in operator.weights]),
                (ctypes.c_int32 * len(cuts))(*(cut.threshold for cut in cuts)),
                (ctypes.c_int64 * len(cuts))(*(cut.last_tie + 1 - start for cut in cuts)),
                int(operator.elect), single(operator.scale), count, CODES[dtype], out.ctypes.data, flag,
            )  # fmt: skip
            shown = False
        else:
            return False
        # Where every source takes part in every element, its NaN or infinity shows in the result.
        if spoilt is not None and (spoilt[-1] or not shown):
            spoilt[:-1] = [not self.finite(raw, kind) for raw, kind in zip(raws, dtypes, strict=True)]
        return True


def _pair(view: StreamView, magnitude: Magnitude) -> tuple[int, int] | None:
    """Which two sources a magnitude compares; None if it is not a plain difference."""
    if not isinstance(magnitude, Difference):
        return None
    first, second = (view.base if each < 0 else view.indices[each] for each in (magnitude.first, magnitude.second))
    return None if first is None or second is None else (first, second)


def _is_plain(operator: DeltaMerge) -> bool:
    """Whether a delta merge trims by cuts alone, as the kernel does."""
    thinnings = operator.thinnings
    return len(thinnings) < MAX_VECTORS and all(isinstance(thinning, Trim) for thinning in thinnings)
