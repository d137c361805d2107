"""The threads that own the devices and the disk, and the jobs of everybody.

Nothing else in the app touches model weights: an event only *submits* a job and returns. A job is found again by its
owner after a reload, and stops within one poll of its `cancelled`. Work is a generator: between two of its steps the
thread may serve somebody whose request is more urgent, so a sweep of an hour delays a slider move by one clip at most.
There is one thread per device, each with the executor that speaks to it; a job goes on where it began, and a person is
served by the device that served them last as long as it is free, because that one has kept what their models made of
their clips. Exports have a thread of their own (`disk`): they never touch a device's live buffers.
"""

import itertools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any

from merger.errors import Cancelled, WhisperMergeError
from ui.errors import report
from ui.executor import Executor, owning
from ui.job_queue import JobQueue
from ui.jobs import DISK_LANE, FINISHED, LANES, Job, JobState, Journal, Work, log_end

__all__ = ["FINISHED", "Job", "JobState", "Worker"]

log = logging.getLogger(__name__)

WAITING_PER_OWNER = 4  # one running and three waiting


class Worker(JobQueue):
    """One thread per device and one for the disk. Without `executors` there is one device thread that has no device.

    `unfinished_in_all` bounds everybody's jobs together. `on_finish` is called once per job, with the lock held.
    """

    def __init__(
        self,
        on_change: Callable[[Job], None] = lambda job: None,
        clock: Callable[[], float] = time.monotonic,
        waiting_per_owner: int = WAITING_PER_OWNER,
        unfinished_in_all: int | None = None,
        executors: Sequence[Executor] = (),
        journal: Journal | None = None,
        on_finish: Callable[[Job], None] = lambda job: None,
    ) -> None:
        self._executors: dict[str, Executor | None] = {
            f"device-{number}": executor for number, executor in enumerate(executors or [None])
        } | {DISK_LANE: None}
        super().__init__(list(self._executors), clock, waiting_per_owner, unfinished_in_all)
        self._on_change, self._on_finish = on_change, on_finish
        self._journal = journal
        self._order = itertools.count()
        self._closing = False
        self._threads = {
            name: threading.Thread(target=self._keep_serving, args=(name,), name=f"whisper-merge-{name}", daemon=True)
            for name in self._executors
        }
        for thread in self._threads.values():
            thread.start()

    @property
    def executors(self) -> list[Executor]:
        return [executor for executor in self._executors.values() if executor is not None]

    def submit(
        self,
        owner: str,
        kind: str,
        work: Work,
        *,
        lane: str = "live",
        supersede: bool = False,
        sequel: bool = False,
        durable: dict[str, Any] | None = None,
        job_id: str | None = None,
    ) -> Job:
        """Queues work and returns at once. `supersede` stops the owner's older unfinished jobs of this kind.

        A `sequel` belongs to a job that was let in already, so the limit does not apply to it. `durable` is what a
        restart needs to begin the job anew; `job_id` is the id under which a restart takes it up again.
        Raises QueueFull when the owner has as many unfinished jobs as are allowed, ServerBusy when everybody together
        has, and what the journal raises for a durable job that it cannot write down.
        """
        if lane not in LANES:
            raise ValueError(f"no such lane: {lane}")
        job = Job(
            job_id or secrets.token_urlsafe(12), owner, kind, lane, work, next(self._order), self._clock(),
            durable=durable, _changed=self._tell,
        )  # fmt: skip
        with self._wake:
            replaced = [older for older in self._unfinished(owner) if supersede and older.kind == kind]
            if not sequel and job_id is None:
                self._let_in(owner, replaced)
            for older in replaced:
                if self._stop(older):
                    older._finished.set()  # what came instead of it is told
            if durable is not None and self._journal is not None:
                job.state = JobState.PAUSED  # counted, and not begun, until it is written down
            self._jobs[job.id] = job
            self._forget_old()
            self._wake.notify_all()
        if durable is not None and self._journal is not None:
            self._write_down(job, self._journal)
        self._tell(job)
        return job

    def _write_down(self, job: Job, journal: Journal) -> None:
        try:
            journal.queued(job)
        except BaseException:
            with self._wake:
                del self._jobs[job.id]
            raise
        with self._wake:
            if job.state is JobState.PAUSED:
                job.state = JobState.QUEUED
                self._wake.notify_all()

    def cancel(self, owner: str, job_id: str) -> bool:
        """Asks the owner's job to stop; a queued one is over at once, a running one at its next poll."""
        job = self.job(owner, job_id)
        with self._wake:
            if job is None or job.state in FINISHED:
                return False
            over = self._stop(job)
            self._wake.notify_all()
        if over:
            self._tell_end(job)
        else:
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

    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads.values())

    def close(self, timeout: float = 20.0) -> None:
        """Stops what runs at its next poll, ends all threads and waits `timeout` seconds for them together.

        Durable jobs that were not finished stay in the journal as queued: the next start takes them up.
        """
        with self._wake:
            self._closing = True
            for job in self._jobs.values():
                if job.state not in FINISHED:
                    job.interrupted = not job.cancelled()
                    if self._stop(job):
                        job._finished.set()
            self._wake.notify_all()
        deadline = time.monotonic() + timeout
        for thread in self._threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))

    def _stop(self, job: Job) -> bool:
        """Whether the job is over with that: one that was never begun has nothing to unwind on the worker's thread."""
        job._stop.set()
        if job.started is None:
            self._finish(job, JobState.CANCELLED)
            return True
        if job.state is JobState.PAUSED:
            job.state = JobState.QUEUED
        return False

    def _finish(self, job: Job, state: JobState, result: Any = None, error: dict[str, Any] | None = None) -> None:
        """Ends the job once and for all, with everything that its owner may read there. `_wake` is held."""
        job.result, job.error = result, error
        job.state, job.finished, job._steps, job.work = state, self._clock(), None, None
        job._context = Context()  # the request is let go of
        if state is JobState.DONE:
            known = self._seconds.get(job.kind)
            took = job.elapsed(job.finished)
            self._seconds[job.kind] = took if known is None else 0.7 * known + 0.3 * took
        self._on_finish(job)
        log_end(job)

    def _tell_end(self, job: Job) -> None:
        """Whoever waits for the job goes on when everybody else knows: what follows is not told before it."""
        try:
            self._note(job)
            self._tell(job)
        finally:
            job._finished.set()

    def _tell(self, job: Job) -> None:
        """Says that a job has changed. Whoever listens may fail; neither the job nor its thread suffers from that."""
        try:
            self._on_change(job)
        except Exception:
            log.exception("the news of job %s (%s, %s) could not be taken", job.id, job.kind, job.state)

    def _note(self, job: Job) -> None:
        """Writes down that a durable job has begun or ended. A journal that fails costs the restart, not the job."""
        if job.durable is None or self._journal is None:
            return
        try:
            (self._journal.ended if job.state in FINISHED else self._journal.began)(job)
        except Exception:
            log.exception("job %s (%s, %s) could not be written down", job.id, job.kind, job.state)

    def _keep_serving(self, thread: str) -> None:
        """Serves until the worker is closed. What gets past `_step` ends the job that ran, and serving goes on."""
        while True:
            try:
                with owning(self._executors[thread]):
                    self._serve(thread)
                return
            except BaseException as error:  # the thread that serves everybody dies of nothing
                log.exception("the %s thread failed and goes on", thread)
                with self._wake:
                    job, self._current[thread] = self._current[thread], None
                    if job is not None and job.state not in FINISHED:
                        self._finish(job, JobState.FAILED, error=report(error))
                if job is not None:
                    self._tell_end(job)

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
                begins = job.started is None
                if begins:
                    job.started, job.thread = self._clock(), thread
                self._remember_home(job.owner, thread)
                self._wake.notify_all()  # what would rather have waited for this device may go to another now
            if begins:
                self._note(job)
            self._step(job)
            with self._wake:
                self._current[thread] = None
            if job.state in FINISHED:
                self._tell_end(job)
            else:
                self._tell(job)

    def _step(self, job: Job) -> None:
        """Runs one step; whatever it raises ends this job and never the thread."""
        try:
            if job._steps is None:
                assert job.work is not None
                job._steps = job.work(job)
            job.check()
            job._context.run(next, job._steps)
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
