"""The one-token step in Triton: nine small kernels per layer that read the weights once and little else.

At batch 1 a step is bound by the bytes of the weights, and in plain torch by its 700 launches. These kernels fuse what
surrounds each matrix-vector product (norm, bias, GELU, residual), split the long cross-attention over the card, and
start early (programmatic dependent launch): a kernel loads its weights while its predecessor still computes, and waits
only then. `device_loop.plain_step` is the twin that they are tested against; `backend.fastest_step` chooses between the
two. This module imports triton.
"""

# Longer than most files: the kernels of one step belong together.
# mypy: ignore-errors
# ruff: noqa: PLR0912 (a kernel's branches are compile-time switches)

from __future__ import annotations

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

TILE = 20 * 1024  # elements of weights that one program holds in registers
CROSS_BLOCK = 128  # encoder positions per program of the cross-attention
SELF_BLOCK = 64  # decoder positions per iteration of the self-attention
VOCABULARY_BLOCK = 1024
MOST_ROWS = 8  # rows of a batch that share one reading of the weights


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
def linear_kernel(
    x, weight, bias, gamma, beta, residual, out, n,
    ROWS: tl.constexpr, K1: tl.constexpr, K2: tl.constexpr, BLOCK: tl.constexpr,
    NORM: tl.constexpr, BIAS: tl.constexpr, GELU: tl.constexpr, ADD: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """out[b, n] = act(norm(x[b, K]) @ weight[n, K]ᵀ + bias) + residual, K = K1 + K2 with powers of two (K2 may be 0).

    Values are rounded to the weights' dtype where torch rounds them: after norm, linear, GELU and sum.
    """
    K: tl.constexpr = K1 + K2
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
    if PDL:
        gdc_wait()
    for row in tl.static_range(ROWS):
        x1 = tl.load(x + row * K + c1).to(tl.float32)
        total = tl.sum(x1, 0)
        if K2 > 0:
            x2 = tl.load(x + row * K + c2).to(tl.float32)
            total += tl.sum(x2, 0)
        if NORM:
            mean = total / K
            x1 -= mean
            spread = tl.sum(x1 * x1, 0)
            if K2 > 0:
                x2 -= mean
                spread += tl.sum(x2 * x2, 0)
            scale = 1.0 / tl.sqrt(spread / K + 1e-5)
            x1 = x1 * scale * tl.load(gamma + c1).to(tl.float32) + tl.load(beta + c1).to(tl.float32)
            x1 = x1.to(kind).to(tl.float32)
            if K2 > 0:
                x2 = x2 * scale * tl.load(gamma + c2).to(tl.float32) + tl.load(beta + c2).to(tl.float32)
                x2 = x2.to(kind).to(tl.float32)
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
def self_attention_kernel(
    qkv, keys, values, positions, out, scale,
    H: tl.constexpr, E: tl.constexpr, L: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """One program per row and head: writes the new key and value (qkv[b, 3·H·E]) and attends to all positions so far.

    keys, values: [b, H, L, E]; out: [b, H·E].
    """
    if PDL:
        gdc_launch_dependents()
        gdc_wait()
    kind = keys.dtype.element_ty
    row, head = tl.program_id(0) // H, tl.program_id(0) % H
    e = tl.arange(0, E)
    position = tl.load(positions + row).to(tl.int32)
    base = qkv + row * 3 * H * E + head * E + e
    q = (tl.load(base).to(tl.float32) * scale).to(kind).to(tl.float32)
    key, value = tl.load(base + H * E), tl.load(base + 2 * H * E)
    cache = (row * H + head) * L * E
    tl.store(keys + cache + position * E + e, key)
    tl.store(values + cache + position * E + e, value)
    top = tl.sum(q * key.to(tl.float32), 0)
    norm = tl.exp(top - top)  # 1, as a value that the loop can carry
    total = value.to(tl.float32)
    for start in range(0, position, BLOCK):
        t = start + tl.arange(0, BLOCK)
        seen = t < position
        k = tl.load(keys + cache + t[:, None] * E + e[None, :], mask=seen[:, None], other=0.0).to(tl.float32)
        v = tl.load(values + cache + t[:, None] * E + e[None, :], mask=seen[:, None], other=0.0).to(tl.float32)
        scores = tl.where(seen, tl.sum(k * q[None, :], 1), float("-inf"))
        highest = tl.maximum(top, tl.max(scores, 0))
        weights = tl.exp(scores - highest)
        shrink = tl.exp(top - highest)
        total = total * shrink + tl.sum(weights[:, None] * v, 0)
        norm = norm * shrink + tl.sum(weights, 0)
        top = highest
    tl.store(out + row * H * E + head * E + e, (total / norm).to(out.dtype.element_ty))


@triton.jit
def cross_attention_kernel(
    q, keys, values, part_sum, part_top, part_norm, scale, S,
    H: tl.constexpr, E: tl.constexpr, BLOCK: tl.constexpr, SPLITS: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """A stretch of the encoder's positions for one row and head; keys, values: [b, H, S, E]; q: [b, H·E]."""
    if PDL:
        gdc_launch_dependents()
    kind = keys.dtype.element_ty
    owner, split = tl.program_id(0), tl.program_id(1)
    e, t = tl.arange(0, E), split * BLOCK + tl.arange(0, BLOCK)
    heard = t < S
    cache = owner * S * E
    k = tl.load(keys + cache + t[:, None] * E + e[None, :], mask=heard[:, None], other=0.0)
    v = tl.load(values + cache + t[:, None] * E + e[None, :], mask=heard[:, None], other=0.0)
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


@triton.jit
def join_kernel(
    part_sum, part_top, part_norm, out,
    E: tl.constexpr, SPLITS: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Join the stretches of one row and head: out[b, H·E]."""
    if PDL:
        gdc_launch_dependents()
        gdc_wait()
    owner = tl.program_id(0)
    e, s = tl.arange(0, E), tl.arange(0, BLOCK)
    inside = s < SPLITS
    tops = tl.load(part_top + owner * SPLITS + s, mask=inside, other=float("-inf"))
    weights = tl.exp(tops - tl.max(tops, 0))
    norms = tl.load(part_norm + owner * SPLITS + s, mask=inside, other=0.0)
    sums = tl.load(part_sum + (owner * SPLITS + s)[:, None] * E + e[None, :], mask=inside[:, None], other=0.0)
    result = tl.sum(weights[:, None] * sums, 0) / tl.sum(weights * norms, 0)
    tl.store(out + owner * E + e, result.to(out.dtype.element_ty))


@triton.jit
def scan_kernel(
    scores, bias, first_bias, token, written, before, stamp, best, best_at,
    size, begin, end, first_last,
    STAMPS: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """One stretch of the vocabulary of one row, after the rules.

    best: float32[b, PARTS, 3], the highest text score, the highest timestamp score, Σ exp(timestamp − highest);
    best_at: int32[b, PARTS, 2], where the two highest stand (the first of equals).
    """
    if PDL:
        gdc_launch_dependents()
        gdc_wait()
    row, part = tl.program_id(0), tl.program_id(1)
    ids = part * BLOCK + tl.arange(0, BLOCK)
    inside = ids < size
    count = tl.load(written + row)
    first = count == 0
    s = tl.load(scores + row * size + ids, mask=inside, other=float("-inf"))
    always = tl.load(bias + ids, mask=inside, other=0.0)
    at_first = tl.load(first_bias + ids, mask=inside, other=0.0)
    s += tl.where(first, at_first, always)
    if STAMPS:
        last, last_but_one, last_stamp = tl.load(token + row), tl.load(before + row), tl.load(stamp + row)
        last_is_stamp = (count > 0) & (last >= begin)
        before_is_stamp = (count < 2) | (last_but_one >= begin)
        opens = last_is_stamp & (before_is_stamp == 0)
        text_from = tl.where(opens, end, 0)
        after_last = tl.where(last_stamp >= 0, last_stamp + tl.where(opens, 0, 1), begin)
        stamps_from = tl.where(last_is_stamp & before_is_stamp, size, after_last)
        text_from = tl.where(first, begin, text_from)
        stamps_from = tl.where(first, begin, stamps_from)
        top = tl.where(first, first_last, size - 1)
        forbidden = (ids < text_from) | ((ids >= begin) & (ids < stamps_from)) | (ids > top)
        s = tl.where(forbidden, float("-inf"), s)
    is_stamp = ids >= begin
    text = tl.where(is_stamp, float("-inf"), s)
    high = tl.max(text, 0)
    at = tl.min(tl.where(text == high, ids, 2147483647), 0)
    stamps = tl.where(is_stamp, s, float("-inf"))
    stamp_high = tl.max(stamps, 0)
    stamp_at = tl.min(tl.where(stamps == stamp_high, ids, 2147483647), 0)
    lifted = tl.where(stamp_high == float("-inf"), 0.0, stamp_high)
    total = tl.sum(tl.exp(stamps - lifted), 0)
    place = row * PARTS + part
    tl.store(best + place * 3, high)
    tl.store(best + place * 3 + 1, stamp_high)
    tl.store(best + place * 3 + 2, total)
    tl.store(best_at + place * 2, at)
    tl.store(best_at + place * 2 + 1, stamp_at)


@triton.jit
def record_kernel(
    best, best_at, token, position, written, before, stamp, ended, done, limit, out,
    begin, end, L,
    STAMPS: tl.constexpr, PARTS: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Join the stretches of one row, choose, and write the choice into the row's state (see `device_loop.Rows`)."""
    if PDL:
        gdc_launch_dependents()
        gdc_wait()
    row = tl.program_id(0)
    part = tl.arange(0, BLOCK)
    inside = part < PARTS
    place = row * PARTS + part
    text = tl.load(best + place * 3, mask=inside, other=float("-inf"))
    stamps = tl.load(best + place * 3 + 1, mask=inside, other=float("-inf"))
    totals = tl.load(best + place * 3 + 2, mask=inside, other=0.0)
    at = tl.load(best_at + place * 2, mask=inside, other=2147483647)
    stamp_at = tl.load(best_at + place * 2 + 1, mask=inside, other=2147483647)
    text_high, stamp_high = tl.max(text, 0), tl.max(stamps, 0)
    text_choice = tl.min(tl.where(text == text_high, at, 2147483647), 0)
    stamp_choice = tl.min(tl.where(stamps == stamp_high, stamp_at, 2147483647), 0)
    lifted = tl.where(stamp_high == float("-inf"), 0.0, stamp_high)
    mass = tl.sum(tl.exp(stamps - lifted) * totals, 0)
    wants_stamp = stamp_high > text_high
    if STAMPS:
        wants_stamp = wants_stamp | (lifted + tl.log(mass) > text_high)
    choice = tl.where(wants_stamp, stamp_choice, text_choice).to(tl.int64)
    was_done = tl.load(done + row) != 0
    count = tl.load(written + row)
    last = tl.load(token + row)
    ending = (was_done == 0) & (choice == end)
    put = (was_done == 0) & (choice != end)
    slot = tl.minimum(count, L - 1)
    tl.store(out + row * L + slot, choice, mask=put)
    tl.store(before + row, last, mask=put & (count > 0))
    tl.store(stamp + row, choice, mask=put & (choice >= begin))
    tl.store(token + row, choice, mask=put)
    tl.store(position + row, tl.load(position + row) + 1, mask=put)
    count += tl.where(put, 1, 0)
    tl.store(written + row, count, mask=put)
    tl.store(ended + row, 1, mask=ending)
    tl.store(done + row, 1, mask=ending | (put & (count >= tl.load(limit + row))))


def split_width(k: int) -> tuple[int, int]:
    """k as a sum of two powers of two, the second may be 0. Raises ValueError for other widths (no Whisper has one)."""
    first = 1 << (k.bit_length() - 1)
    rest = k - first
    if rest & (rest - 1):
        raise ValueError(f"a width of {k} is not a sum of two powers of two")
    return first, rest


class TritonStep:
    """One token for every row (at most 8): a callable whose launches can be captured.

    Needs fused query, key and value weights (`LiveMerge` stores them so). Raises ValueError for shapes it does not
    support: see `suits`.
    """

    def __init__(self, tensors, caches, rows, rules, *, dependent_launch: bool = True) -> None:
        if not suits(tensors, rows.token.shape[0]):
            raise ValueError("the Triton step does not support this model or batch")
        self.tensors, self.caches, self.rows, self.rules = tensors, caches, rows, rules
        self.batch, self.pdl = rows.token.shape[0], dependent_launch
        self.launch = {"launch_pdl": True} if dependent_launch else {}
        kind = {"device": tensors.device, "dtype": tensors.dtype}
        wide = {"device": tensors.device, "dtype": torch.float32}
        d, heads, hidden = tensors.width, tensors.decoder_heads, tensors.decoder[0].fc1[0].shape[0]
        self.splits = triton.cdiv(tensors.source_positions, CROSS_BLOCK)
        self.parts = triton.cdiv(tensors.head.shape[0], VOCABULARY_BLOCK)
        b = self.batch
        self.x, self.attended, self.asked = (torch.empty((b, d), **kind) for _ in range(3))
        self.qkv, self.inner = torch.empty((b, 3 * d), **kind), torch.empty((b, hidden), **kind)
        self.part_sum = torch.empty((b * heads * self.splits, d // heads), **wide)
        self.part_top, self.part_norm = (torch.empty(b * heads * self.splits, **wide) for _ in range(2))
        self.scores = torch.empty((b, tensors.head.shape[0]), **wide)
        self.best = torch.empty((b, self.parts, 3), **wide)
        self.best_at = torch.empty((b, self.parts, 2), dtype=torch.int32, device=tensors.device)

    def __call__(self) -> None:
        """Launch the step."""
        self.forward()
        self.choose()

    def forward(self) -> None:
        """From the rows' tokens to `scores`, float32 logits."""
        tensors, rows, d = self.tensors, self.rows, self.tensors.width
        embed_kernel[(self.batch,)](
            rows.token, rows.position, tensors.embed, tensors.decoder_positions, self.x,
            D=d, BLOCK=triton.next_power_of_2(d), PDL=self.pdl, **self.launch,
        )  # fmt: skip
        for index, layer in enumerate(tensors.decoder):
            self._self_attention(index, layer)
            self._cross_attention(index, layer)
            self._linear(self.x, layer.fc1, self.inner, norm=layer.mlp_norm, gelu=True)
            self._linear(self.inner, layer.fc2, self.x, add=True)
        self._linear(self.x, (tensors.head, None), self.scores, norm=tensors.decoder_norm)

    def _self_attention(self, index, layer) -> None:
        tensors, heads = self.tensors, self.tensors.decoder_heads
        width = tensors.width // heads
        self._linear(self.x, layer.attn.fused, self.qkv, norm=layer.attn_norm)
        self_attention_kernel[(self.batch * heads,)](
            self.qkv, self.caches.self_kv[index, 0], self.caches.self_kv[index, 1], self.rows.position, self.attended,
            width**-0.5, H=heads, E=width, L=tensors.target_positions, BLOCK=SELF_BLOCK, PDL=self.pdl, **self.launch,
        )  # fmt: skip
        self._linear(self.attended, layer.attn.out, self.x, add=True)

    def _cross_attention(self, index, layer) -> None:
        tensors, heads = self.tensors, self.tensors.decoder_heads
        width = tensors.width // heads
        self._linear(self.x, layer.cross.q, self.asked, norm=layer.cross_norm)
        cross_attention_kernel[(self.batch * heads, self.splits)](
            self.asked, self.caches.cross_kv[index, 0], self.caches.cross_kv[index, 1],
            self.part_sum, self.part_top, self.part_norm, width**-0.5, tensors.source_positions,
            H=heads, E=width, BLOCK=CROSS_BLOCK, SPLITS=self.splits, PDL=self.pdl, **self.launch,
        )  # fmt: skip
        join_kernel[(self.batch * heads,)](
            self.part_sum, self.part_top, self.part_norm, self.attended,
            E=width, SPLITS=self.splits, BLOCK=triton.next_power_of_2(self.splits), PDL=self.pdl, **self.launch,
        )  # fmt: skip
        self._linear(self.attended, layer.cross.out, self.x, add=True)

    def _linear(self, x, pair, out, *, norm=None, gelu: bool = False, add: bool = False) -> None:
        weight, bias = pair
        n, k = weight.shape
        k1, k2 = split_width(k)
        block = max(1, min(64, 1 << ((TILE // k).bit_length() - 1)))
        gamma, beta = norm if norm is not None else (weight, weight)  # unread without NORM
        linear_kernel[(triton.cdiv(n, block),)](
            x, weight, weight if bias is None else bias, gamma, beta, out, out, n,
            ROWS=self.batch, K1=k1, K2=k2, BLOCK=block, NORM=norm is not None, BIAS=bias is not None,
            GELU=gelu, ADD=add, PDL=self.pdl, num_warps=8, **self.launch,
        )  # fmt: skip

    def choose(self) -> None:
        """From `scores` to the rows' next tokens."""
        known, rows, rules = self.rules.vocabulary, self.rows, self.rules
        size, begin = known.size, known.timestamp_begin
        first_last = size - 1 if known.max_initial_timestamp is None else begin + known.max_initial_timestamp
        scan_kernel[(self.batch, self.parts)](
            self.scores, rules.bias, rules.first_bias, rows.token, rows.written, rows.before, rows.stamp,
            self.best, self.best_at, size, begin, known.end, first_last,
            STAMPS=rules.timestamps, BLOCK=VOCABULARY_BLOCK, PARTS=self.parts, PDL=self.pdl, **self.launch,
        )  # fmt: skip
        record_kernel[(self.batch,)](
            self.best, self.best_at, rows.token, rows.position, rows.written, rows.before, rows.stamp,
            rows.ended.view(torch.uint8), rows.done.view(torch.uint8), rows.limit, rows.out,
            begin, known.end, rows.out.shape[1],
            STAMPS=rules.timestamps, PARTS=self.parts, BLOCK=triton.next_power_of_2(self.parts), PDL=self.pdl,
            **self.launch,
        )  # fmt: skip


def suits(tensors, batch: int) -> bool:
    """Whether the kernels support this model: half precision, fused projections, widths that are sums of two powers
    of two, heads of a power of two; and a batch of at most 8 rows."""
    widths = (tensors.width, tensors.decoder[0].fc1[0].shape[0])
    head = tensors.width // tensors.decoder_heads
    rests = [width - (1 << (width.bit_length() - 1)) for width in widths]
    return (
        batch <= MOST_ROWS
        and tensors.dtype in {torch.float16, torch.bfloat16}
        and all(layer.attn.fused is not None for layer in tensors.decoder)
        and all(rest & (rest - 1) == 0 for rest in rests)
        and head & (head - 1) == 0
    )
