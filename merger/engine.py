"""The streaming merge: every tensor is measured, merged and written by one of a few workers.

One pass over the sources serves any number of outputs. Results do not depend on the number of workers: a tensor belongs
to one worker, and everything that is summed is summed in a fixed order.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from merger.arithmetic import Arithmetic
from merger.deltas import DeltaMerge
from merger.digests import new_digest
from merger.dtypes import WIDTH
from merger.errors import Cancelled, NonfiniteResult, NonfiniteWeights
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
    """One model that is being written: its recipe, plan and files, and what became of it."""

    recipe: MergeRecipe
    plan: OutputPlan
    files: Mapping[str, OutputFile]  # by the names of the plan
    survey: Any = None
    digests: dict[str, str] = field(default_factory=dict)  # per tensor, see `digests`
    copied: int = 0  # tensors equal in all sources, copied as they are
    notes: dict[str, dict[str, float]] = field(default_factory=dict)  # what the method noted per tensor


@dataclass
class _Job:
    """What one output does with one tensor: the operator reads `sources` and the base; `copied`: one, bit for bit."""

    output: Output
    target: OutputTensor
    operator: Operator
    sources: Sequence[int]
    base: int | None
    copied: bool

    def __post_init__(self) -> None:
        self.used = self.sources if self.base is None else [*self.sources, self.base]
        self.file = self.output.files[self.target.file]
        self.digest = new_digest()
        self.spoilt = np.zeros(len(self.used) + 1, np.int32)  # which of them, or the result, hold NaN or infinity


class MethodFailed(Exception):
    """The method of one output failed for a reason that `direct` may not share."""

    def __init__(self, output: Output, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.output, self.cause = output, cause


@contextlib.contextmanager
def _arithmetic_of(output: Output) -> Iterator[None]:
    """What fails inside is a failure of this output's method. Raises MethodFailed."""
    try:
        yield
    except FAILURES as error:
        raise MethodFailed(output, error) from error


def _shown(tensors: Sequence[str]) -> list[str]:
    return sorted(tensors)[:REPORTED_TENSORS] + (["…"] if len(tensors) > REPORTED_TENSORS else [])


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
        self._nonfinite: dict[str, list[str]] = {}  # tensors by source
        self._overflown: dict[str, list[str]] = {}  # tensors by method, where the sources were finite
        self._base = files.keys.index(BASE) if BASE in files.keys else None
        self._sources = [index for index, key in enumerate(files.keys) if key != BASE]

    def run(self, on_progress: Callable[[int], None], cancelled: Callable[[], bool]) -> None:
        """Merge everything. `on_progress(bytes written)`, at least once, and `cancelled()` are called from this thread.

        Raises Cancelled, NonfiniteWeights, NonfiniteResult, IncompleteFile, MethodFailed, OSError.
        """
        on_progress(0)
        self._survey(cancelled)
        count = self._arithmetic.threads or min(os.cpu_count() or 1, MAX_WORKERS)
        tensors = itertools.count()
        workers = [
            threading.Thread(target=self._work, args=(tensors, count), name=f"merge-{index}", daemon=True)
            for index in range(count)
        ]
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                while worker.is_alive():
                    worker.join(0.1)
                    on_progress(self._done_bytes)
                    if cancelled():
                        raise Cancelled()
        finally:
            self._stop.set()
            for worker in workers:
                if worker.ident is not None:  # it has begun
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
                with _arithmetic_of(output):
                    output.survey = spec.survey(model, **output.recipe.parameters)

    def _views(self, output: Output, buffers: Buffers, check: Callable[[], None]) -> Iterator[TensorView]:
        sources, base = self._indices(output)
        for target in output.plan.tensors:
            place = place_of(target.name, target.shape, self._config)
            tensor = StreamedTensor(self._files, place, buffers, self._arithmetic.step, check)
            yield StreamView(tensor, sources, base, self._arithmetic, None)

    def _raise_nonfinite(self) -> None:
        for key, tensors in self._nonfinite.items():
            raise NonfiniteWeights(file=self._names.get(key, key), tensors=_shown(tensors))
        for method, tensors in self._overflown.items():
            raise NonfiniteResult(method=method, tensors=_shown(tensors))

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
        if len(self._outputs) > 1:
            tensor.keep()
        jobs = [self._job(output, output.plan.tensors[index], tensor) for output in self._outputs]
        for start, count in tensor.stretches(max(job.operator.row for job in jobs)):
            written = 0
            for job in jobs:
                out = buffers.get("out", count * WIDTH[job.target.dtype])
                with _arithmetic_of(job.output):
                    self._merge_stretch(job, tensor, start, out)
                job.digest.update(out)
                job.file.write(out, job.target.offset + start * WIDTH[job.target.dtype])
                written += len(out)
            with self._lock:
                self._done_bytes += written
        for job in jobs:
            job.output.digests[name] = job.digest.hexdigest()

    def _job(self, output: Output, target: OutputTensor, tensor: StreamedTensor) -> _Job:
        operator = self._plan(output, tensor)
        sources, base = self._indices(output)
        # What a survey found depends on every source in every tensor.
        if isinstance(operator, Linear) or (isinstance(operator, DeltaMerge) and output.survey is None):
            taking_part = operator.taking_part
            operator, sources = operator.of(taking_part), [sources[index] for index in taking_part]
        copied = False
        if isinstance(operator, Linear):
            base = None
            copied = operator.copied_source() is not None and tensor.dtypes[sources[0]] == target.dtype
        return _Job(output, target, operator, sources, base, copied)

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
        with _arithmetic_of(output):
            operator = output.recipe.spec.plan(view, **output.recipe.parameters_at(tensor.place))
        if view.notes:
            output.notes[tensor.place.name] = view.notes
        return operator

    def _merge_stretch(self, job: _Job, tensor: StreamedTensor, start: int, out: np.ndarray) -> None:
        arithmetic, dtype = self._arithmetic, job.target.dtype
        count = len(out) // WIDTH[dtype]
        raws = [tensor.raw(index, start, count) for index in job.used]
        dtypes, spoilt = [tensor.dtypes[index] for index in job.used], job.spoilt
        if job.copied:
            out[:] = raws[0]
            spoilt[0] = not arithmetic.finite(out, dtype)
        elif not arithmetic.apply(job.operator, raws, dtypes, start, out, dtype, spoilt):
            view = StreamView(tensor, job.sources, job.base, arithmetic, job.output.survey)
            arithmetic.store(job.operator(view.chunk(start, count)), dtype, out)
            spoilt[:-1] = [not arithmetic.finite(raw, kind) for raw, kind in zip(raws, dtypes, strict=True)]
            spoilt[-1] = not arithmetic.finite(out, dtype)
        if spoilt.any():
            for index in itertools.compress(job.used, spoilt):
                self._note_nonfinite(self._nonfinite, self._files.keys[index], tensor.place)
            if not spoilt[:-1].any():
                self._note_nonfinite(self._overflown, job.output.recipe.method, tensor.place)
            spoilt[:] = 0

    def _note_nonfinite(self, tensors: dict[str, list[str]], key: str, place: Place) -> None:
        with self._lock:
            found = tensors.setdefault(key, [])
            if place.name not in found:
                found.append(place.name)
            if len(found) > REPORTED_TENSORS:
                self._stop.set()
