"""The worker: jobs that can be stopped, superseded, paused, queued fairly, and that never take its thread down."""

import gc
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from merger.bilingual import Text
from merger.errors import BadParameter, Fault, WhisperMergeError
from ui.errors import QueueFull
from ui.worker import Job, JobState, Worker

SECONDS = 10.0


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


class Gate:
    """Work that stops at a gate until the test opens it, polling for cancellation as real work does."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def work(self, job: Job) -> Generator[None, None, str]:
        self.entered.set()
        while not self.open.wait(0.01):
            job.check()
        yield
        return "through"


def returning(value: Any, log: list[Any] | None = None) -> Callable[[Job], Generator[None, None, Any]]:
    def work(job: Job) -> Generator[None, None, Any]:
        if log is not None:
            log.append(value)
        yield
        return value

    return work


def test_a_job_runs_and_keeps_its_result(worker: Worker) -> None:
    job = worker.submit("ann", "compare", returning(42))
    assert job.wait(SECONDS)
    assert (job.state, job.result, job.error) == (JobState.DONE, 42, None)
    assert worker.to_json(job)["state"] == "done"


def test_cancel_stops_running_work_at_its_next_poll(worker: Worker) -> None:
    gate = Gate()
    job = worker.submit("ann", "compare", gate.work)
    assert gate.entered.wait(SECONDS)
    assert worker.cancel("ann", job.id)
    assert job.wait(SECONDS)
    assert job.state is JobState.CANCELLED
    assert not gate.open.is_set()


def test_cancelling_a_queued_job_means_it_never_runs(worker: Worker) -> None:
    gate, log = Gate(), list[Any]()
    first = worker.submit("ann", "compare", gate.work)
    gate.entered.wait(SECONDS)
    second = worker.submit("ann", "swap", returning("ran", log))
    assert worker.cancel("ann", second.id)
    assert second.wait(SECONDS)
    gate.open.set()
    assert first.wait(SECONDS)
    assert (second.state, log) == (JobState.CANCELLED, [])


def test_a_newer_move_supersedes_the_older_ones_of_its_owner_only(worker: Worker) -> None:
    gate = Gate()
    running = worker.submit("ann", "compare", gate.work, supersede=True)
    gate.entered.wait(SECONDS)
    other = worker.submit("bob", "compare", returning("bob's"), supersede=True)
    older = [worker.submit("ann", "compare", returning(n), supersede=True) for n in range(5)]
    newest = worker.submit("ann", "compare", returning("newest"), supersede=True)
    assert newest.wait(SECONDS) and other.wait(SECONDS) and running.wait(SECONDS)
    assert running.state is JobState.CANCELLED
    assert {job.state for job in older} == {JobState.CANCELLED}
    assert (newest.result, other.result) == ("newest", "bob's")


def test_nobody_finds_or_stops_somebody_elses_job(worker: Worker) -> None:
    gate = Gate()
    job = worker.submit("ann", "compare", gate.work)
    assert worker.job("bob", job.id) is None
    assert worker.cancel("bob", job.id) is False
    assert worker.job("ann", job.id) is job
    gate.open.set()
    assert job.wait(SECONDS)
    assert job.state is JobState.DONE


def test_too_many_jobs_of_one_owner_are_refused_with_a_code(worker: Worker) -> None:
    gate = Gate()
    jobs = [worker.submit("ann", f"kind{n}", gate.work) for n in range(4)]
    with pytest.raises(QueueFull) as refused:
        worker.submit("ann", "fifth", returning(5))
    assert refused.value.facts == {"waiting": 4, "limit": 4}
    assert worker.submit("bob", "first", returning(1)).state is JobState.QUEUED
    gate.open.set()
    assert all(job.wait(SECONDS) for job in jobs)


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


def test_live_work_goes_between_the_steps_of_a_batch(worker: Worker) -> None:
    log: list[str] = []
    gate = Gate()

    def batch(job: Job) -> Generator[None, None, None]:
        log.append("batch 1")
        gate.entered.set()
        gate.open.wait(SECONDS)
        yield
        log.append("batch 2")
        yield

    sweep = worker.submit("ann", "sweep", batch, lane="batch")
    gate.entered.wait(SECONDS)
    move = worker.submit("bob", "compare", returning("move", log))
    gate.open.set()
    assert sweep.wait(SECONDS) and move.wait(SECONDS)
    assert log == ["batch 1", "move", "batch 2"]


def test_a_paused_batch_waits_between_steps_and_goes_on(worker: Worker) -> None:
    steps: list[int] = []
    reached, go = threading.Event(), threading.Event()

    def batch(job: Job) -> Generator[None, None, None]:
        for number in range(3):
            steps.append(number)
            reached.set()
            go.wait(SECONDS)
            yield

    job = worker.submit("ann", "sweep", batch, lane="batch")
    reached.wait(SECONDS)
    assert worker.pause("ann", job.id, True)
    go.set()
    marker = worker.submit("bob", "compare", returning(1))
    assert marker.wait(SECONDS)
    assert (job.state, steps) == (JobState.PAUSED, [0])
    assert worker.pause("ann", job.id, False)
    assert job.wait(SECONDS)
    assert (job.state, steps) == (JobState.DONE, [0, 1, 2])


def test_an_export_does_not_keep_the_device_waiting(worker: Worker) -> None:
    gate = Gate()
    export = worker.submit("ann", "export", gate.work, lane="disk")
    gate.entered.wait(SECONDS)
    move = worker.submit("ann", "compare", returning("heard"))
    assert move.wait(SECONDS) and move.result == "heard"
    assert export.state is JobState.RUNNING
    gate.open.set()
    assert export.wait(SECONDS) and export.result == "through"


def test_the_place_in_the_queue_counts_who_goes_first(worker: Worker) -> None:
    gate = Gate()
    running = worker.submit("ann", "compare", gate.work)
    gate.entered.wait(SECONDS)
    waiting = [worker.submit(owner, "compare", returning(owner)) for owner in ("bob", "eve")]
    assert [worker.position(job)[0] for job in (running, *waiting)] == [0, 1, 2]
    gate.open.set()
    assert all(job.wait(SECONDS) for job in (running, *waiting))
    assert worker.position(waiting[-1]) == (0, 0.0)


def test_remaining_time_follows_from_what_is_done() -> None:
    job = Job("id", "ann", "export", "disk", returning(0), 0, created=0.0, started=10.0)
    job.done, job.total = 25.0, 100.0
    assert job.remaining(now=14.0) == pytest.approx(12.0)  # 4 s for a quarter, three quarters to go
    job.done = 0.0
    assert job.remaining(now=14.0) is None


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


def test_what_follows_from_a_job_is_let_in_although_the_queue_is_full(worker: Worker) -> None:
    gate = Gate()
    jobs = [worker.submit("ann", f"kind{n}", gate.work) for n in range(4)]
    sequel = worker.submit("ann", "proof", returning("proved"), sequel=True)
    gate.open.set()
    assert all(job.wait(SECONDS) for job in (*jobs, sequel)) and sequel.result == "proved"


def test_a_lane_that_is_not_there_is_refused_at_once(worker: Worker) -> None:
    with pytest.raises(ValueError, match="lane"):
        worker.submit("ann", "compare", returning(1), lane="fast")
    assert worker.jobs("ann") == []


@pytest.mark.parametrize("ending", [JobState.DONE, JobState.FAILED, JobState.CANCELLED])
def test_a_finished_job_holds_nothing_of_what_its_work_held(ending: JobState) -> None:
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
