"""The one thread that owns the device, and the records of what it was asked to do.

Nothing else in the app touches model weights: an event only *submits* a job and returns. A job outlives the page that
asked for it, is found again by its owner, and stops within one poll of its `cancelled`. Work is a generator: between
two of its steps the thread may serve somebody whose request is more urgent, so a sweep of an hour delays a slider move
by one clip at most. Exports have a thread of their own (`disk`): they never touch the device's live buffers.
"""

import itertools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from merger.errors import Cancelled, WhisperMergeError
from ui.errors import QueueFull, report

log = logging.getLogger(__name__)

LANES = {"live": 0, "batch": 1, "disk": 0}  # smaller goes first within its thread
DISK_LANE = "disk"
WAITING_PER_OWNER = 4  # one running and three waiting
KEPT_FINISHED = 500

Work = Callable[["Job"], Generator[None, None, Any]]


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})


@dataclass
class Job:
    """One request: who asked, what is being done now, how far it is. Times are seconds of the monotonic clock."""

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
    _stop: threading.Event = field(default_factory=threading.Event)
    _finished: threading.Event = field(default_factory=threading.Event)
    _steps: Generator[None, None, Any] | None = None
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
        """Blocks the caller (never the worker) until the job is finished; False when time ran out first."""
        return self._finished.wait(timeout)

    def elapsed(self, now: float) -> float:
        return 0.0 if self.started is None else (self.finished or now) - self.started

    def remaining(self, now: float) -> float | None:
        """Seconds left if the rest goes as fast as what is done; None while nothing can be said."""
        if self.started is None or self.total <= 0 or self.done <= 0 or self.finished is not None:
            return None
        return self.elapsed(now) * (self.total - self.done) / self.done


class Worker:
    """Two threads, `device` and `disk`, and the jobs of every owner."""

    def __init__(
        self,
        on_change: Callable[[Job], None] = lambda job: None,
        clock: Callable[[], float] = time.monotonic,
        waiting_per_owner: int = WAITING_PER_OWNER,
    ) -> None:
        self._on_change = on_change
        self._clock = clock
        self._waiting_per_owner = waiting_per_owner
        self._jobs: dict[str, Job] = {}
        self._current: dict[str, Job | None] = {"device": None, "disk": None}
        self._seconds: dict[str, float] = {}  # kind → smoothed duration, for the expected wait
        self._order = itertools.count()
        self._closing = False
        self._wake = threading.Condition()
        self._threads = {
            name: threading.Thread(target=self._keep_serving, args=(name,), name=f"whisper-merge-{name}", daemon=True)
            for name in self._current
        }
        for thread in self._threads.values():
            thread.start()

    def submit(
        self, owner: str, kind: str, work: Work, *, lane: str = "live", supersede: bool = False, sequel: bool = False
    ) -> Job:
        """Queues work and returns at once. `supersede` stops the owner's older unfinished jobs of this kind.

        A `sequel` belongs to a job that was let in already, so the limit does not apply to it.
        Raises QueueFull when the owner already has as many unfinished jobs as are allowed.
        """
        if lane not in LANES:
            raise ValueError(f"no such lane: {lane}")
        with self._wake:
            if supersede:
                for job in self._unfinished(owner):
                    if job.kind == kind:
                        self._stop(job)
            waiting = [job for job in self._unfinished(owner) if not job.cancelled()]
            if not sequel and len(waiting) >= self._waiting_per_owner:
                raise QueueFull(waiting=len(waiting), limit=self._waiting_per_owner)
            job = Job(
                secrets.token_urlsafe(12), owner, kind, lane, work, next(self._order), self._clock(),
                _changed=self._tell,
            )
            self._jobs[job.id] = job
            self._forget_old()
            self._wake.notify_all()
        self._tell(job)
        return job

    def job(self, owner: str, job_id: str) -> Job | None:
        """The owner's own job; somebody else's id finds nothing."""
        job = self._jobs.get(job_id)
        return job if job is not None and job.owner == owner else None

    def jobs(self, owner: str | None = None) -> list[Job]:
        with self._wake:
            return [job for job in self._jobs.values() if owner in {None, job.owner}]

    def cancel(self, owner: str, job_id: str) -> bool:
        """Asks the owner's job to stop; a queued one is over at once, a running one at its next poll."""
        job = self.job(owner, job_id)
        with self._wake:
            if job is None or job.state in FINISHED:
                return False
            self._stop(job)
            self._wake.notify_all()
        self._tell(job)
        return True

    def pause(self, owner: str, job_id: str, paused: bool) -> bool:
        """Holds a batch job between two of its steps, or lets it go on."""
        job = self.job(owner, job_id)
        with self._wake:
            if job is None or job.state in FINISHED:
                return False
            if paused and job.state in {JobState.QUEUED, JobState.RUNNING}:
                job.state = JobState.PAUSED
            elif not paused and job.state is JobState.PAUSED:
                job.state = JobState.QUEUED
                self._wake.notify_all()
        self._tell(job)
        return True

    def position(self, job: Job) -> tuple[int, float]:
        """(jobs that go first, expected seconds until this one starts); (0, 0.0) for one that runs or is over."""
        if job.state is not JobState.QUEUED:
            return 0, 0.0
        now, ahead, seconds = self._clock(), 0, 0.0
        with self._wake:
            for other in self._jobs.values():
                same_thread = (other.lane == DISK_LANE) == (job.lane == DISK_LANE)
                running = self._current[_thread_of(job)] is other
                first = running or (other.state is JobState.QUEUED and _urgency(other) < _urgency(job))
                if other is not job and same_thread and first and other.state not in FINISHED:
                    ahead += 1
                    left = other.remaining(now) if running else None
                    seconds += left if left is not None else self._seconds.get(other.kind, 1.0)
        return ahead, seconds

    def to_json(self, job: Job) -> dict[str, Any]:
        """The job record as the page and `/status` show it; all times in seconds."""
        now = self._clock()
        ahead, wait = self.position(job)
        return {
            "id": job.id,
            "kind": job.kind,
            "state": str(job.state),
            "stage": job.stage,
            "facts": job.facts,
            "progress": job.done / job.total if job.total > 0 else None,
            "elapsed": round(job.elapsed(now), 3),
            "remaining": job.remaining(now),
            "ahead": ahead,
            "wait": round(wait, 1),
            "stopping": job.cancelled() and job.state not in FINISHED,
            "error": job.error,
        }

    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads.values())

    def close(self, timeout: float = 20.0) -> None:
        """Stops what runs at its next poll, ends both threads and waits for them."""
        with self._wake:
            self._closing = True
            for job in self._jobs.values():
                if job.state not in FINISHED:
                    self._stop(job)
            self._wake.notify_all()
        for thread in self._threads.values():
            thread.join(timeout)

    def _unfinished(self, owner: str) -> list[Job]:
        return [job for job in self._jobs.values() if job.owner == owner and job.state not in FINISHED]

    def _stop(self, job: Job) -> None:
        job._stop.set()
        if job.started is None:  # never begun: nothing has to be unwound on the worker's thread
            self._finish(job, JobState.CANCELLED)
        elif job.state is JobState.PAUSED:
            job.state = JobState.QUEUED

    def _finish(self, job: Job, state: JobState, result: Any = None, error: dict[str, Any] | None = None) -> None:
        """Ends the job once and for all, with everything that its owner may read there. `_wake` is held."""
        job.result, job.error = result, error
        job.state, job.finished, job._steps, job.work = state, self._clock(), None, None
        if state is JobState.DONE:
            known = self._seconds.get(job.kind)
            took = job.elapsed(job.finished)
            self._seconds[job.kind] = took if known is None else 0.7 * known + 0.3 * took
        job._finished.set()

    def _forget_old(self) -> None:
        finished = sorted((job for job in self._jobs.values() if job.state in FINISHED), key=lambda job: job.order)
        for job in finished[: max(0, len(finished) - KEPT_FINISHED)]:
            del self._jobs[job.id]

    def _tell(self, job: Job) -> None:
        """Says that a job has changed. Whoever listens may fail; neither the job nor its thread suffers from that."""
        try:
            self._on_change(job)
        except Exception:
            log.exception("the news of job %s (%s, %s) could not be taken", job.id, job.kind, job.state)

    def _keep_serving(self, thread: str) -> None:
        """Serves until the worker is closed. What gets past `_step` ends the job that ran, and serving goes on."""
        while True:
            try:
                self._serve(thread)
                return
            except BaseException as error:  # the thread that serves everybody dies of nothing
                log.exception("the %s thread failed and goes on", thread)
                with self._wake:
                    job, self._current[thread] = self._current[thread], None
                    if job is not None and job.state not in FINISHED:
                        self._finish(job, JobState.FAILED, error=report(error))
                if job is not None:
                    self._tell(job)

    def _serve(self, thread: str) -> None:
        while True:
            with self._wake:
                job = self._next(thread)
                while job is None:
                    if self._closing:
                        return
                    self._wake.wait()
                    job = self._next(thread)
                self._current[thread] = job
                job.state = JobState.RUNNING
                if job.started is None:
                    job.started = self._clock()
            self._step(job)
            with self._wake:
                self._current[thread] = None
            self._tell(job)

    def _next(self, thread: str) -> Job | None:
        ready = [
            job for job in self._jobs.values() if job.state is JobState.QUEUED and _thread_of(job) == thread
        ]
        return min(ready, key=_urgency, default=None)

    def _step(self, job: Job) -> None:
        """Runs one step; whatever it raises ends this job and never the thread."""
        try:
            if job._steps is None:
                job._steps = job.work(job)
            job.check()
            next(job._steps)
        except StopIteration as finished:
            with self._wake:
                self._finish(job, JobState.DONE, result=finished.value)
        except Cancelled:
            with self._wake:
                self._finish(job, JobState.CANCELLED)
        except BaseException as error:  # a job may die of anything; the thread that serves everybody may not
            told = report(error)
            if not isinstance(error, WhisperMergeError):
                log.exception("job %s (%s) failed, error id %s", job.id, job.kind, told["id"])
            with self._wake:
                self._finish(job, JobState.FAILED, error=told)
        else:
            with self._wake:
                if job.state is JobState.RUNNING:
                    job.state = JobState.QUEUED
                job.order = next(self._order) if job.lane == "batch" else job.order


def _urgency(job: Job) -> tuple[int, int]:
    return LANES[job.lane], job.order


def _thread_of(job: Job) -> str:
    return DISK_LANE if job.lane == DISK_LANE else "device"
