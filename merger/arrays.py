"""The few array operations that methods need, on numpy and torch alike.

Elementwise float32 operations of both libraries are IEEE operations, each rounded once, so the same formula gives the
same bits on numpy, torch on the CPU and torch on a GPU. Reductions are taken in float64.
"""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # numpy.ndarray or torch.Tensor


def is_torch(array: Array) -> bool:
    """Whether the array is a torch tensor (without importing torch)."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def where(mask: Array, chosen: Array, otherwise: Array) -> Array:
    """Elementwise choice."""
    if is_torch(mask):
        import torch

        return torch.where(mask, chosen, otherwise)
    return np.where(mask, chosen, otherwise)


def bits_of(magnitudes: Array) -> Array:
    """The int32 patterns of non-negative float32 values: they order as the values do."""
    if is_torch(magnitudes):
        import torch

        return magnitudes.contiguous().view(torch.int32)
    return np.ascontiguousarray(magnitudes).view(np.int32)


def to_double(array: Array) -> Array:
    """A float64 copy."""
    return array.double() if is_torch(array) else array.astype(np.float64)


def zeros_like(array: Array) -> Array:
    """Zeros of the same kind, shape and dtype."""
    if is_torch(array):
        import torch

        return torch.zeros_like(array)
    return np.zeros_like(array)


def like(values: np.ndarray, array: Array) -> Array:
    """Host values as an array of the same kind and on the same device as another."""
    if is_torch(array):
        import torch

        return torch.as_tensor(values, device=array.device)
    return values


def ranks_by_row(patterns: Array) -> Array:
    """int64[rows, n]: rank of each element in its row, 0 for the smallest; equal ones in the order of position."""
    if is_torch(patterns):
        import torch

        order = torch.argsort(patterns, dim=1, stable=True)
        places = torch.arange(patterns.shape[1], device=patterns.device).expand_as(order)
        return torch.empty_like(order).scatter_(1, order, places)
    ordered = np.argsort(patterns, axis=1, kind="stable")
    ranks = np.empty_like(ordered)
    np.put_along_axis(ranks, ordered, np.arange(patterns.shape[1])[None, :], axis=1)
    return ranks


def copied(array: Array) -> Array:
    """A copy, bit for bit."""
    return array.clone() if is_torch(array) else array.copy()


def joined(parts: list[Array]) -> Array:
    """One-dimensional arrays one behind the other."""
    if is_torch(parts[0]):
        import torch

        return torch.cat(parts)
    return np.concatenate(parts)


def counts(values: Array, bins: int) -> np.ndarray:
    """How often each of 0 … bins − 1 occurs, int64[bins], on the host."""
    if is_torch(values):
        import torch

        return np.asarray(torch.bincount(values.reshape(-1), minlength=bins).cpu().numpy())
    return np.bincount(values.reshape(-1), minlength=bins)


def positions(mask: Array) -> np.ndarray:
    """Ascending positions of the true elements of a one-dimensional mask, on the host."""
    if is_torch(mask):
        import torch

        return np.asarray(torch.nonzero(mask).reshape(-1).cpu().numpy())
    return np.flatnonzero(mask)


def single(value: float) -> float:
    """A coefficient rounded to float32 once, so that every library multiplies by the same number."""
    return float(np.float32(value))
