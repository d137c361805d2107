"""Two models and their mixture in device memory.

The weights of A, B (and the base) and of the mixture lie in flat buffers of one layout; transformers modules are views
of them. A slider move rewrites the mixture's buffer in place: nothing is reloaded, pointers stay as they are.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch

from merger.arithmetic import as_out_of_memory, choose_arithmetic
from merger.bilingual import Text
from merger.checkpoint import Checkpoint
from merger.compatibility import compare
from merger.engine import FAILURES
from merger.errors import OutOfMemory
from merger.fitting import require_fit
from merger.layout import TIED_HEAD
from merger.live.flat import FlatLayout
from merger.live.loading import HEADROOM, TORCH_DTYPES, choose_device, choose_dtype, free_memory, load_flat
from merger.live.measure import Measurements
from merger.live.modules import build_module, pointers
from merger.live.planner import Plan, Planner, Poll, Stack
from merger.live.tables import Table, is_copy
from merger.live.write import HostKernels, carry_out, make_kernel, same, stretches
from merger.operators import Operator
from merger.plan import plan_output
from merger.recipe import MergeRecipe

ModelName = Literal["a", "merged", "b"]
log = logging.getLogger("merger")
_serial = itertools.count(1)


@dataclass(frozen=True)
class AppliedMerge:
    """What `LiveMerge.apply` did.

    seconds: wall time with the device synchronised. performed: the method that was carried out, another than the
    recipe's only after a fallback, which `warnings` names. rewritten: how many elements were written.
    """

    digest: str
    generation: int
    seconds: float
    performed: str
    warnings: tuple[Text, ...]
    rewritten: int


@dataclass(frozen=True)
class WeightsIdentity:
    """Names of a model's weights, equal only where the weights are: keys for caches of what it makes of a clip."""

    encoder: str
    decoder: str


class LiveMerge:
    """A, B and their mixture, ready to transcribe; used by one thread at a time.

    a, b, base: checkpoints of one architecture. device: "auto", "cpu", "cuda", "cuda:1". dtype: what is computed in,
    float32 on the CPU and the checkpoint's own on a GPU unless given. resident: keep A and B on the device; None
    decides by its free memory. Otherwise A and B stay in host memory (pinned for a GPU), are streamed through while the
    mixture is written, and `lend("a")` puts A's weights into the one module that is on the device.

    Where the buffers are wider than the checkpoints (float32 over fp16), the mixture is rounded as an export would
    round it: what is heard is what is exported.

    Raises IncompatibleModels, DeviceUnavailable, OutOfMemory, Cancelled.
    """

    def __init__(
        self,
        a: Checkpoint,
        b: Checkpoint,
        base: Checkpoint | None = None,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        resident: bool | None = None,
        cancelled: Poll | None = None,
    ) -> None:
        compare(a, b, base=base).raise_if_incompatible()
        self.checkpoints = {"a": a, "b": b} | ({"base": base} if base is not None else {})
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device, a)
        self._output_dtypes = {tensor.name: TORCH_DTYPES[tensor.dtype] for tensor in plan_output(a).tensors}
        tied = TIED_HEAD not in a.weights()
        self.layout = FlatLayout.of({name: entry.shape for name, entry in a.weights().items()}, a.config, tied=tied)
        copies = (3 if base is None else 4) * self.layout.size * self.dtype.itemsize
        self.resident = copies < HEADROOM * free_memory(self.device) if resident is None else resident
        with self._memory_errors():
            self._load(cancelled)
        self.generation = 0
        self.recipe = MergeRecipe.build("direct")
        self._name = f"live{next(_serial)}"
        self._plans: dict[Stack, Plan] = {}
        self._settings: dict[Stack, str] = {}  # names of the settings that the plans were made for
        self._stack_names: dict[Stack, str] = {}
        # What the mixture's buffer holds now: per tensor, or per stack where the GPU kernel wrote a whole table.
        self._written: dict[str, Operator] = {}
        self._tables: dict[Stack, Table] = {}
        self._holding: ModelName = "merged"
        self.apply(self.recipe, cancelled)

    def _load(self, cancelled: Poll | None) -> None:
        host = torch.device("cpu")
        place = self.device if self.resident else host
        loaded = {
            key: load_flat(
                checkpoint, self.layout,
                self.dtype if self.resident else TORCH_DTYPES[checkpoint.dtype],
                place, pinned=not self.resident, cancelled=cancelled,
            )
            for key, checkpoint in self.checkpoints.items()
        }  # fmt: skip
        self._sources: tuple[torch.Tensor, ...] = (loaded["a"], loaded["b"])
        self._base = loaded.get("base")
        self._merged = torch.zeros(self.layout.size, dtype=self.dtype, device=self.device)
        buffers = {"a": loaded["a"], "merged": self._merged, "b": loaded["b"]}
        kept = buffers if self.resident else {"merged": self._merged}
        self._modules = {
            name: build_module(self._donor(name).config, self._donor(name).folder, self.layout, buffer)
            for name, buffer in kept.items()
        }
        self._pointers = pointers(self._modules["merged"])
        self._host_kernels = None
        if self.device.type == "cpu":
            self._host_kernels = HostKernels(choose_arithmetic("cpu"), self._sources, self._base, self._merged)
        self._kernel = make_kernel(self.layout, self._sources, self._merged) if self.resident else None
        measured = Measurements(self.layout, self._sources, self._base)
        self._planner = Planner(self.layout, measured, self._output_dtypes, for_kernel=self._kernel is not None)

    def _donor(self, name: str) -> Checkpoint:
        return self.checkpoints["b" if name == "b" else "a"]

    @property
    def modules(self) -> dict[str, Any]:
        """transformers modules by name: "a", "merged", "b"; only "merged" where A and B are not resident."""
        return dict(self._modules)

    @property
    def nbytes(self) -> int:
        """Bytes of weights held on the device."""
        buffers = [*self._sources, self._merged, *([] if self._base is None else [self._base])]
        return sum(b.numel() * b.element_size() for b in buffers if b.device == self.device)

    def prepare(self, method: str, cancelled: Poll | None = None) -> float:
        """Measure once what this method asks of the pair, so that `apply` measures nothing; returns the seconds taken.

        Raises BadRecipe if the method needs a base that is not there, Cancelled between tensors.
        """
        started = time.perf_counter()
        require_fit(MergeRecipe.build(method), self.checkpoints)
        self._planner.prepare(method, cancelled)
        self._synchronize()
        return time.perf_counter() - started

    def apply(self, recipe: MergeRecipe, cancelled: Poll | None = None) -> AppliedMerge:
        """Write the recipe's mixture in place: only the tensors that change.

        If slerp or ties cannot be carried out, direct is, with a warning. Raises Cancelled between tensors: the mixture
        before is put back when it is next lent. Raises BadRecipe, OutOfMemory.
        """
        started = time.perf_counter()
        require_fit(recipe, self.checkpoints)
        performed, warnings = recipe, tuple[Text, ...]()
        try:
            plans, settings = self._planner.plans_for(recipe, (self._plans, self._settings), cancelled)
        except FAILURES as error:
            performed, warnings = self._fall_back(recipe, error)
            plans, settings = self._planner.plans_for(performed, (self._plans, self._settings), cancelled)
        with self._memory_errors():
            rewritten = self._write(plans, cancelled)
        self._name_stacks(plans, settings)
        self.recipe, self._plans, self._settings = performed, plans, settings
        self.generation += 1
        self._synchronize()
        seconds = time.perf_counter() - started
        return AppliedMerge(recipe.digest, self.generation, seconds, performed.method, warnings, rewritten)

    def identity(self, model: ModelName) -> WeightsIdentity:
        """What names this model's weights now. A mixture that copies a parent has the parent's name."""
        if model != "merged":
            return WeightsIdentity(f"{self._name}:{model}", f"{self._name}:{model}")
        return WeightsIdentity(self._stack_names["encoder"], self._stack_names["decoder"])

    def _name_stacks(self, plans: dict[Stack, Plan], settings: dict[Stack, str]) -> None:
        """Name the weights of both stacks after their settings, or after the parent that they copy; weights that new
        settings leave as they were keep their name."""
        common = self._planner.measured.equal(with_base=False)
        for stack, plan in plans.items():
            if _unchanged(self._plans.get(stack), plan):
                continue
            parent = is_copy(plan, common)
            self._stack_names[stack] = f"{self._name}:{settings[stack] if parent is None else 'ab'[parent]}"

    @contextmanager
    def lend(self, model: ModelName) -> Iterator[Any]:
        """The module with this model's weights, valid inside the `with` block."""
        if self.resident and model != "merged":
            yield self._modules[model]
            return
        if model == "merged":
            self._write(self._plans, None)  # nothing to do unless another model was lent or a merge was cancelled
        elif self._holding != model:
            self._written.clear()
            self._tables.clear()
            self._merged.copy_(self._sources["ab".index(model)], non_blocking=True)
        self._holding = model
        if pointers(self._modules["merged"]) != self._pointers:
            raise RuntimeError("a parameter of the mixture is no longer a view of its buffer")
        yield self._modules["merged"]

    def close(self) -> None:
        """Let go of all memory; the object cannot be used afterwards."""
        self._modules, self._plans = {}, {}
        self._sources, self._base = (), None
        self._host_kernels = self._kernel = None
        del self._merged, self._planner
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _fall_back(self, recipe: MergeRecipe, error: BaseException) -> tuple[MergeRecipe, tuple[Text, ...]]:
        """The direct mixture that stands in for a method that failed, and the warning; or the error again."""
        memory = as_out_of_memory(error, str(self.device))
        if recipe.spec.fallback is None:
            raise memory or error
        parameters, parts = recipe.spec.fallback(recipe.parameters)
        cause = Text("не хватило памяти", "out of memory") if memory else Text(str(error), str(error))
        warning = Text(
            f"Метод {recipe.method} не сработал ({cause.ru}); вместо него выполнен direct.",
            f"The method {recipe.method} failed ({cause.en}); direct was performed instead.",
        )
        return MergeRecipe.build("direct", parameters, parts=parts), (warning,)

    def _write(self, plans: dict[Stack, Plan], cancelled: Poll | None) -> int:
        """Bring the mixture's buffer to these plans; returns the number of elements written."""
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
            carry_out(stretch, self._read, self._merged, cancelled, self._host_kernels)
            self._written.update(dict.fromkeys(stretch.names, stretch.operator))
            count += stretch.stop - stretch.start
        self._holding = "merged"
        return count

    def _write_at_once(self, plans: dict[Stack, Plan]) -> int:
        """Let the GPU kernel write the stacks whose plans are tables, one launch each; returns the elements written."""
        if self._kernel is None:
            return 0
        count = 0
        for stack, plan in plans.items():
            if isinstance(plan, Table) and not plan.equals(self._tables.get(stack)):
                for name in plan:
                    self._written.pop(name, None)
                self._tables.pop(stack, None)
                try:
                    self._kernel(plan, self._output_dtypes[plan.names[0]])
                except Exception as failure:  # a compiler raises what it likes; the plain operators always work
                    log.warning("The merge kernel is not used on this device (%s).", failure)
                    self._kernel = None
                    return count
                self._tables[stack] = plan
                count += sum(self.layout.slots[name].place.size for name in plan)
        return count

    def _read(self, start: int, stop: int) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
        """float32 values of all sources (and the base) on the device."""

        def fetch(buffer: torch.Tensor) -> torch.Tensor:
            return buffer[start:stop].to(self.device, non_blocking=True).float()

        return tuple(fetch(source) for source in self._sources), None if self._base is None else fetch(self._base)

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @contextmanager
    def _memory_errors(self) -> Iterator[None]:
        try:
            yield
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise OutOfMemory(device=str(self.device)) from error


def _unchanged(before: Plan | None, plan: Plan) -> bool:
    """Whether two plans of one stack give the same weights."""
    if isinstance(plan, Table) and isinstance(before, Table):
        return plan.equals(before)
    return before is not None and all(same(before[name], operator) for name, operator in plan.items())
