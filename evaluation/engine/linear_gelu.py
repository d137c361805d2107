"""A linear layer of many windows with its GELU: plain, or in one kernel where triton and a Hopper GPU are there."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch

from evaluation.engine.cpu import linear_gelu
from evaluation.engine.cuda_kernels import hopper
from evaluation.engine.trial import first_agreeing

LinearGelu = Callable[..., torch.Tensor]  # of x[…, k], weight[n, k], bias[n]: […, n]
LEAST_WORK = 1 << 34  # multiplications; for fewer nothing is gained (docs/lab-book/live.md)
TRIED_ROWS = 300  # more than two tiles' and less than three's


def fastest_linear_gelu(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> LinearGelu:
    """The fused kernel for x[b, t, k] and layers like this one, weight[n, k]; `cpu.linear_gelu` for a single window,
    whose near ties fall as in transformers then, and where the kernel is not to be had or does not agree.

    The first call for a device, dtype and shape tries it, which waits for the device: not while a graph is captured.
    """
    suits = (
        len(x) > 1
        and x.dtype in {torch.float16, torch.bfloat16}
        and bias is not None
        and x[..., 0].numel() * weight.numel() >= LEAST_WORK
        and weight.is_contiguous()
        and weight.data_ptr() % 16 == 0  # of which descriptors are made
        and hopper(x.device)
    )
    return _tried(x.device, x.dtype, *weight.shape) if suits else linear_gelu


@cache
def _tried(device: torch.device, dtype: torch.dtype, n: int, k: int) -> LinearGelu:
    try:
        from evaluation.engine.gelu_kernels import DEPTH, fused_linear_gelu
    except ImportError:
        return linear_gelu
    if k % DEPTH:
        return linear_gelu
    dice = torch.Generator(device).manual_seed(0)
    x, weight, bias = (
        torch.randn(shape, generator=dice, device=device).to(dtype) for shape in ((TRIED_ROWS, k), (n, k), (n,))
    )
    weight *= k**-0.5

    def tried(make: Callable[[], LinearGelu]) -> tuple[LinearGelu, torch.Tensor]:
        return make(), make()(x, weight, bias)

    made = ("fused product and GELU", lambda: fused_linear_gelu)
    return first_agreeing([made], tried, linear_gelu(x, weight, bias)) or linear_gelu
