"""Residual sum and the next layer norm: plain, or in one kernel where triton and a CUDA device are there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache

import torch
from torch.nn import functional as F

from evaluation.engine.tensors import Pair

log = logging.getLogger("evaluation.engine")
AddNorm = Callable[[torch.Tensor, torch.Tensor, Pair, float], torch.Tensor]
TRIED_ROWS = 5
TOLERANCE = 0.02  # of values around 1: a rounding of bfloat16, two of them


def norm(x: torch.Tensor, pair: Pair) -> torch.Tensor:
    """Layer norm over the last axis."""
    return F.layer_norm(x, (x.shape[-1],), pair[0], pair[1], 1e-5)


def add_norm(x: torch.Tensor, product: torch.Tensor, pair: Pair, bound: float = 0.0) -> torch.Tensor:
    """x[…, d] += product[…, d], in place and then kept within ±bound (0: no bound); returns the layer norm of x."""
    x += product
    if bound:
        x.clamp_(-bound, bound)
    return norm(x, pair)


def fastest_add_norm(x: torch.Tensor) -> AddNorm | None:
    """The fused kernel for tensors like x[…, d], or None where it is not to be had or does not agree with its twin.

    The first call for a device, dtype and width tries it, which waits for the device: not while a graph is captured.
    """
    if not x.is_cuda or x.dtype not in {torch.float16, torch.bfloat16}:
        return None
    return _tried(x.device, x.dtype, x.shape[-1])


@cache
def _tried(device: torch.device, dtype: torch.dtype, width: int) -> AddNorm | None:
    try:
        from evaluation.engine.norm_kernels import fused_add_norm
    except ImportError:
        return None
    return fused_add_norm if agrees(fused_add_norm, device, dtype, width) else None


def agrees(tried: AddNorm, device: torch.device, dtype: torch.dtype, width: int) -> bool:
    """Whether `tried` gives what `add_norm` gives; why not is logged."""
    steps = torch.arange(TRIED_ROWS * width, device=device, dtype=torch.float32)
    x, product, gain, shift = (torch.sin(steps * pace).to(dtype).view(TRIED_ROWS, width) for pace in (1, 2, 3, 5))
    pair, bound, own = (gain[0], shift[0]), 1.5, x.clone()
    try:
        expected = add_norm(own, product, pair, bound)
        found = tried(x, product, pair, bound)
        error = float((found.float() - expected.float()).abs().max())
        if error <= TOLERANCE and torch.equal(x, own):
            return True
        reason = f"its values differ by {error:.2g}"
    except Exception as failure:  # a compiler raises what it likes; the plain twin always works
        reason = f"{type(failure).__name__}: {failure}"
    log.warning("The Triton norm is not used on this device (%s); plain torch is.", reason)
    return False
