"""Dynamic time warping, compiled where numba is there (Sakoe & Chiba 1978; the steps of openai/whisper `timing.py`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

Matrix = np.ndarray[Any, np.dtype[np.float64]]
Path = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]

DIAGONAL, DOWN, RIGHT = 0, 1, 2


def warp(cost: Matrix) -> Path:
    """The cheapest monotone path through cost[rows, columns], from the first corner to the last.

    Returns the row and the column of each step. Of equally cheap ways the one along the row is taken.
    """
    trace = _fill()(np.ascontiguousarray(cost, dtype=np.float64))
    return backtrack(trace)


@cache
def _fill() -> Callable[[Matrix], np.ndarray[Any, Any]]:
    try:
        from numba import njit
    except ImportError:
        return fill_plain
    compiled: Callable[[Matrix], np.ndarray[Any, Any]] = njit(cache=True)(fill_loops)
    return compiled


def fill_loops(cost: Matrix) -> np.ndarray[Any, Any]:
    """Steps taken into each cell, int8[rows + 1, columns + 1]; plain loops, meant for a compiler."""
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    trace = np.full((rows + 1, columns + 1), -1, dtype=np.int8)
    total[0, 0] = 0.0
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            diagonal, down, right = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
            if diagonal < down and diagonal < right:
                best, step = diagonal, 0
            elif down < diagonal and down < right:
                best, step = down, 1
            else:
                best, step = right, 2
            total[i, j] = cost[i - 1, j - 1] + best
            trace[i, j] = step
    return trace


def fill_plain(cost: Matrix) -> np.ndarray[Any, Any]:
    """The same without a compiler: one anti-diagonal at a time."""
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    trace = np.full((rows + 1, columns + 1), -1, dtype=np.int8)
    total[0, 0] = 0.0
    for diagonal_index in range(2, rows + columns + 1):
        i = np.arange(max(1, diagonal_index - columns), min(rows, diagonal_index - 1) + 1)
        j = diagonal_index - i
        diagonal, down, right = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
        step = np.where(
            (diagonal < down) & (diagonal < right), DIAGONAL, np.where((down < diagonal) & (down < right), DOWN, RIGHT)
        )
        total[i, j] = cost[i - 1, j - 1] + np.choose(step, [diagonal, down, right])
        trace[i, j] = step
    return trace


def backtrack(trace: np.ndarray[Any, Any]) -> Path:
    """The path that the steps in `trace` lead along."""
    i, j = trace.shape[0] - 1, trace.shape[1] - 1
    rows, columns = [], []
    while i > 0 or j > 0:
        rows.append(i - 1)
        columns.append(j - 1)
        step = RIGHT if i == 0 else DOWN if j == 0 else trace[i, j]
        i -= step != RIGHT
        j -= step != DOWN
    return np.array(rows[::-1]), np.array(columns[::-1])
