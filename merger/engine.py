"""The streaming merge: every tensor is measured, merged and written by one of a few workers.

One pass over the sources serves any number of outputs. Results do not depend on the number of workers: a tensor belongs
to one worker, and everything that is summed is summed in a fixed order.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from merger.arithmetic import Arithmetic
from merger.digests import TensorDigest
from merger.dtypes import WIDTH
from merger.errors import Cancelled, NonfiniteWeights
from merger.layout import Place, place_of
from merger.operators import Linear, Operator
from merger.output import OutputFile
from merger.plan import OutputPlan, OutputTensor
from merger.recipe import MergeRecipe
from merger.stream import Buffers, SourceFiles, StreamedTensor, StreamView
from merger.views import ModelView, TensorView

# Tensors up to this size (per source) are read once and kept while they are measured and merged; shared by all
# sources and workers it bounds the memory of a merge.
RESIDENT_BYTES = 192 << 20
MAX_WORKERS = 8
REPORTED_TENSORS = 5
BASE = "base"
# What can go wrong in a method without being a fault of the program; torch's own error is a RuntimeError.
FAILURES = (MemoryError, ArithmeticError, np.linalg.LinAlgError, RuntimeError)


@dataclass
class Output:
    """One model that is being written: its recipe, plan and file, and what became of it."""

    recipe: MergeRecipe
    plan: OutputPlan
    file: OutputFile
    data_start: int
    survey: Any = None
    digests: dict[str, str] = field(default_factory=dict)  # per tensor, see `digests`
    copied: int = 0  # tensors equal in all sources, copied as they are
    notes: dict[str, dict[str, float]] = field(default_factory=dict)  # what the method noted per tensor


class MethodFailed(Exception):
    """The method of one output failed for a reason that `direct` may not share."""

    def __init__(self, output: Output, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.output, self.cause = output, cause


class Engine:
    """Merges all tensors of the sources into the outputs."""

    def __init__(
        self,
        files: SourceFiles,
        config: Mapping[str, Any],
        outputs: Sequence[Output],
        arithmetic: Arithmetic,
        names: Mapping[str, str],
    ) -> None:
        self._files, self._config, self._outputs, self._arithmetic = files, config, outputs, arithmetic
        self._names = names  # key → model name, for messages
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._done_bytes = 0
        self._failure: BaseException | None = None
        self._nonfinite: dict[str, list[str]] = {}
        self._base = files.keys.index(BASE) if BASE in files.keys else None
        self._sources = [index for index, key in enumerate(files.keys) if key != BASE]

    def run(self, on_progress: Callable[[int], None], cancelled: Callable[[], bool]) -> None:
        """Merge everything. `on_progress(bytes written)` and `cancelled()` are called from this thread.

        Raises Cancelled, NonfiniteWeights, IncompleteFile, MethodFailed, OSError.
        """
        self._survey(cancelled)
        count = self._arithmetic.threads or min(os.cpu_count() or 1, MAX_WORKERS)
        tensors = itertools.count()
        workers = [
            threading.Thread(target=self._work, args=(tensors, count), name=f"merge-{index}", daemon=True)
            for index in range(count)
        ]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                while worker.is_alive():
                    worker.join(0.1)
                    on_progress(self._done_bytes)
                    if cancelled():
                        raise Cancelled()
        finally:
            self._stop.set()
            for worker in workers:
                worker.join()
        if self._failure is not None:
            raise self._failure
        self._files.check_unchanged()
        self._raise_nonfinite()

    def _survey(self, cancelled: Callable[[], bool]) -> None:
        """Let the methods that ask for it look at the whole model first."""

        def check() -> None:
            if cancelled():
                raise Cancelled()

        buffers = Buffers(RESIDENT_BYTES // len(self._files.keys))
        for output in self._outputs:
            spec = output.recipe.spec
            if spec.survey is not None:
                model = ModelView(partial(self._views, output, buffers, check))
                output.survey = spec.survey(model, **output.recipe.parameters)

    def _views(self, output: Output, buffers: Buffers, check: Callable[[], None]) -> Iterator[TensorView]:
        sources, base = self._indices(output)
        for target in output.plan.tensors:
            place = place_of(target.name, target.shape, self._config)
            tensor = StreamedTensor(self._files, place, buffers, self._arithmetic.step, check)
            yield StreamView(tensor, sources, base, self._arithmetic, None)

    def _raise_nonfinite(self) -> None:
        for key, tensors in self._nonfinite.items():
            listed = sorted(tensors)
            shown = listed[:REPORTED_TENSORS] + (["…"] if len(listed) > REPORTED_TENSORS else [])
            raise NonfiniteWeights(file=self._names.get(key, key), tensors=shown)

    def _work(self, tensors: itertools.count[int], workers: int) -> None:
        buffers = Buffers(RESIDENT_BYTES // (workers * len(self._files.keys)))
        plan = self._outputs[0].plan.tensors
        # Overflow and NaN are looked for and reported by name; numpy's own warnings would only repeat it.
        try:
            with np.errstate(all="ignore"):
                # next() on a counter is atomic: each tensor goes to exactly one worker, in the order of the file.
                while (index := next(tensors)) < len(plan):
                    self._merge_tensor(plan[index].name, index, buffers)
        except BaseException as error:  # handed to the thread that waits, which raises it again
            with self._lock:
                if self._failure is None and not (isinstance(error, Cancelled) and self._stop.is_set()):
                    self._failure = error
            self._stop.set()

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Cancelled()

    def _merge_tensor(self, name: str, index: int, buffers: Buffers) -> None:
        shape = self._outputs[0].plan.tensors[index].shape
        place = place_of(name, shape, self._config)
        tensor = StreamedTensor(self._files, place, buffers, self._arithmetic.step, self._check_stop)
        operators = [(output, self._plan(output, tensor)) for output in self._outputs]
        digests = [TensorDigest(self._arithmetic.hash_pieces) for _ in operators]
        row = max(operator.row for _, operator in operators)
        for start, count in tensor.stretches(row):
            for (output, operator), digest in zip(operators, digests, strict=True):
                target = output.plan.tensors[index]
                out = buffers.get("out", count * WIDTH[target.dtype])
                self._merge_stretch(output, operator, tensor, start, out, target)
                digest.update(out)
                output.file.write(out.data, output.data_start + target.offset + start * WIDTH[target.dtype])
                with self._lock:
                    self._done_bytes += len(out)
        for (output, _), digest in zip(operators, digests, strict=True):
            output.digests[name] = digest.hexdigest()

    def _indices(self, output: Output) -> tuple[list[int], int | None]:
        """Which sources an output's method uses, and the base's index if it needs one."""
        spec = output.recipe.spec
        sources = self._sources[:2] if spec.sources == "two" else self._sources
        return sources, self._base if spec.needs_base else None

    def _plan(self, output: Output, tensor: StreamedTensor) -> Operator:
        sources, base = self._indices(output)
        everything = sources if base is None else [*sources, base]
        if tensor.all_equal(everything):
            with self._lock:
                output.copied += 1
            return Linear((1.0, *(0.0,) * (len(sources) - 1)))
        view = StreamView(tensor, sources, base, self._arithmetic, output.survey)
        try:
            operator = output.recipe.spec.plan(view, **output.recipe.parameters_at(tensor.place))
        except FAILURES as error:
            raise MethodFailed(output, error) from error
        if view.notes:
            output.notes[tensor.place.name] = view.notes
        return operator

    def _merge_stretch(
        self,
        output: Output,
        operator: Operator,
        tensor: StreamedTensor,
        start: int,
        out: np.ndarray,
        target: OutputTensor,
    ) -> None:
        sources, base = self._indices(output)
        count = len(out) // WIDTH[target.dtype]
        copied = operator.copied_source() if isinstance(operator, Linear) else None
        used = [sources[copied]] if copied is not None else sources if base is None else [*sources, base]
        raws = [tensor.raw(index, start, count) for index in used]
        dtypes = [tensor.dtypes[index] for index in used]
        for index, raw, dtype in zip(used, raws, dtypes, strict=True):
            if not self._arithmetic.finite(raw, dtype):
                self._note_nonfinite(self._files.keys[index], tensor.place)
        if copied is not None and dtypes[0] == target.dtype:
            out[:] = raws[0]
        elif not self._arithmetic.apply(operator, raws, dtypes, start, out, target.dtype):
            view = StreamView(tensor, sources, base, self._arithmetic, output.survey)
            try:
                merged = operator(view.chunk(start, count))
            except FAILURES as error:
                raise MethodFailed(output, error) from error
            self._arithmetic.store(merged, target.dtype, out)
        if not self._arithmetic.finite(out, target.dtype):
            self._note_nonfinite(f"result {output.recipe.method}", tensor.place)

    def _note_nonfinite(self, key: str, place: Place) -> None:
        with self._lock:
            found = self._nonfinite.setdefault(key, [])
            if place.name not in found:
                found.append(place.name)
            if len(found) > REPORTED_TENSORS:
                self._stop.set()
