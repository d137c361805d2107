"""A Triton kernel for a linear layer of many rows with its GELU, which a library leaves to a kernel of its own.

`cpu.linear_gelu` is the twin that it is tested against. This module imports triton.
"""

# mypy: ignore-errors

from __future__ import annotations

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

ROWS, COLUMNS, DEPTH, STAGES, GROUP, WARPS = 128, 256, 64, 4, 8, 8  # fastest on an H200 (docs/lab-book/live.md)


@triton.jit
def gelu(y):
    """Exact (erf) GELU of float32 values: max(y, 0) − |y|·Φ(−|y|), with log₂ Φ(−a) as a polynomial in a.

    Its coefficients were fitted to the error of the result for a ≤ 6; beyond, what is taken from max(y, 0) is less than
    6e-9. Rounded to float16, the result of every float16 number is the exact one's or its neighbour.
    """
    a = tl.abs(y)
    power = -1.24736775e-06
    power = power * a + 5.17168887e-05
    power = power * a - 8.68947388e-04
    power = power * a + 8.33268971e-03
    power = power * a - 5.37348642e-02
    power = power * a - 4.58565776e-01
    power = power * a - 1.15125917e00
    power = power * a - 9.99988023e-01
    return tl.maximum(y, 0.0) - a * tl.exp2(power)


@triton.jit(do_not_specialize=["m"])
def linear_gelu_kernel(
    x, weight, bias, out, m, n,
    K: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, STAGES: tl.constexpr,
    GROUP: tl.constexpr, PROGRAMS: tl.constexpr,
):  # fmt: skip
    """out[m, n] = GELU(x[m, K] @ weight[n, K]ᵀ + bias[n]).

    PROGRAMS programs take tiles of ROWS × COLUMNS in turn, GROUP of them below each other before the next column, so
    that those of the same time share what they read. Descriptors: x by [ROWS, DEPTH], weight by [COLUMNS, DEPTH], out
    by [ROWS, COLUMNS / 2], for a tile is finished in halves, which need less shared memory.
    """
    down, across = tl.cdiv(m, ROWS), tl.cdiv(n, COLUMNS)
    half: tl.constexpr = COLUMNS // 2
    for tile in tl.range(tl.program_id(0), down * across, PROGRAMS, flatten=True):
        first = tile // (GROUP * across) * GROUP
        height, within = min(down - first, GROUP), tile % (GROUP * across)
        row, column = (first + within % height) * ROWS, within // height * COLUMNS
        total = tl.zeros((ROWS, COLUMNS), tl.float32)
        for k in tl.range(0, K, DEPTH, num_stages=STAGES):
            total = tl.dot(x.load([row, k]), weight.load([column, k]).T, total)
        c = column + tl.arange(0, COLUMNS)
        total += tl.load(bias + c, mask=c < n, other=0.0).to(tl.float32)[None, :]
        left, right = tl.split(tl.permute(tl.reshape(total, (ROWS, 2, half)), (0, 2, 1)))
        out.store([row, column], gelu(left).to(out.dtype))
        out.store([row, column + half], gelu(right).to(out.dtype))


def fused_linear_gelu(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """`cpu.linear_gelu` of x[…, k] in half precision, k a multiple of DEPTH; rounded once, not before GELU as well."""
    (n, k), out = weight.shape, x.new_empty((*x.shape[:-1], weight.shape[0]))
    rows, written = x.reshape(-1, k), out.view(-1, n)
    programs = torch.cuda.get_device_properties(x.device).multi_processor_count
    linear_gelu_kernel[(programs,)](
        TensorDescriptor.from_tensor(rows, [ROWS, DEPTH]), TensorDescriptor.from_tensor(weight, [COLUMNS, DEPTH]),
        bias, TensorDescriptor.from_tensor(written, [ROWS, COLUMNS // 2]), len(rows), n,
        K=k, ROWS=ROWS, COLUMNS=COLUMNS, DEPTH=DEPTH, STAGES=STAGES, GROUP=GROUP, PROGRAMS=programs, num_warps=WARPS,
    )  # fmt: skip
    return out
