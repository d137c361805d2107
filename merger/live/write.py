"""Carrying out operators: from the sources' flat buffers into the merged one, in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

from merger.errors import Cancelled
from merger.live.flat import FlatLayout
from merger.operators import Chunk, Linear, Operator, TopBlend

# Elements per step. On the CPU its temporaries stay in the second-level cache, and it is short enough for torch not to
# wake its other threads, which costs more than it brings; on a GPU it amortises launches.
STEP = {"cpu": 1 << 15, "cuda": 1 << 26}
Read = Callable[[int, int], tuple[tuple[torch.Tensor, ...], torch.Tensor | None]]


def stretches(layout: FlatLayout, operators: Mapping[str, Operator]) -> Iterator[tuple[Operator, int, int, list[str]]]:
    """(operator, start, stop, names) for the tensors of `operators`, neighbours with the same linear operator joined.

    Only `Linear` does not look at an element's index, so only there may tensors be joined; the zero gaps between them
    stay zero.
    """
    run: list[str] = []
    for name in layout.slots:
        operator = operators.get(name)
        if run and (operator is None or not isinstance(operator, Linear) or operator != operators[run[0]]):
            yield operators[run[0]], layout.slots[run[0]].start, layout.slots[run[-1]].stop, run
            run = []
        if operator is not None:
            run.append(name)
    if run:
        yield operators[run[0]], layout.slots[run[0]].start, layout.slots[run[-1]].stop, run


def carry_out(
    operator: Operator,
    start: int,
    stop: int,
    read: Read,
    merged: torch.Tensor,
    output_dtype: torch.dtype,
    cancelled: Callable[[], bool] | None,
) -> None:
    """Write operator(sources[start:stop]) into merged[start:stop], rounded once to `output_dtype`.

    Where the buffer is wider than `output_dtype` (a float32 buffer on the CPU, an fp16 checkpoint) the values are those
    that an export would hold. Raises Cancelled between two steps.
    """
    step = STEP[merged.device.type]
    for begin in range(start, stop, step):
        if cancelled is not None and cancelled():
            raise Cancelled
        end = min(begin + step, stop)
        sources, base = read(begin, end)
        result = operator(Chunk(sources, base, begin - start))
        merged[begin:end].copy_(result if merged.dtype == output_dtype else result.to(output_dtype))


def all_copy(operators: Sequence[Operator]) -> int | None:
    """The source of which every operator makes a bit-for-bit copy, or None."""
    sources = {operator.copied_source() if isinstance(operator, Linear) else None for operator in operators}
    return sources.pop() if len(sources) == 1 else None


def slot_names(layout: FlatLayout, stack: str) -> list[str]:
    """Names of the tensors that lie in one stack ("encoder" or "decoder")."""
    return [name for name, slot in layout.slots.items() if slot.place.stack == stack]


def same(written: Operator | None, wanted: Operator) -> bool:
    """Whether a tensor already holds what `wanted` would write. Operators of other methods may hold arrays, which do
    not compare as values: those are the same only if they are one object."""
    if isinstance(wanted, (Linear, TopBlend)):
        return written == wanted
    return written is wanted
