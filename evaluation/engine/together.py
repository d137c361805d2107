"""Several models at the same time on one device: whether that saves time, and how it is done.

Each model has on the CPU a thread of its own, on a GPU a stream, caches and captured graphs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Generic, Literal, TypeVar

import torch

from evaluation.engine.backend import Backend, CpuBackend
from evaluation.engine.cpu import fix_threads, threads
from evaluation.engine.model import encoder_layer
from evaluation.engine.turns import take_turns, wait
from evaluation.transcriber import CancelPoll

Name = TypeVar("Name", bound=Hashable)
Result = TypeVar("Result")

# in turn: one after the other, each with the texts of those before it as drafts. hear at once: all encoders at the same
# time, then in turn. at once: everything at the same time.
Way = Literal["in turn", "hear at once", "at once"]

ROUNDS = 3
WORTH = 0.9  # of the time in turn: what saves less is lost again in threads that begin anew, or was never there
_FASTER: dict[tuple[Hashable, ...], bool] = {}  # whether hearing at once is, by model shape and threads


@dataclass(frozen=True)
class Work(Generic[Result]):
    """What one model has to do: `run` computes with this backend alone, and asks the poll that it is given."""

    backend: Backend
    run: Callable[[CancelPoll], Result]


def best_way(backends: Sequence[Backend]) -> Way:
    """The way in which these models of one shape are likely to be done with one clip soonest.

    On a GPU: at once if what a step of each reads fits into the second-level cache for all of them. Their steps then
    wait for launches and for each other's results, not for memory, and such waits pass at the same time; larger models
    would share the memory's speed, and a draft spares them its bytes. On the CPU: most of the time is the encoder's, on
    which drafts save nothing; so they hear at once if that is measured to be faster here. They write in turn: a step is
    half Python there, which runs in one thread at a time.
    """
    if len(backends) < 2:
        return "in turn"
    if all(backend.stream is not None for backend in backends):
        room = int(torch.cuda.get_device_properties(backends[0].tensors.device).L2_cache_size)
        return "at once" if apart(backends) and step_reads(backends) <= room else "in turn"
    cpu = [backend for backend in backends if isinstance(backend, CpuBackend)]
    several = len(cpu) == len(backends) and torch.get_num_threads() > 1
    return "hear at once" if several and _hear_faster(cpu) else "in turn"


def step_reads(backends: Sequence[Backend]) -> int:
    """Bytes that one step of each of the models reads: weights and cross-attention."""
    return sum(backend.tensors.decoder_step_nbytes() + backend.tensors.cross_nbytes() for backend in backends)


def apart(backends: Sequence[Backend]) -> bool:
    """Whether each has a stream of its own."""
    streams = {backend.stream.cuda_stream for backend in backends if backend.stream is not None}
    return len(streams) == len(backends)


def run(works: Mapping[Name, Work[Result]], cancelled: CancelPoll | None = None) -> dict[Name, Result]:
    """Do all works at the same time: on the CPU each in a thread of its own with its share of torch's threads, on a GPU
    by turns in the calling thread, each on its backend's stream, which no other may have.

    What the calling thread has launched is finished before they begin, and everything that they have launched when this
    returns. The first failure, Cancelled among them, stops the others and is raised once all of them have stopped.
    """
    group = _Group(works, cancelled)
    if next(iter(works.values())).backend.stream is None:
        group.run_in_threads()
    else:
        group.run_by_turns()
    if group.failures:
        failure = group.failures[0]
        group.failures.clear()
        try:
            raise failure
        finally:
            del failure, group  # its traceback leads here, and would hold the memory of all until it is collected
    return {name: group.results[name] for name in works}


class _Group(Generic[Name, Result]):
    """Works that run at the same time: they stop together."""

    def __init__(self, works: Mapping[Name, Work[Result]], cancelled: CancelPoll | None) -> None:
        self.works, self._cancelled = works, cancelled
        self._threads = max(1, torch.get_num_threads() // len(works))
        self.results: dict[Name, Result] = {}
        self.failures: list[BaseException] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def run_in_threads(self) -> None:
        running: list[threading.Thread] = []
        with threads(self._threads):
            try:
                for name, work in self.works.items():
                    thread = threading.Thread(target=self._in_thread, args=(name, work), name=f"model {name}")
                    thread.start()
                    running.append(thread)
                for thread in running:
                    thread.join()
            except BaseException:
                self._stop.set()
                raise
            finally:
                for thread in running:
                    thread.join()

    def _in_thread(self, name: Name, work: Work[Result]) -> None:
        with torch.inference_mode():  # belongs to a thread
            fix_threads(self._threads)
            self._carry_out(name, work)

    def run_by_turns(self) -> None:
        device = next(iter(self.works.values())).backend.tensors.device
        with torch.inference_mode(), torch.cuda.device(device):
            begun = torch.cuda.Event()  # type: ignore[no-untyped-call]
            begun.record(torch.cuda.current_stream(device))  # type: ignore[no-untyped-call]
            take_turns([partial(self._on_stream, name, work, begun) for name, work in self.works.items()])

    def _on_stream(self, name: Name, work: Work[Result], begun: torch.cuda.Event) -> None:
        stream = work.backend.stream
        assert stream is not None

        def run(poll: CancelPoll) -> Result:
            stream.wait_event(begun)  # type: ignore[no-untyped-call]
            try:
                return work.run(poll)
            finally:
                wait(stream)

        with torch.cuda.stream(stream):
            self._carry_out(name, Work(work.backend, run))

    def _carry_out(self, name: Name, work: Work[Result]) -> None:
        try:
            self.results[name] = work.run(self._poll)
        except BaseException as failure:
            with self._lock:
                self.failures.append(failure)
            self._stop.set()

    def _poll(self) -> bool:
        """`cancelled` is asked by one thread at a time, and not again once it has said yes."""
        with self._lock:
            if not self._stop.is_set() and self._cancelled is not None and self._cancelled():
                self._stop.set()
            return self._stop.is_set()


def _hear_faster(backends: Sequence[CpuBackend]) -> bool:
    """Whether a layer of every encoder at once takes clearly less time than one after the other: medians of rounds that
    alternate, measured once per shape and number of threads. Where one encoder keeps all cores busy it does not."""
    first, count = backends[0], len(backends)
    tensors = first.tensors
    key = (tensors.width, tensors.encoder_heads, tensors.dtype, count, first.encode_threads, torch.get_num_threads())
    if key not in _FASTER:
        sound = torch.zeros((1, tensors.source_positions, tensors.width), dtype=tensors.dtype)
        works = {i: Work(one, lambda poll, one=one: _layer(one, sound)) for i, one in enumerate(backends)}  # type: ignore[misc]
        alone, beside = [], []
        with torch.inference_mode():
            for _ in range(ROUNDS):
                with threads(first.encode_threads):
                    alone.append(_seconds(lambda: _layer(first, sound)))
                beside.append(_seconds(lambda: run(works)))
        _FASTER[key] = median(beside) < WORTH * count * median(alone)
    return _FASTER[key]


def _layer(backend: CpuBackend, sound: torch.Tensor) -> torch.Tensor:
    return encoder_layer(backend.tensors, backend.tensors.encoder[0], sound)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
