"""The record of one request: who asked, what is being done, how far it is. Jobs outlive the page that asked."""

import asyncio
import logging
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from merger.errors import Cancelled

log = logging.getLogger(__name__)

LANES = {"live": 0, "batch": 1, "disk": 0}  # smaller goes first within its thread
DISK_LANE = "disk"

Work = Callable[["Job"], Generator[None, None, Any]]


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})


class End(threading.Event):
    """Set once; a coroutine waits for it without a thread."""

    def __init__(self) -> None:
        super().__init__()
        self._waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._lock = threading.Lock()

    def set(self) -> None:
        super().set()
        with self._lock:
            waiters = list(self._waiters)
        for loop, event in waiters:
            with suppress(RuntimeError):  # the loop has ended, and with it who waited
                loop.call_soon_threadsafe(event.set)

    async def reached(self) -> None:
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiters.add(waiter)
        try:
            if not self.is_set():
                await waiter[1].wait()
        finally:
            with self._lock:
                self._waiters.discard(waiter)


@dataclass
class Job:
    """One request. Times are seconds of the monotonic clock.

    `durable`: what the job needs to be begun anew after a restart of the server, as JSON; None for a job that ends
    with the process.
    """

    id: str
    owner: str
    kind: str
    lane: str
    work: Work | None  # None once it is over: it holds decoded audio, and finished jobs are kept for long
    order: int
    created: float
    state: JobState = JobState.QUEUED
    stage: str = "queued"
    facts: dict[str, Any] = field(default_factory=dict)
    done: float = 0.0
    total: float = 0.0
    started: float | None = None
    finished: float | None = None
    error: dict[str, Any] | None = None
    result: Any = None
    durable: dict[str, Any] | None = None
    thread: str | None = None  # where it began; it goes on there
    interrupted: bool = False  # stopped because the server ends, not because its owner wanted it
    _stop: threading.Event = field(default_factory=threading.Event)
    _finished: End = field(default_factory=End)
    _steps: Generator[None, None, Any] | None = None
    _context: Context = field(default_factory=copy_context)  # whose request it was: a lent device asks on whose account
    _changed: Callable[["Job"], None] = lambda job: None

    def cancelled(self) -> bool:
        """True once the owner pressed stop or asked for something newer; work polls this between small pieces."""
        return self._stop.is_set()

    def check(self) -> None:
        """Raises Cancelled when this job is no longer wanted."""
        if self._stop.is_set():
            raise Cancelled()

    def report(self, stage: str, done: float = 0.0, total: float = 0.0, **facts: Any) -> None:
        """Says what is being done now; `done` of `total` in any unit, total 0 when it is not known."""
        self.stage, self.done, self.total = stage, done, total
        self.facts = facts
        self._changed(self)

    def wait(self, timeout: float | None = None) -> bool:
        """Blocks the caller (never the worker) until the job is finished and its end has been written down and told;
        False when time ran out first."""
        return self._finished.wait(timeout)

    async def ended(self) -> None:
        """`wait` for a coroutine: a crowd that waits takes no thread away from anybody."""
        await self._finished.reached()

    def elapsed(self, now: float) -> float:
        return 0.0 if self.started is None else (self.finished or now) - self.started

    def remaining(self, now: float) -> float | None:
        """Seconds left if the rest goes as fast as what is done; None while nothing can be said."""
        if self.started is None or self.total <= 0 or self.done <= 0 or self.finished is not None:
            return None
        return self.elapsed(now) * (self.total - self.done) / self.done


class Journal(Protocol):
    """Where durable jobs are written down, so that a restart finds them. Called without the worker's lock."""

    def queued(self, job: Job) -> None:
        """Before the job may begin. What it raises refuses the job."""

    def began(self, job: Job) -> None:
        """Just before its first step."""

    def ended(self, job: Job) -> None:
        """After its last; an `interrupted` job is to be begun anew."""


def urgency(job: Job) -> tuple[int, int]:
    return LANES[job.lane], job.order


def log_end(job: Job) -> None:
    """One line per finished job; no names, no texts."""
    error, began = job.error or {}, job.started if job.started is not None else job.finished
    log.info(
        "job ended",
        extra={
            "job": job.id, "owner": job.owner, "kind": job.kind, "lane": job.lane, "state": str(job.state),
            "code": error.get("code"), "error": error.get("id"), "device": job.thread,
            "seconds": round(job.elapsed(job.finished or 0.0), 3), "waited": round((began or 0.0) - job.created, 3),
        },
    )  # fmt: skip
