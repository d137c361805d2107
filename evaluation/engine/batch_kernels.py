"""Triton kernels for batches: attention of one token a row (`batch_step.py`).

The programs of rows that are done end at once. Nothing here starts before its predecessor has ended. This module
imports triton.
"""

# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

from evaluation.engine.kernels import hear_further


@triton.jit
def batch_self_kernel(
    qkv, keys, values, positions, done, out, scale,
    H: tl.constexpr, E: tl.constexpr, L: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One row and head: writes the new key and value of qkv[b, 3·H·E] to keys, values[b, H, L, E] at the row's position
    and attends to all up to it: out[b, H·E]. Of a row that is done nothing is read or written."""
    owner = tl.program_id(0)
    row, head = owner // H, owner % H
    position = tl.load(positions + row).to(tl.int32)
    if tl.load(done + row) != 0:
        return
    kind = keys.dtype.element_ty
    e = tl.arange(0, E)
    cache = owner.to(tl.int64) * L * E
    base = qkv + row * 3 * H * E + head * E + e
    q = (tl.load(base).to(tl.float32) * scale).to(kind).to(tl.float32)
    key, value = tl.load(base + H * E), tl.load(base + 2 * H * E)
    tl.store(keys + cache + position * E + e, key)
    tl.store(values + cache + position * E + e, value)
    top = tl.sum(q * key.to(tl.float32), 0)
    norm = tl.full((), 1.0, tl.float32)
    total = value.to(tl.float32)
    for start in range(0, position, BLOCK):
        t = start + tl.arange(0, BLOCK)
        seen = t < position
        k = tl.load(keys + cache + t[:, None] * E + e[None, :], mask=seen[:, None], other=0.0)
        v = tl.load(values + cache + t[:, None] * E + e[None, :], mask=seen[:, None], other=0.0)
        top, norm, total = hear_further(q, k, v, seen, top, norm, total)
    tl.store(out + owner * E + e, (total / norm).to(out.dtype.element_ty))


@triton.jit
def batch_cross_kernel(
    q, keys, values, done, out, part_sum, part_top, part_norm, arrived, scale, S,
    across_rows, across_heads, across_positions,
    H: tl.constexpr, E: tl.constexpr, BLOCK: tl.constexpr, STRETCH: tl.constexpr, SPLITS: tl.constexpr,
    ALL: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """STRETCH encoder positions for one row and head, BLOCK at a time: out[b, H·E]; keys, values: [b, H, S, E] with the
    given strides, the last one 1; q: [b, H·E]. Of a row that is done nothing is read or written.

    Where SPLITS stretches share a row and head, the one that ends last joins what all have found, in their order, so
    that the bits repeat; `arrived`, int32[b·H], counts them and is left at 0. ALL: a power of two, at least SPLITS.
    """
    owner, split = tl.program_id(0), tl.program_id(1)
    row, head = owner // H, owner % H
    if tl.load(done + row) != 0:
        return
    kind = keys.dtype.element_ty
    e = tl.arange(0, E)
    cache = row.to(tl.int64) * across_rows + head * across_heads
    asked = (tl.load(q + owner * E + e).to(tl.float32) * scale).to(kind).to(tl.float32)
    top = tl.full((), float("-inf"), tl.float32)
    norm = tl.zeros((), tl.float32)
    total = tl.zeros((E,), tl.float32)
    first = split * STRETCH
    for start in tl.range(first, tl.minimum(first + STRETCH, S), BLOCK, num_stages=STAGES):
        t = start + tl.arange(0, BLOCK)
        heard = t < S
        place = cache + t[:, None] * across_positions + e[None, :]
        k = tl.load(keys + place, mask=heard[:, None], other=0.0)
        v = tl.load(values + place, mask=heard[:, None], other=0.0)
        top, norm, total = hear_further(asked, k, v, heard, top, norm, total)
    if SPLITS == 1:
        tl.store(out + owner * E + e, (total / norm).to(out.dtype.element_ty))
    else:
        part = owner * SPLITS + split
        tl.store(part_sum + part * E + e, total)
        tl.store(part_top + part, top)
        tl.store(part_norm + part, norm)
        tl.debug_barrier()  # one thread counts for the program: what the others wrote must come before
        if tl.atomic_add(arrived + owner, 1, sem="acq_rel") == SPLITS - 1:
            s = tl.arange(0, ALL)
            inside = s < SPLITS
            parts = owner * SPLITS + s
            # .cg: past the multiprocessor's own cache, which does not hear of what others wrote
            tops = tl.load(part_top + parts, mask=inside, other=float("-inf"), cache_modifier=".cg")
            norms = tl.load(part_norm + parts, mask=inside, other=0.0, cache_modifier=".cg")
            sums = tl.load(
                part_sum + parts[:, None] * E + e[None, :], mask=inside[:, None], other=0.0, cache_modifier=".cg"
            )
            shares = tl.exp(tops - tl.max(tops, 0))
            joined = tl.sum(shares[:, None] * sums, 0) / tl.sum(shares * norms, 0)
            tl.store(out + owner * E + e, joined.to(out.dtype.element_ty))
            tl.store(arrived + owner, 0)
