"""Raw weights ↔ float32, in numpy: the definition of what a stored number means and how a result is rounded.

Widening is exact. Narrowing rounds to nearest, ties to even; what is too large becomes infinity and is reported.
"""

from __future__ import annotations

import numpy as np

WIDTH = {"F16": 2, "BF16": 2, "F32": 4}
TORCH_NAMES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}
# All exponent bits set: NaN or infinity.
_EXPONENT = {"F16": np.uint16(0x7C00), "BF16": np.uint16(0x7F80), "F32": np.uint32(0x7F800000)}


def _patterns(raw: np.ndarray, dtype: str) -> np.ndarray:
    return raw.view(np.uint32 if dtype == "F32" else np.uint16)


def widen(raw: np.ndarray, dtype: str) -> np.ndarray:
    """float32[n] from uint8[n · width]; for F32 it is a view of the same memory."""
    if dtype == "F32":
        return raw.view(np.float32)
    if dtype == "F16":
        return raw.view(np.float16).astype(np.float32)
    return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def narrow(values: np.ndarray, dtype: str) -> np.ndarray:
    """uint8[n · width] from float32[n], rounded once."""
    values = np.ascontiguousarray(values)
    if dtype == "F32":
        return values.view(np.uint8)
    if dtype == "F16":
        with np.errstate(over="ignore", invalid="ignore"):
            return values.astype(np.float16).view(np.uint8)
    bits = values.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    quiet = np.where(np.isnan(values), np.uint32(0x7FC0), rounded)
    return quiet.astype(np.uint16).view(np.uint8)


def all_finite(raw: np.ndarray, dtype: str) -> bool:
    """Whether uint8[n · width] holds neither NaN nor infinity."""
    exponent = _EXPONENT[dtype]
    return not bool(((_patterns(raw, dtype) & exponent) == exponent).any())
