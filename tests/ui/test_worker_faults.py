"""What a job, its owner or the server may die of, and what the worker makes of it."""

import gc
import logging
import threading
import weakref
from collections.abc import Callable, Generator
from typing import Any

import pytest

from merger.bilingual import Text
from merger.errors import BadParameter, Fault, WhisperMergeError
from tests.ui.working import SECONDS, Gate, returning, worker
from ui.worker import Job, JobState, Worker

__all__ = ["worker"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadParameter(faults=[Fault(Text("а", "a"), Text("б", "b"))]), "BAD_PARAMETER"),
        (MemoryError(), "OUT_OF_MEMORY"),
        (ZeroDivisionError(), "INTERNAL"),
        (SystemExit(), "INTERNAL"),
    ],
)
def test_whatever_a_job_dies_of_the_next_one_runs(worker: Worker, error: BaseException, code: str) -> None:
    def dying(job: Job) -> Generator[None, None, None]:
        yield
        raise error

    job = worker.submit("ann", "compare", dying)
    assert job.wait(SECONDS)
    assert job.state is JobState.FAILED
    assert job.error is not None and job.error["code"] == code
    assert set(job.error["sentence"]) == {"ru", "en"} and len(job.error["id"]) == 8
    after = worker.submit("ann", "compare", returning("alive"))
    assert after.wait(SECONDS) and after.result == "alive"
    assert worker.alive()


def test_closing_stops_what_runs_and_what_waits() -> None:
    worker, gate = Worker(), Gate()
    running = worker.submit("ann", "compare", gate.work)
    gate.entered.wait(SECONDS)
    waiting = worker.submit("bob", "compare", returning(1))
    worker.close()
    assert (running.state, waiting.state) == (JobState.CANCELLED, JobState.CANCELLED)
    assert not worker.alive()


def test_news_that_nobody_can_take_hurt_neither_job_nor_thread() -> None:
    def failing(job: Job) -> None:
        raise KeyError(job.id)

    worker = Worker(on_change=failing)

    def reporting(job: Job) -> Generator[None, None, str]:
        job.report("listen", 1, 2)
        yield
        return "told"

    try:
        for lane in ("live", "disk", "live", "disk"):
            job = worker.submit("ann", "compare", reporting, lane=lane)
            assert job.wait(SECONDS) and (job.state, job.result) == (JobState.DONE, "told")
        assert worker.cancel("ann", job.id) is False
        assert worker.alive()
    finally:
        worker.close()


@pytest.mark.parametrize("lane", ["live", "disk"])
def test_a_thread_that_fails_outside_of_a_step_goes_on(worker: Worker, lane: str) -> None:
    class Unspeakable(WhisperMergeError):
        code = "UNSPEAKABLE"

        def sentence(self, lang: str) -> str:
            raise LookupError("an error that cannot say what it is")

    def dying(job: Job) -> Generator[None, None, None]:
        yield
        raise Unspeakable()

    job = worker.submit("ann", "compare", dying, lane=lane)
    assert job.wait(SECONDS) and job.state is JobState.FAILED
    assert job.error is not None and job.error["code"] == "INTERNAL"
    after = worker.submit("ann", "compare", returning("alive"), lane=lane)
    assert after.wait(SECONDS) and after.result == "alive"
    assert worker.alive()


@pytest.mark.parametrize("ending", [JobState.DONE, JobState.FAILED, JobState.CANCELLED])
def test_a_finished_job_holds_nothing_of_what_its_work_held(
    ending: JobState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("ui.errors"), "disabled", True)  # pytest keeps what is logged, traces and all

    class Sound:
        """Stands for a decoded clip."""

    def listening(sound: Sound) -> Callable[[Job], Generator[None, None, None]]:
        def work(job: Job) -> Generator[None, None, None]:
            heard = [sound]
            yield
            if ending is JobState.CANCELLED:
                job.check()
            elif ending is JobState.FAILED:
                raise BadParameter(faults=[Fault(Text("а", "a"), Text("б", "b"))])
            heard.clear()

        return work

    worker, gate = Worker(), Gate()
    worker.submit("bob", "compare", gate.work)
    sound = Sound()
    job = worker.submit("ann", "compare", listening(sound))
    held = weakref.ref(sound)
    del sound
    assert held() is not None
    if ending is JobState.CANCELLED:
        worker.cancel("ann", job.id)
    gate.open.set()
    assert job.wait(SECONDS) and job.state is ending
    worker.close()
    gc.collect()
    assert worker.job("ann", job.id) is job and held() is None


def test_a_job_that_is_stopped_just_as_it_begins_is_unwound_on_its_own_thread() -> None:
    """Between being taken from the queue and its first step a job is running already."""
    worker, taken, go = Worker(), threading.Event(), threading.Event()
    step = worker._step

    def late(job: Job) -> None:
        taken.set()
        go.wait(SECONDS)
        step(job)

    worker._step = late  # type: ignore[method-assign]
    log: list[Any] = []
    job = worker.submit("ann", "compare", returning("ran", log))
    assert taken.wait(SECONDS) and worker.cancel("ann", job.id)
    assert job.state is JobState.RUNNING
    go.set()
    assert job.wait(SECONDS) and job.error is None
    worker.close()
    assert (job.state, log) == (JobState.CANCELLED, [])


def test_a_job_that_ends_just_before_it_is_stopped_stays_done(worker: Worker) -> None:
    gate = Gate()
    job = worker.submit("ann", "compare", gate.work)
    assert gate.entered.wait(SECONDS)
    inner, caller = worker._wake, threading.current_thread()

    class LastMoment:
        """The lock, before which the job ends: as late as it can end without being stopped."""

        def __enter__(self) -> None:
            if threading.current_thread() is caller:
                gate.open.set()
                assert job.wait(SECONDS)
            inner.__enter__()

        def __exit__(self, *raised: Any) -> None:
            inner.__exit__(*raised)

        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

    worker._wake = LastMoment()  # type: ignore[assignment]
    stopped = worker.cancel("ann", job.id)
    assert (stopped, job.state, job.result) == (False, JobState.DONE, "through")
