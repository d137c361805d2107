"""The mixture's buffer: what it holds, and bringing it to what it should hold."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch

from merger.arithmetic import choose_arithmetic
from merger.live.flat import FlatLayout
from merger.live.planner import Plan, Poll, Stack
from merger.live.tables import Table
from merger.live.write import HostKernels, carry_out, make_kernel, same, stretches
from merger.operators import Operator

log = logging.getLogger("merger")


class Mixture:
    """Writes plans into `buffer`, in place, and only where they change something.

    sources, base, buffer: flat buffers of `layout`; the sources and the base on the buffer's device or in host memory.
    output_dtypes: by tensor name, the dtype that an export would round to. The Triton kernel reads A and B, so it needs
    them on the device.
    """

    def __init__(
        self,
        layout: FlatLayout,
        sources: Sequence[torch.Tensor],
        base: torch.Tensor | None,
        buffer: torch.Tensor,
        output_dtypes: Mapping[str, torch.dtype],
    ) -> None:
        self.layout, self.buffer = layout, buffer
        self._sources, self._base, self._output_dtypes = tuple(sources), base, output_dtypes
        self.kernel = make_kernel(layout, sources, buffer) if sources[0].device == buffer.device else None
        self._host_kernels = None
        if buffer.device.type == "cpu":
            self._host_kernels = HostKernels(choose_arithmetic("cpu"), sources, base, buffer)
        # What the buffer holds now: per tensor, or per stack where the GPU kernel wrote a whole table.
        self._written: dict[str, Operator] = {}
        self._tables: dict[Stack, Table] = {}

    def forget(self) -> None:
        """Note that the buffer holds something else."""
        self._written.clear()
        self._tables.clear()

    def write(self, plans: Mapping[Stack, Plan], cancelled: Poll | None) -> int:
        """Bring the buffer to these plans; returns the number of elements written. Raises Cancelled between tensors."""
        count = self._write_at_once(plans)
        changed: dict[str, Operator] = {}
        for stack, plan in plans.items():
            if plan is self._tables.get(stack) or (isinstance(plan, Table) and plan.equals(self._tables.get(stack))):
                continue
            self._tables.pop(stack, None)
            changed.update({name: op for name, op in plan.items() if not same(self._written.get(name), op)})
        for stretch in stretches(self.layout, changed, self._output_dtypes):
            for name in stretch.names:
                self._written.pop(name, None)
            carry_out(stretch, self._read, self.buffer, cancelled, self._host_kernels)
            self._written.update(dict.fromkeys(stretch.names, stretch.operator))
            count += stretch.stop - stretch.start
        return count

    def _write_at_once(self, plans: Mapping[Stack, Plan]) -> int:
        """Let the GPU kernel write the stacks whose plans are tables, one launch each; returns the elements written."""
        if self.kernel is None:
            return 0
        count = 0
        for stack, plan in plans.items():
            if isinstance(plan, Table) and not plan.equals(self._tables.get(stack)):
                for name in plan if self._written else ():
                    self._written.pop(name, None)
                self._tables.pop(stack, None)
                try:
                    count += self.kernel(plan, self._output_dtypes[plan.names[0]])
                except Exception as failure:  # a compiler raises what it likes; the plain operators always work
                    log.warning("The merge kernel is not used on this device (%s).", failure)
                    self.kernel = None
                    return count
                self._tables[stack] = plan
        return count

    def _read(self, start: int, stop: int) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
        """float32 values of all sources (and the base) on the device."""

        def fetch(buffer: torch.Tensor) -> torch.Tensor:
            return buffer[start:stop].to(self.buffer.device, non_blocking=True).float()

        return tuple(fetch(source) for source in self._sources), None if self._base is None else fetch(self._base)
