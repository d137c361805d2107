"""A whole merge of two models in one Triton launch: linear mixtures and top blends, tensor by tensor from tables.

The formulas are those of `merger.operators.Linear` and `TopBlend`, float32, one rounding per operation (contraction
into fused multiply-adds is switched off), so the result has the bits of the plain operators. It imports triton.
"""

# mypy: ignore-errors

from __future__ import annotations

import torch
import triton
import triton.language as tl

from merger.live.flat import FlatLayout
from merger.live.tables import Table

BLOCK = 4096  # elements per program
WARPS = 8
VECTOR = 8  # elements: one 16-byte access in half precision


@triton.jit
def mixed(x, y, cx, cy):
    """cx·x + cy·y; a zero coefficient takes no part."""
    return tl.where(cy == 0.0, x * cx, tl.where(cx == 0.0, y * cy, x * cx + y * cy))


@triton.jit
def merge_kernel(
    a, b, merged, starts, offsets, counts, owners, coefficients, cuts, ties, output_kind,
    BLOCK: tl.constexpr, VECTOR: tl.constexpr, LINEAR: tl.constexpr, ROUND: tl.constexpr,
):  # fmt: skip
    """One stretch of one tensor.

    starts, offsets, counts: int32[programs] in units of `VECTOR` elements: where the stretch begins in the buffers and
    in its tensor, and its length. owners: int32[programs], the tensor's row in coefficients float32[tensors, 4] (A and
    B inside the cut, A and B outside), cuts int32[tensors] and ties int32[tensors] (`Cut`). `output_kind` is any
    pointer of the dtype that values are rounded to before they are stored, if ROUND. LINEAR: everything is inside.
    """
    program = tl.program_id(0)
    owner = tl.load(owners + program)
    start = tl.load(starts + program).to(tl.int64) * VECTOR
    first = tl.load(offsets + program) * VECTOR
    count = tl.load(counts + program) * VECTOR
    inner_a, inner_b = tl.load(coefficients + owner * 4), tl.load(coefficients + owner * 4 + 1)
    index = tl.arange(0, BLOCK)
    inside = index < count
    x = tl.load(a + start + index, mask=inside, other=0.0).to(tl.float32)
    y = tl.load(b + start + index, mask=inside, other=0.0).to(tl.float32)
    result = mixed(x, y, inner_a, inner_b)
    if not LINEAR:
        outer_a, outer_b = tl.load(coefficients + owner * 4 + 2), tl.load(coefficients + owner * 4 + 3)
        cut, tie = tl.load(cuts + owner), tl.load(ties + owner)
        bits = (x - y).to(tl.int32, bitcast=True) & 0x7FFFFFFF
        chosen = (bits > cut) | ((bits == cut) & (first + index <= tie))
        result = tl.where(chosen, result, mixed(x, y, outer_a, outer_b))
    if ROUND:
        result = result.to(output_kind.dtype.element_ty).to(tl.float32)
    tl.store(merged + start + index, result.to(merged.dtype.element_ty), mask=inside)


def fits_kernel(layout: FlatLayout) -> bool:
    """Whether every tensor starts at a multiple of 8 elements and may be written up to the next one."""
    slots = list(layout.slots.values())
    ends = [slot.start for slot in slots[1:]] + [layout.size]
    return layout.size < 2**31 * VECTOR and all(
        slot.start % VECTOR == 0 and -(-slot.stop // VECTOR) * VECTOR <= end
        for slot, end in zip(slots, ends, strict=True)
    )


class MergeKernel:
    """Merges the tensors of tables; the work list of a set of tensors is made once."""

    def __init__(self, layout: FlatLayout, a: torch.Tensor, b: torch.Tensor, merged: torch.Tensor) -> None:
        self.layout, self.a, self.b, self.merged = layout, a, b, merged
        self._lists: dict[tuple[str, ...], tuple[tuple[torch.Tensor, ...], int]] = {}

    def __call__(self, table: Table, output_dtype: torch.dtype) -> int:
        """Write the table's tensors, rounded to `output_dtype`; returns how many elements those are."""
        device = self.a.device
        coefficients = torch.from_numpy(table.coefficients).to(device, non_blocking=True)
        limits = torch.from_numpy(table.cuts.T.copy()).to(device, non_blocking=True)
        (starts, offsets, counts, owners), written = self._work(table.names)
        kind = torch.empty(1, dtype=output_dtype, device=device)
        merge_kernel[(len(starts),)](
            self.a, self.b, self.merged, starts, offsets, counts, owners, coefficients, limits[0], limits[1], kind,
            BLOCK=BLOCK, VECTOR=VECTOR, LINEAR=table.linear, ROUND=self.merged.dtype != output_dtype, num_warps=WARPS,
            enable_fp_fusion=False,
        )  # fmt: skip
        return written

    def _work(self, names: tuple[str, ...]) -> tuple[tuple[torch.Tensor, ...], int]:
        if names not in self._lists:
            parts = []
            for row, name in enumerate(names):
                slot = self.layout.slots[name]
                offset = torch.arange(0, slot.place.size, BLOCK, dtype=torch.int64)
                count = (slot.place.size - offset).clamp(max=BLOCK)
                start = (slot.start + offset) // VECTOR
                parts.append(torch.stack([start, offset // VECTOR, -(-count // VECTOR), torch.full_like(offset, row)]))
            work = torch.cat(parts, dim=1).to(torch.int32).to(self.a.device)
            written = sum(self.layout.slots[name].place.size for name in names)
            self._lists[names] = tuple(part.contiguous() for part in work), written
        return self._lists[names]
