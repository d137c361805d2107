"""What a page does, and waiting until the server has done it."""

import asyncio
import threading
import time
from collections.abc import Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ui.sessions import Session
from ui.views import ACTIONS
from ui.worker import Job, JobState
from ui.workshop import Workshop

SECONDS = 60.0
Result = TypeVar("Result")


def awaited(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Its result, from an event loop on a thread of its own: a browser's loop may run on this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def act(workshop: Workshop, session: Session, action: str, /, **payload: Any) -> Any:
    return ACTIONS[action](workshop, session, payload)


def heard(workshop: Workshop, session: Session) -> dict[str, Any]:
    """The session's result once its latest job is over."""
    assert session.job is not None
    job = workshop.worker.job(session.owner, session.job)
    assert job is not None and job.wait(SECONDS), "the job did not end"
    assert job.state is JobState.DONE, job.error
    return session.get("result")


def finished(workshop: Workshop, session: Session, kind: str) -> Any:
    """The latest job of this kind, once it is over; one that follows another is waited for."""
    deadline = time.monotonic() + SECONDS
    while not (jobs := [job for job in workshop.worker.jobs(session.owner) if job.kind == kind]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert jobs and jobs[-1].wait(SECONDS)
    assert jobs[-1].state is JobState.DONE, jobs[-1].error
    return jobs[-1]


def held(release: threading.Event) -> Any:
    def work(job: Job) -> Generator[None, None, None]:
        while not release.wait(0.01):
            job.check()
        yield

    return work
