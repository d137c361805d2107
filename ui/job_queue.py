"""The jobs of everybody, and which of them goes next on which thread."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import Any

from ui.errors import QueueFull, ServerBusy
from ui.jobs import DISK_LANE, FINISHED, Job, JobState, urgency

KEPT_FINISHED = 500
KEPT_HOMES = 2000


class JobQueue:
    """Jobs by id, guarded by `_wake`; `_current` is what each thread does now."""

    def __init__(
        self,
        threads: Sequence[str],
        clock: Callable[[], float],
        waiting_per_owner: int,
        unfinished_in_all: int | None,
    ) -> None:
        self._clock = clock
        self._waiting_per_owner, self._unfinished_in_all = waiting_per_owner, unfinished_in_all
        self._jobs: dict[str, Job] = {}
        self._current: dict[str, Job | None] = dict.fromkeys(threads)
        self._homes: OrderedDict[str, str] = OrderedDict()  # owner → the device thread that served them last
        self._seconds: dict[str, float] = {}  # kind → smoothed duration, for the expected wait
        self._wake = threading.Condition()

    def job(self, owner: str, job_id: str) -> Job | None:
        """The owner's own job; somebody else's id finds nothing."""
        job = self._jobs.get(job_id)
        return job if job is not None and job.owner == owner else None

    def jobs(self, owner: str | None = None) -> list[Job]:
        with self._wake:
            return [job for job in self._jobs.values() if owner in {None, job.owner}]

    def position(self, job: Job) -> tuple[int, float]:
        """(jobs that go first, expected seconds until this one starts); (0, 0.0) for one that runs or is over."""
        if job.state is not JobState.QUEUED:
            return 0, 0.0
        on_disk = job.lane == DISK_LANE
        now, ahead, seconds = self._clock(), 0, 0.0
        with self._wake:
            for other in self._jobs.values():
                running = other in self._current.values()
                first = running or (other.state is JobState.QUEUED and urgency(other) < urgency(job))
                if other is not job and (other.lane == DISK_LANE) == on_disk and first and other.state not in FINISHED:
                    ahead += 1
                    left = other.remaining(now) if running else None
                    seconds += left if left is not None else self._seconds.get(other.kind, 1.0)
        return ahead, seconds / (1 if on_disk else len(self._current) - 1)

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

    def _unfinished(self, owner: str) -> list[Job]:
        return [job for job in self._jobs.values() if job.owner == owner and job.state not in FINISHED]

    def _let_in(self, owner: str, replaced: Collection[Job]) -> None:
        waiting = [job for job in self._unfinished(owner) if not job.cancelled() and job not in replaced]
        if len(waiting) >= self._waiting_per_owner:
            raise QueueFull(waiting=len(waiting), limit=self._waiting_per_owner)
        if self._unfinished_in_all is not None:
            everybody = sum(job.state not in FINISHED for job in self._jobs.values()) - len(replaced)
            if everybody >= self._unfinished_in_all:
                raise ServerBusy(limit=self._unfinished_in_all)

    def _forget_old(self) -> None:
        finished = sorted((job for job in self._jobs.values() if job.state in FINISHED), key=lambda job: job.order)
        for job in finished[: max(0, len(finished) - KEPT_FINISHED)]:
            del self._jobs[job.id]

    def _remember_home(self, owner: str, thread: str) -> None:
        if thread != DISK_LANE:
            self._homes[owner] = thread
            self._homes.move_to_end(owner)
            while len(self._homes) > KEPT_HOMES:
                self._homes.popitem(last=False)

    def _next(self, thread: str) -> Job | None:
        ready = [job for job in self._jobs.values() if job.state is JobState.QUEUED and self._may_serve(thread, job)]
        return min(ready, key=urgency, default=None)

    def _may_serve(self, thread: str, job: Job) -> bool:
        if (job.lane == DISK_LANE) != (thread == DISK_LANE):
            return False
        if job.thread is not None:
            return job.thread == thread
        home = self._homes.get(job.owner, thread)
        return thread in (DISK_LANE, home) or self._current[home] is not None
