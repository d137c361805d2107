"""Two or more models and their mixture in device memory.

The weights of A, B (C, D, … and the base) and of the mixture lie in flat buffers of one layout; transformers modules
are views of them. A slider move rewrites the mixture's buffer in place: nothing is reloaded, pointers stay as they are.

Longer than most files: one object owns the buffers, and half of it is the contract with its users.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch

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
from merger.live.mixture import Mixture
from merger.live.modules import build_module, pointers
from merger.live.planner import Plan, Planner, Poll, Stack
from merger.live.tables import Table, is_copy
from merger.live.write import same
from merger.out_of_memory import as_out_of_memory
from merger.plan import plan_output
from merger.recipe import MergeRecipe

ModelName = Literal["a", "merged", "b"]
_serial = itertools.count(1)
SOURCE_KEYS = "abcdefghijklmnopqrstuvwxyz"  # of the sources in order, as a merge to disk calls them


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

    a, b, base: checkpoints of one architecture. others: further sources C, D, … for the methods that mix any number;
    methods of two models mix A and B, whatever else is there. device: "auto", "cpu", "cuda", "cuda:1". dtype: what is
    computed in, float32 on the CPU and the checkpoint's own on a GPU unless given. resident: keep the sources on the
    device; None decides by its free memory. Otherwise they stay in host memory (pinned for a GPU), are streamed through
    while the mixture is written, and `lend("a")` puts A's weights into the one module that is on the device.

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
        others: Sequence[Checkpoint] = (),
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        resident: bool | None = None,
        cancelled: Poll | None = None,
    ) -> None:
        compare(a, b, *others, base=base).raise_if_incompatible()
        mixed = dict(zip(SOURCE_KEYS, (a, b, *others), strict=False))
        self.checkpoints = mixed | ({"base": base} if base is not None else {})
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device, a)
        self._output_dtypes = {tensor.name: TORCH_DTYPES[tensor.dtype] for tensor in plan_output(a).tensors}
        tied = TIED_HEAD not in a.weights()
        self.layout = FlatLayout.of({name: entry.shape for name, entry in a.weights().items()}, a.config, tied=tied)
        copies = (1 + len(self.checkpoints)) * self.layout.size * self.dtype.itemsize
        self.resident = copies < HEADROOM * free_memory(self.device) if resident is None else resident
        with self._memory_errors():
            self._load(cancelled)
        self.generation = 0
        self._begin(cancelled)

    def _begin(self, cancelled: Poll | None) -> None:
        """The mixture of Direct, and nothing known about weights that lay here before."""
        self.recipe = MergeRecipe.build("direct")
        self._name = f"live{next(_serial)}"
        self._plans: dict[Stack, Plan] = {}
        self._settings: dict[Stack, str] = {}  # names of the settings that the plans were made for
        self._stack_names: dict[Stack, str] = {}
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
        self._sources = tuple(loaded[key] for key in self.checkpoints if key != "base")
        self._base = loaded.get("base")
        merged = torch.zeros(self.layout.size, dtype=self.dtype, device=self.device)
        self._arrange(merged, {})

    def _arrange(self, merged: torch.Tensor, modules: dict[str, Any]) -> None:
        """Modules (those that are not given), kernels and planners over the buffers as they lie."""
        self.mixture = Mixture(self.layout, self._sources, self._base, merged, self._output_dtypes)
        buffers = {"a": self._sources[0], "merged": merged, "b": self._sources[1]}
        kept = buffers if self.resident else {"merged": merged}
        self._modules = {
            name: modules.get(name)
            or build_module(self._donor(name).config, self._donor(name).folder, self.layout, buffer)
            for name, buffer in kept.items()
        }
        self._pointers = pointers(self._modules["merged"])
        # A method of two models measures A and B alone, whatever else is there.
        self._planners = {
            count: Planner(
                self.layout, Measurements(self.layout, self._sources[:count], self._base), self._output_dtypes,
                for_kernel=self.mixture.kernel is not None,
            )
            for count in {2, len(self._sources)}
        }  # fmt: skip

    def swap(self, cancelled: Poll | None = None) -> bool:
        """Exchange A and B where they lie: nothing is read again, and the mixture becomes Direct's, as after loading.

        False, and nothing is done, where their dtypes differ: a merge takes its dtype from A. Raises Cancelled while
        the mixture is written.
        """
        if self.checkpoints["a"].dtype != self.checkpoints["b"].dtype:
            return False
        other = {"a": "b", "b": "a"}
        self.checkpoints = {key: self.checkpoints[other.get(key, key)] for key in self.checkpoints}
        planned = plan_output(self.checkpoints["a"]).tensors
        self._output_dtypes = {tensor.name: TORCH_DTYPES[tensor.dtype] for tensor in planned}
        self._sources = (self._sources[1], self._sources[0], *self._sources[2:])
        # The mixture's module is made anew: its settings of generation are A's.
        kept = {other[name]: module for name, module in self._modules.items() if name in other}
        self._arrange(self.mixture.buffer, kept)
        self._begin(cancelled)
        return True

    def _planner(self, recipe: MergeRecipe) -> Planner:
        return self._planners[2 if recipe.spec.sources == "two" else len(self._sources)]

    def _taking_part(self, recipe: MergeRecipe) -> dict[str, Checkpoint]:
        """What the recipe mixes: all sources, or A and B for a method of two; and the base."""
        two = recipe.spec.sources == "two"
        return {key: model for key, model in self.checkpoints.items() if not two or key in {"a", "b", "base"}}

    def _donor(self, name: str) -> Checkpoint:
        return self.checkpoints["b" if name == "b" else "a"]

    @property
    def modules(self) -> dict[str, Any]:
        """transformers modules by name: "a", "merged", "b"; only "merged" where A and B are not resident."""
        return dict(self._modules)

    @property
    def nbytes(self) -> int:
        """Bytes of weights held on the device."""
        buffers = [*self._sources, self.mixture.buffer, *([] if self._base is None else [self._base])]
        return sum(b.numel() * b.element_size() for b in buffers if b.device == self.device)

    def prepare(self, method: str, cancelled: Poll | None = None) -> float:
        """Measure once what this method asks of the pair, so that `apply` measures nothing; returns the seconds taken.

        Raises BadRecipe if the method needs a base that is not there, Cancelled between tensors.
        """
        started = time.perf_counter()
        recipe = MergeRecipe.build(method)
        require_fit(recipe, self._taking_part(recipe))
        self._planner(recipe).prepare(method, cancelled)
        self._synchronize()
        return time.perf_counter() - started

    def apply(self, recipe: MergeRecipe, cancelled: Poll | None = None) -> AppliedMerge:
        """Write the recipe's mixture in place: only the tensors that change.

        If slerp or ties cannot be carried out, direct is, with a warning. Raises Cancelled between tensors: the mixture
        before is put back when it is next lent. Raises BadRecipe, OutOfMemory.
        """
        started = time.perf_counter()
        require_fit(recipe, self._taking_part(recipe))
        performed, warnings = recipe, tuple[Text, ...]()
        try:
            rewritten = self._carry_out(recipe, cancelled)
        except FAILURES as error:
            performed, warnings = self._fall_back(recipe, error)
            rewritten = self._carry_out(performed, cancelled)
        self.recipe = performed
        self.generation += 1
        digest = recipe.digest
        self._synchronize()
        seconds = time.perf_counter() - started
        return AppliedMerge(digest, self.generation, seconds, performed.method, warnings, rewritten)

    def _carry_out(self, recipe: MergeRecipe, cancelled: Poll | None) -> int:
        """Plan and write one stack after the other; returns the number of elements written."""
        plans: dict[Stack, Plan] = {}
        settings: dict[Stack, str] = {}
        rewritten = 0
        for stack, plan, name in self._planner(recipe).plans(recipe, (self._plans, self._settings), cancelled):
            plans[stack], settings[stack] = plan, name
            rewritten += self._write({stack: plan}, cancelled)
        self._name_stacks(recipe, plans, settings)
        self._plans, self._settings = plans, settings
        return rewritten

    def identity(self, model: ModelName) -> WeightsIdentity:
        """What names this model's weights now. A mixture that copies a parent has the parent's name."""
        if model != "merged":
            return WeightsIdentity(f"{self._name}:{model}", f"{self._name}:{model}")
        return WeightsIdentity(self._stack_names["encoder"], self._stack_names["decoder"])

    def _name_stacks(self, recipe: MergeRecipe, plans: dict[Stack, Plan], settings: dict[Stack, str]) -> None:
        """Name the weights of both stacks after their settings, or after the parent that they copy; weights that new
        settings leave as they were keep their name."""
        common = self._planner(recipe).measured.equal(with_base=False)
        for stack, plan in plans.items():
            if _unchanged(self._plans.get(stack), plan):
                continue
            parent = is_copy(plan, common)
            self._stack_names[stack] = f"{self._name}:{settings[stack] if parent is None else SOURCE_KEYS[parent]}"

    @contextmanager
    def lend(self, model: ModelName) -> Iterator[Any]:
        """The module with this model's weights, valid inside the `with` block."""
        if self.resident and model != "merged":
            yield self._modules[model]
            return
        if model == "merged":
            self._write(self._plans, None)  # nothing to do unless another model was lent or a merge was cancelled
        elif self._holding != model:
            self.mixture.forget()
            self.mixture.buffer.copy_(self._sources["ab".index(model)], non_blocking=True)
        self._holding = model
        if pointers(self._modules["merged"]) != self._pointers:
            raise RuntimeError("a parameter of the mixture is no longer a view of its buffer")
        yield self._modules["merged"]

    def close(self) -> None:
        """Let go of all memory; the object cannot be used afterwards."""
        self._modules, self._plans = {}, {}
        self._sources, self._base = (), None
        del self.mixture, self._planners
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
        with self._memory_errors():
            count = self.mixture.write(plans, cancelled)
        self._holding = "merged"
        return count

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
