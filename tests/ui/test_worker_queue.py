"""Who goes first, who waits, who is refused."""

import threading
from collections.abc import Generator

import pytest

from tests.ui.working import SECONDS, Gate, returning, worker
from ui.errors import QueueFull, ServerBusy
from ui.worker import Job, JobState, Worker

__all__ = ["worker"]


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


def test_too_many_jobs_of_one_owner_are_refused_with_a_code(worker: Worker) -> None:
    gate = Gate()
    jobs = [worker.submit("ann", f"kind{n}", gate.work) for n in range(4)]
    with pytest.raises(QueueFull) as refused:
        worker.submit("ann", "fifth", returning(5))
    assert refused.value.facts == {"waiting": 4, "limit": 4}
    assert worker.submit("bob", "first", returning(1)).state is JobState.QUEUED
    gate.open.set()
    assert all(job.wait(SECONDS) for job in jobs)


def test_too_many_jobs_of_everybody_are_refused_but_not_one_that_takes_the_place_of_another() -> None:
    gate = Gate()
    worker = Worker(unfinished_in_all=2)
    try:
        first = worker.submit("ann", "export", gate.work)
        assert gate.entered.wait(SECONDS)
        older = worker.submit("bob", "compare", returning("older"), supersede=True)
        with pytest.raises(ServerBusy) as refused:
            worker.submit("carl", "compare", returning("carl's"), supersede=True)
        assert refused.value.facts == {"limit": 2} and refused.value.code == "SERVER_BUSY"
        newer = worker.submit("bob", "compare", returning("newer"), supersede=True)
        gate.open.set()
        assert first.wait(SECONDS) and newer.wait(SECONDS)
        assert (older.state, newer.result) == (JobState.CANCELLED, "newer")
    finally:
        gate.open.set()
        worker.close()


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
