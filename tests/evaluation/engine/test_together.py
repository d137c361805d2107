"""Several models at the same time: the same transcripts, one failure, the rule, streams and threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from evaluation.engine import streams, together, turns
from evaluation.engine.backend import CpuBackend
from evaluation.engine.byte_cache import ByteCache
from evaluation.engine.cpu import threads
from evaluation.engine.model import Caches
from evaluation.engine.tensors import collect
from evaluation.engine.together import Work
from merger.errors import Cancelled
from tests.evaluation.engine.fake_gpu import FakeEvents, FakeStream
from tests.evaluation.engine.tiny_whisper import make_module

GPU = torch.device("cuda:0")


@pytest.fixture(scope="module")
def backends() -> list[CpuBackend]:
    made = [collect(make_module(seed)) for seed in range(3)]
    return [CpuBackend(tensors, Caches(tensors, 1)) for tensors in made]


@dataclass
class FakeGpu:
    """A backend on a device that is not there."""

    stream: FakeStream
    step: int = 0

    @property
    def tensors(self) -> Any:
        return SimpleNamespace(device=GPU, decoder_step_nbytes=lambda: self.step, cross_nbytes=lambda: 1)


@pytest.fixture
def impatient() -> Iterator[None]:
    """Threads that take turns as often as Python can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def until_stopped(poll: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if poll():
            raise Cancelled
        threading.Event().wait(0.001)
    raise AssertionError("it was not stopped")


def test_each_has_its_thread_and_its_share_of_torchs_threads(backends: list[CpuBackend]) -> None:
    meet = threading.Barrier(3, timeout=20)

    def work(number: int) -> tuple[int, int, bool]:
        meet.wait()  # passes only if all three run at the same time
        with threads(1):
            return number, torch.get_num_threads(), torch.is_inference_mode_enabled()

    with threads(6):
        works = {i: Work(one, lambda poll, i=i: work(i)) for i, one in enumerate(backends)}  # type: ignore[misc]
        assert together.run(works) == {i: (i, 2, True) for i in range(3)}
        assert torch.get_num_threads() == 6
        pair = {i: Work(one, lambda poll: torch.get_num_threads()) for i, one in enumerate(backends[:2])}
        assert together.run(pair) == {0: 3, 1: 3}


def test_a_failure_stops_the_others_and_is_raised_once(backends: list[CpuBackend]) -> None:
    before = threading.active_count()
    stopped = []

    def waiting(poll: Callable[[], bool]) -> None:
        try:
            until_stopped(poll)
        finally:
            stopped.append(True)

    def failing(poll: Callable[[], bool]) -> None:
        raise torch.OutOfMemoryError("no room")

    works = {"a": Work(backends[0], waiting), "m": Work(backends[1], failing), "b": Work(backends[2], waiting)}
    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        together.run(works)
    assert len(stopped) == 2 and threading.active_count() == before


def test_cancelled_is_asked_by_one_at_a_time_until_it_says_yes(backends: list[CpuBackend]) -> None:
    asking = threading.Lock()
    answers = iter([False] * 5 + [True])

    def cancelled() -> bool:
        assert asking.acquire(blocking=False), "two ask at the same time"
        try:
            return next(answers)
        finally:
            asking.release()

    with pytest.raises(Cancelled):
        together.run({i: Work(one, until_stopped) for i, one in enumerate(backends)}, cancelled)


def test_what_one_thread_cannot_start_ends_those_that_run(
    backends: list[CpuBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, start = threading.active_count(), threading.Thread.start

    def refusing(thread: threading.Thread) -> None:
        if thread.name.endswith("2"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refusing)
    with pytest.raises(RuntimeError, match="start"):
        together.run({i: Work(one, until_stopped) for i, one in enumerate(backends)})
    assert threading.active_count() == before


def test_on_a_gpu_each_stream_waits_for_what_was_before_and_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[object] = []

    @contextmanager
    def entering(what: object) -> Iterator[None]:
        entered.append(what)
        yield

    caller = object()
    events = FakeEvents(monkeypatch, caller)
    events.slow = {1, 2}  # 0 is what the caller has launched
    monkeypatch.setattr(torch.cuda, "device", entering)
    monkeypatch.setattr(torch.cuda, "stream", entering)
    made = [FakeGpu(FakeStream(i)) for i in range(2)]
    order: list[str] = []

    def right(poll: Callable[[], bool]) -> bool:
        order.append("right begins")
        turns.wait(made[0].stream)  # type: ignore[arg-type]
        order.append("right goes on")
        assert torch.is_inference_mode_enabled()
        return poll()

    def wrong(poll: Callable[[], bool]) -> None:
        order.append("wrong begins")
        turns.wait(made[1].stream)  # type: ignore[arg-type]
        order.append("wrong fails")
        raise ValueError

    with pytest.raises(ValueError):
        together.run({"right": Work(made[0], right), "wrong": Work(made[1], wrong)})  # type: ignore[arg-type]
    assert order == ["right begins", "wrong begins", "right goes on", "wrong fails"]
    assert events.recorded == [caller, *(one.stream for one in made), *(one.stream for one in made)]
    assert entered == [GPU, *(one.stream for one in made)]
    assert [one.stream.asked for one in made] == [["waits"], ["waits"]]


def test_on_a_gpu_the_rule_is_the_second_level_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(L2_cache_size=303))
    fitting = [FakeGpu(FakeStream(i), step=100) for i in range(3)]
    assert together.step_reads(fitting) == 303  # type: ignore[arg-type]
    assert together.best_way(fitting) == "at once"  # type: ignore[arg-type]
    assert together.best_way([*fitting[:2], FakeGpu(FakeStream(2), step=101)]) == "in turn"  # type: ignore[list-item]
    assert together.best_way([*fitting[:2], FakeGpu(FakeStream(1), step=100)]) == "in turn", "they share a stream"  # type: ignore[list-item]
    assert together.best_way(fitting[:1]) == "in turn"  # type: ignore[arg-type]


@pytest.mark.parametrize(("layers_at_once", "way"), [(2.6, "hear at once"), (2.8, "in turn")])
def test_on_the_cpu_the_rule_is_measured(
    backends: list[CpuBackend], monkeypatch: pytest.MonkeyPatch, layers_at_once: float, way: str
) -> None:
    def seconds(work: Callable[[], object]) -> float:
        return 1.0 if work() is not None else layers_at_once

    def measured(works: dict[int, Work[Any]], cancelled: object = None) -> None:
        assert len(works) == 3

    monkeypatch.setattr(together, "_FASTER", {})
    monkeypatch.setattr(together, "_seconds", seconds)
    monkeypatch.setattr(together, "run", measured)
    assert together.best_way(backends) == "in turn", "one thread"
    with threads(2):
        assert together.best_way(backends) == way
        monkeypatch.setattr(together, "_seconds", None)  # measured once
        assert together.best_way(backends) == way


def test_living_owners_have_streams_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Owner:
        pass

    handed = iter([1, 2, 2, *range(1, 99)])  # torch's pool goes round, and others take from it
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: FakeStream(next(handed)))
    monkeypatch.setattr(streams, "_pools", {})
    monkeypatch.setattr(streams, "_owners", streams.Counter())
    assert streams.own_stream(Owner(), torch.device("cpu")) is None
    owners = [Owner() for _ in range(streams.STREAMS)]
    handles = [streams.own_stream(one, GPU).cuda_stream for one in owners]  # type: ignore[union-attr]
    assert len(set(handles)) == streams.STREAMS
    freed = handles[5]
    del owners[5]
    assert streams.own_stream(owners[0], GPU).cuda_stream == freed  # type: ignore[union-attr]


def test_the_cache_stays_consistent_under_threads(impatient: None) -> None:
    cache = ByteCache[str](200, len)
    failures = []

    def use(number: int) -> None:
        try:
            for i in range(3000):
                key = (i * (number + 1)) % 37
                cache.put(key, "x" * (1 + key))
                found = cache.get((i + number) % 37)
                assert found is None or len(found) == 1 + (i + number) % 37
                if i % 50 == number:
                    cache.discard(key)
        except Exception as failure:
            failures.append(failure)

    users = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert not failures
    assert cache.nbytes == sum(len(value) for value in cache._values.values()) <= 200


def test_a_stream_waits_for_what_another_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    read_on: list[object] = []

    class OnGpu:
        is_cuda, device, nbytes = True, "cuda", 12

        def record_stream(self, stream: object) -> None:
            read_on.append(stream)

    class Reader(FakeStream):
        def wait_event(self, event: object) -> None:
            self.asked.append(event)  # type: ignore[arg-type]

    made, maker, reader = OnGpu(), FakeStream(1), Reader(2)
    events = FakeEvents(monkeypatch, maker)
    shared = streams.Shared(made)  # type: ignore[arg-type]
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: reader)
    assert shared.read() is made and shared.nbytes() == 12  # type: ignore[comparison-overlap]
    assert events.recorded == [maker] and reader.asked == [shared._made] and read_on == [reader]
