"""A Triton kernel for what stands between two matrix products of a library: the residual sum and the next layer norm.

`add_norm.add_norm` is the twin that it is tested against. This module imports triton.
"""

# mypy: ignore-errors

from __future__ import annotations

import torch
import triton
import triton.language as tl

from evaluation.engine.kernels import split_width
from evaluation.engine.tensors import Pair


@triton.jit
def _residual(x, product, place, BOUND: tl.constexpr):
    """float32 values of the sum, rounded to x's dtype where torch rounds it, and kept within ±BOUND (0: no bound)."""
    kind = x.dtype.element_ty
    value = (tl.load(x + place).to(tl.float32) + tl.load(product + place).to(tl.float32)).to(kind).to(tl.float32)
    if BOUND > 0:
        value = tl.where(value > BOUND, BOUND, tl.where(value < -BOUND, -BOUND, value)).to(kind).to(tl.float32)
    return value


@triton.jit
def add_norm_kernel(
    x, product, gamma, beta, out,
    D: tl.constexpr, K1: tl.constexpr, K2: tl.constexpr, BOUND: tl.constexpr,
):  # fmt: skip
    """One row of x[n, D] += product[n, D], and its layer norm: out[n, D].

    The D columns are read as K1 and K2 of them, powers of two (K2 may be 0).
    """
    kind = x.dtype.element_ty
    row = tl.program_id(0).to(tl.int64) * D
    c1, c2 = tl.arange(0, K1), K1 + tl.arange(0, K2 if K2 > 0 else 1)
    g1, b1 = tl.load(gamma + c1).to(tl.float32), tl.load(beta + c1).to(tl.float32)
    if K2 > 0:
        g2, b2 = tl.load(gamma + c2).to(tl.float32), tl.load(beta + c2).to(tl.float32)
    x1 = _residual(x, product, row + c1, BOUND)
    tl.store(x + row + c1, x1.to(kind))
    total = tl.sum(x1, 0)
    if K2 > 0:
        x2 = _residual(x, product, row + c2, BOUND)
        tl.store(x + row + c2, x2.to(kind))
        total += tl.sum(x2, 0)
    mean = total / D
    x1 -= mean
    square = tl.sum(x1 * x1, 0)
    if K2 > 0:
        x2 -= mean
        square += tl.sum(x2 * x2, 0)
    scale = 1.0 / tl.sqrt(square / D + 1e-5)
    tl.store(out + row + c1, (x1 * scale * g1 + b1).to(kind))
    if K2 > 0:
        tl.store(out + row + c2, (x2 * scale * g2 + b2).to(kind))


def fused_add_norm(
    x: torch.Tensor, product: torch.Tensor, pair: Pair, bound: float = 0.0,
    out: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """`add_norm.add_norm` in one launch: x[…, d] is written in place, its norm to `out`, if given.

    Raises ValueError for tensors that are not contiguous, and widths that are not sums of two powers of two.
    """
    width = x.shape[-1]
    parts = split_width(width)
    out = torch.empty_like(x) if out is None else out
    if parts is None or not (x.is_contiguous() and product.is_contiguous() and out.is_contiguous()):
        raise ValueError("the fused residual and norm does not support this")
    add_norm_kernel[(x.numel() // width,)](
        x, product, *pair, out, D=width, K1=parts[0], K2=parts[1], BOUND=bound, num_warps=4,
    )  # fmt: skip
    return out
