"""Triton kernels for the choice of the next token: suppression, timestamp rules, arg-max and the rows' bookkeeping.

`device_loop.advance` is the twin that they are tested against. This module imports triton.
"""

# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


@triton.jit
def scan_kernel(
    scores, bias, first_bias, token, written, before, stamp, best, best_at,
    across_rows, size, begin, end, first_last,
    STAMPS: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """One stretch of the vocabulary of one row, after the rules. A row's scores begin `across_rows` after those before.

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
    s = tl.load(scores + row * across_rows + ids, mask=inside, other=float("-inf")).to(tl.float32)
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
