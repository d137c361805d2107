"""Kernels are tried beside their plain twins before they are used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch

log = logging.getLogger("evaluation.engine")
TOLERANCE = 0.05  # of the largest logit; half-precision rounding gives about 0.005


def first_agreeing(
    candidates: Iterable[tuple[str, Callable[[], Any]]],
    tried: Callable[[Callable[[], Any]], tuple[Any, torch.Tensor]],
    expected: torch.Tensor,
    tolerance: float = TOLERANCE,
) -> Any:
    """What `tried` makes of the first candidate that runs and whose values are the expected ones, but for `tolerance`
    of the largest; None without one. Why the others are not used is logged."""
    for name, candidate in candidates:
        try:
            made, values = tried(candidate)
            error = float((values - expected).abs().max() / expected.abs().max().clamp(min=1.0))
            if error <= tolerance:
                return made
            reason = f"its values differ by {error:.2g}"
        except Exception as failure:  # a compiler raises what it likes; the plain twin always works
            reason = f"{type(failure).__name__}: {failure}"
        log.warning("The %s is not used on this device (%s).", name, reason)
    return None
