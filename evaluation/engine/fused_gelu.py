"""Linear layers of many windows with their GELU: plain, or in one kernel where triton and a Hopper GPU are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch

from evaluation.engine.cpu import linear_gelu
from evaluation.engine.cuda_kernels import hopper
from evaluation.engine.tensors import Pair
from evaluation.engine.trial import first_agreeing

LinearGelu = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]
LEAST_WORK = 1 << 34  # multiplications; for fewer nothing is gained (docs/lab-book/live.md)
TRIED_ROWS = 9 * 128 + 44  # more tiles than multiprocessors, more than the kernel groups, and some beyond the last row
ROUNDINGS = 2  # of the largest value: an activation that is nearly GELU is further off


def fastest_linear_gelu(x: torch.Tensor, layers: Sequence[Pair]) -> LinearGelu:
    """The fused kernel for x[b, t, k] and all of these layers, weight[n, k] and bias[n]; `cpu.linear_gelu` for a single
    window, whose near ties fall as in transformers then, and where the kernel is not to be had or does not agree.

    The first call for a device, dtype and shape tries it, which waits for the device: not while a graph is captured.
    """
    weight = layers[0][0]
    suits = (
        len(x) > 1
        and x.dtype in {torch.float16, torch.bfloat16}
        and x[..., 0].numel() * weight.numel() >= LEAST_WORK
        and all(_suits(layer, weight.shape) for layer in layers)
        and hopper(x.device)
    )
    return _tried(x.device, x.dtype, *weight.shape) if suits else linear_gelu


def _suits(layer: Pair, shape: torch.Size) -> bool:
    """Whether a descriptor can be made of the weight."""
    weight, bias = layer
    return bias is not None and weight.shape == shape and weight.is_contiguous() and weight.data_ptr() % 16 == 0


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
        fused = make()
        return fused, fused(x, weight, bias)

    made = ("fused product and GELU", lambda: fused_linear_gelu)
    tolerance = ROUNDINGS * torch.finfo(dtype).eps
    return first_agreeing([made], tried, linear_gelu(x, weight, bias), tolerance) or linear_gelu
