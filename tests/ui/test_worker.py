"""A job runs, is found by its owner, and is stopped."""

from typing import Any

from tests.ui.working import SECONDS, Gate, returning, worker
from ui.worker import JobState, Worker

__all__ = ["worker"]


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


def test_nobody_finds_or_stops_somebody_elses_job(worker: Worker) -> None:
    gate = Gate()
    job = worker.submit("ann", "compare", gate.work)
    assert worker.job("bob", job.id) is None
    assert worker.cancel("bob", job.id) is False
    assert worker.job("ann", job.id) is job
    gate.open.set()
    assert job.wait(SECONDS)
    assert job.state is JobState.DONE
