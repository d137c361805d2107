"""Work for a worker under test."""

import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from ui.worker import Job, Worker

SECONDS = 60.0


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
