"""Residual sum and the next layer norm: plain, or in one kernel where triton and a CUDA device are there."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch.nn import functional as F

from evaluation.engine.tensors import Pair
from evaluation.engine.trial import first_agreeing

AddNorm = Callable[[torch.Tensor, torch.Tensor, Pair, float], torch.Tensor]
TRIED_ROWS = 5
TOLERANCE = 0.01  # of the largest value: a rounding of bfloat16 or two


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
    steps = torch.arange(TRIED_ROWS * width, device=device, dtype=torch.float32)
    x, product, gain, shift = (torch.sin(steps * pace).to(dtype).view(TRIED_ROWS, width) for pace in (1, 2, 3, 5))
    pair, bound = (gain[0], shift[0]), 1.5

    def both(function: AddNorm) -> torch.Tensor:
        own = x.clone()
        return torch.stack((function(own, product, pair, bound), own))

    def tried(make: Callable[[], AddNorm]) -> tuple[AddNorm, torch.Tensor]:
        fused = make()
        return fused, both(fused)

    found: AddNorm | None = first_agreeing([("Triton norm", lambda: fused_add_norm)], tried, both(add_norm), TOLERANCE)
    return found
