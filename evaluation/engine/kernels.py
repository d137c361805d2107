"""Triton kernels for one decoder layer of a one-token step: they read the weights once and little else.

At batch 1 a step is bound by the bytes of the weights, and in plain torch by its 700 launches. These kernels fuse what
surrounds each matrix-vector product (norm, bias, GELU, residual, and joining what the stretches of an attention found),
and start early (programmatic dependent launch): a kernel loads its weights while its predecessor still computes, and
waits only then. What is loaded before the wait was written before the step began. This module imports triton.
"""

# mypy: ignore-errors
# ruff: noqa: PLR0912 (a kernel's branches are compile-time switches)

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


def split_width(k: int) -> tuple[int, int] | None:
    """k as a sum of two powers of two, the second may be 0; None for other widths (no Whisper has one)."""
    first = 1 << (k.bit_length() - 1)
    rest = k - first
    return None if rest & (rest - 1) else (first, rest)


@triton.jit
def embed_kernel(
    tokens, positions, embedding, position_table, out, D: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr
):
    """out[b, D] = embedding[tokens[b]] + position_table[positions[b]]."""
    if PDL:
        gdc_launch_dependents()
        gdc_wait()
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    inside = columns < D
    token, position = tl.load(tokens + row), tl.load(positions + row)
    one = tl.load(embedding + token * D + columns, mask=inside).to(tl.float32)
    other = tl.load(position_table + position * D + columns, mask=inside).to(tl.float32)
    tl.store(out + row * D + columns, (one + other).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _add_both(one, one_square, other, other_square):
    return one + other, one_square + other_square


@triton.jit
def _columns(
    x, part_sum, part_top, part_norm, row, c, K: tl.constexpr, E: tl.constexpr, SPLITS: tl.constexpr,
    WIDTH: tl.constexpr, kind: tl.constexpr,
):  # fmt: skip
    """float32 values x[row, c] of an input of K columns; with SPLITS, joined from the stretches of an attention."""
    if SPLITS == 0:
        return tl.load(x + row * K + c).to(tl.float32)
    heads: tl.constexpr = K // E
    head = row * heads + c // E
    top = tl.full((WIDTH,), float("-inf"), tl.float32)
    for split in tl.static_range(SPLITS):
        top = tl.maximum(top, tl.load(part_top + head * SPLITS + split))
    total = tl.zeros((WIDTH,), tl.float32)
    norm = tl.zeros((WIDTH,), tl.float32)
    for split in tl.static_range(SPLITS):
        part = head * SPLITS + split
        weight = tl.exp(tl.load(part_top + part) - top)
        total += weight * tl.load(part_sum + part * E + c % E)
        norm += weight * tl.load(part_norm + part)
    return (total / norm).to(kind).to(tl.float32)


@triton.jit
def linear_kernel(
    x, part_sum, part_top, part_norm, weight, bias, gamma, beta, residual, out, n,
    ROWS: tl.constexpr, K: tl.constexpr, K1: tl.constexpr, K2: tl.constexpr, ALL: tl.constexpr, BLOCK: tl.constexpr,
    NORM: tl.constexpr, BIAS: tl.constexpr, GELU: tl.constexpr, ADD: tl.constexpr,
    E: tl.constexpr, SPLITS: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """out[b, n] = act(norm(x[b, K]) @ weight[n, K]ᵀ + bias) + residual.

    The K columns are read as K1 and K2 of them, powers of two (K2 may be 0); ALL is a power of two that holds them all.
    With SPLITS, x is what an attention of that many stretches found. Values are rounded to the weights' dtype where
    torch rounds them: after attention, norm, linear, GELU and sum.
    """
    kind = weight.dtype.element_ty
    if PDL:
        gdc_launch_dependents()
    outputs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = outputs < n
    c1 = tl.arange(0, K1)
    w1 = tl.load(weight + outputs[:, None] * K + c1[None, :], mask=inside[:, None], other=0.0)
    if K2 > 0:
        c2 = K1 + tl.arange(0, K2)
        w2 = tl.load(weight + outputs[:, None] * K + c2[None, :], mask=inside[:, None], other=0.0)
    if BIAS:
        added = tl.load(bias + outputs, mask=inside, other=0.0).to(tl.float32)
    if NORM:
        g1, b1 = tl.load(gamma + c1).to(tl.float32), tl.load(beta + c1).to(tl.float32)
        if K2 > 0:
            g2, b2 = tl.load(gamma + c2).to(tl.float32), tl.load(beta + c2).to(tl.float32)
    if PDL:
        gdc_wait()
    for row in tl.static_range(ROWS):
        x1 = _columns(x, part_sum, part_top, part_norm, row, c1, K, E, SPLITS, K1, kind)
        if K2 > 0:
            x2 = _columns(x, part_sum, part_top, part_norm, row, c2, K, E, SPLITS, K2, kind)
        if NORM:
            c = tl.arange(0, ALL)
            each = tl.load(x + row * K + c, mask=c < K, other=0.0).to(tl.float32)
            total, square = tl.reduce((each, each * each), 0, _add_both)
            mean = total / K
            scale = 1.0 / tl.sqrt(square / K - mean * mean + 1e-5)
            x1 = ((x1 - mean) * scale * g1 + b1).to(kind).to(tl.float32)
            if K2 > 0:
                x2 = ((x2 - mean) * scale * g2 + b2).to(kind).to(tl.float32)
        y = tl.sum(w1.to(tl.float32) * x1[None, :], 1)
        if K2 > 0:
            y += tl.sum(w2.to(tl.float32) * x2[None, :], 1)
        if BIAS:
            y += added
        y = y.to(kind).to(tl.float32)
        if GELU:
            y = (0.5 * y * (1.0 + tl.math.erf(y * 0.7071067811865476))).to(kind).to(tl.float32)
        if ADD:
            y += tl.load(residual + row * n + outputs, mask=inside, other=0.0).to(tl.float32)
        tl.store(out + row * n + outputs, y.to(out.dtype.element_ty), mask=inside)


@triton.jit
def hear_further(q, k, v, seen, top, norm, total):
    """Attention to a further block of positions that are `seen`: the highest score, and norm and sum of the values
    relative to it, of all blocks so far (online softmax: Milakov & Gimelshein 2018, arXiv:1805.02867, §3)."""
    scores = tl.where(seen, tl.sum(k.to(tl.float32) * q[None, :], 1), float("-inf"))
    highest = tl.maximum(top, tl.max(scores, 0))
    weights = tl.exp(scores - highest)
    shrink = tl.exp(top - highest)
    total = total * shrink + tl.sum(weights[:, None] * v.to(tl.float32), 0)
    return highest, norm * shrink + tl.sum(weights, 0), total


@triton.jit
def _new_score(qkv, q, other, row, head, e, first, H: tl.constexpr, E: tl.constexpr):
    """What a row's query gives for the new key of row `other`; nothing for rows after it, and in later stretches."""
    key = tl.load(qkv + (other * 3 + 1) * H * E + head * E + e).to(tl.float32)
    return tl.where(first & (other <= row), tl.sum(q * key, 0), float("-inf"))


@triton.jit
def self_attention_kernel(
    qkv, keys, values, positions, part_sum, part_top, part_norm, scale,
    H: tl.constexpr, E: tl.constexpr, L: tl.constexpr, BLOCK: tl.constexpr, SPLITS: tl.constexpr, SPAN: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """Every SPLITS-th block of the positions so far, for one row and head; the first stretch writes the row's new key
    and value (of qkv[b, 3·H·E]) and attends to it too. keys, values: [b, H, L, E].

    With SPAN > 1 so many rows are consecutive tokens of one text: they share the first row's keys and values, and the
    first stretch of each attends to the new keys of those before it as well, which it takes from qkv.
    """
    if PDL:
        gdc_launch_dependents()
    kind = keys.dtype.element_ty
    owner, split = tl.program_id(0), tl.program_id(1)
    row, head = owner // H, owner % H
    e = tl.arange(0, E)
    cache = (head if SPAN > 1 else owner) * L * E
    # The first block is loaded before the wait, whether it has been written or not: what has not is masked below.
    t = split * BLOCK + tl.arange(0, BLOCK)
    k = tl.load(keys + cache + t[:, None] * E + e[None, :], mask=(t < L)[:, None], other=0.0)
    v = tl.load(values + cache + t[:, None] * E + e[None, :], mask=(t < L)[:, None], other=0.0)
    if PDL:
        gdc_wait()
    position = tl.load(positions + row).to(tl.int32)
    known = tl.load(positions).to(tl.int32) if SPAN > 1 else position  # where what earlier passes wrote ends
    base = qkv + row * 3 * H * E + head * E + e
    q = (tl.load(base).to(tl.float32) * scale).to(kind).to(tl.float32)
    key, value = tl.load(base + H * E), tl.load(base + 2 * H * E)
    first = split == 0
    tl.store(keys + cache + position * E + e, key, mask=first & (e < E))
    tl.store(values + cache + position * E + e, value, mask=first & (e < E))
    seen = t < known
    scores = tl.where(seen, tl.sum(k.to(tl.float32) * q[None, :], 1), float("-inf"))
    top = tl.max(scores, 0)
    for other in tl.static_range(SPAN):
        top = tl.maximum(top, _new_score(qkv, q, other if SPAN > 1 else row, row, head, e, first, H, E))
    lifted = tl.where(top == float("-inf"), 0.0, top)
    weights = tl.exp(scores - lifted)
    norm = tl.sum(weights, 0)
    total = tl.sum(weights[:, None] * tl.where(seen[:, None], v.to(tl.float32), 0.0), 0)
    for other in tl.static_range(SPAN):
        one = other if SPAN > 1 else row
        weight = tl.exp(_new_score(qkv, q, one, row, head, e, first, H, E) - lifted)
        norm += weight
        total += weight * tl.load(qkv + (one * 3 + 2) * H * E + head * E + e).to(tl.float32)
    for start in range((split + SPLITS) * BLOCK, known, SPLITS * BLOCK):
        t = start + tl.arange(0, BLOCK)
        seen = t < known
        k = tl.load(keys + cache + t[:, None] * E + e[None, :], mask=seen[:, None], other=0.0)
        v = tl.load(values + cache + t[:, None] * E + e[None, :], mask=seen[:, None], other=0.0)
        top, norm, total = hear_further(q, k, v, seen, top, norm, total)
    part = owner * SPLITS + split
    tl.store(part_sum + part * E + e, total)
    tl.store(part_top + part, top)
    tl.store(part_norm + part, norm)


@triton.jit
def cross_attention_kernel(
    q, keys, values, part_sum, part_top, part_norm, scale, S, across_rows, across_heads, across_positions,
    H: tl.constexpr, E: tl.constexpr, BLOCK: tl.constexpr, SPLITS: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """A stretch of the encoder's positions for one row and head; keys, values: [b, H, S, E] with the given strides, the
    last one 1; q: [b, H·E]."""
    if PDL:
        gdc_launch_dependents()
    kind = keys.dtype.element_ty
    owner, split = tl.program_id(0), tl.program_id(1)
    e, t = tl.arange(0, E), split * BLOCK + tl.arange(0, BLOCK)
    heard = t < S
    cache = (owner // H).to(tl.int64) * across_rows + (owner % H) * across_heads
    place = cache + t[:, None] * across_positions + e[None, :]
    k = tl.load(keys + place, mask=heard[:, None], other=0.0)
    v = tl.load(values + place, mask=heard[:, None], other=0.0)
    if PDL:
        gdc_wait()
    asked = (tl.load(q + owner * E + e).to(tl.float32) * scale).to(kind).to(tl.float32)
    scores = tl.where(heard, tl.sum(k.to(tl.float32) * asked[None, :], 1), float("-inf"))
    top = tl.max(scores, 0)
    weights = tl.exp(scores - top)
    part = owner * SPLITS + split
    tl.store(part_sum + part * E + e, tl.sum(weights[:, None] * v.to(tl.float32), 0))
    tl.store(part_top + part, top)
    tl.store(part_norm + part, tl.sum(weights, 0))
