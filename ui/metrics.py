"""What Prometheus reads at `/metrics`: jobs, queue, seconds, memory. Numbers only; no names, texts or owners."""

from collections import Counter as Count
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ui.health import Checkup
from ui.jobs import FINISHED, Job, JobState
from ui.memory import resident_bytes

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Metrics:
    """Counts jobs as they end, and looks at the rest when it is asked."""

    def __init__(self, workshop: Any, checkup: Checkup) -> None:
        self._workshop, self._checkup = workshop, checkup
        self._registry = CollectorRegistry()
        self._finished = Counter(
            "whisper_merge_jobs_finished", "Jobs that have ended.", ("kind", "state", "code"), registry=self._registry
        )
        self._seconds = Histogram(
            "whisper_merge_job_seconds", "Seconds that finished jobs ran.", ("kind",),
            buckets=SECONDS, registry=self._registry,
        )  # fmt: skip
        self._waited = Histogram(
            "whisper_merge_job_wait_seconds", "Seconds that jobs waited before they ran.", ("lane",),
            buckets=SECONDS, registry=self._registry,
        )  # fmt: skip
        self._registry.register(self)

    def finished(self, job: Job) -> None:
        """Takes note of a job that has ended; quick, and raises nothing."""
        self._finished.labels(job.kind, str(job.state), (job.error or {}).get("code", "")).inc()
        if job.started is not None and job.finished is not None:
            self._seconds.labels(job.kind).observe(job.finished - job.started)
            self._waited.labels(job.lane).observe(job.started - job.created)

    def collect(self) -> Iterator[Metric]:
        """Prometheus' own interface of a collector."""
        worker = self._workshop.worker
        jobs = Count((job.lane, str(job.state)) for job in worker.jobs() if job.state not in FINISHED)
        waiting = GaugeMetricFamily("whisper_merge_jobs", "Unfinished jobs.", labels=("lane", "state"))
        for lane in ("live", "batch", "disk"):
            for state in (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED):
                waiting.add_metric((lane, str(state)), jobs[lane, str(state)])
        yield waiting
        yield GaugeMetricFamily("whisper_merge_up", "Whether the worker's threads live.", float(worker.alive()))
        yield GaugeMetricFamily("whisper_merge_sessions", "People known.", len(self._workshop.sessions))
        yield GaugeMetricFamily("whisper_merge_server_ram_bytes", "Resident memory of the server.", resident_bytes())
        yield from self._devices(worker.executors)

    def _devices(self, executors: list[Any]) -> Iterator[Metric]:
        starts = CounterMetricFamily("whisper_merge_device_starts", "Processes begun.", labels=("device",))
        lost = CounterMetricFamily("whisper_merge_device_lost", "Processes that ended.", labels=("device",))
        up = GaugeMetricFamily("whisper_merge_device_up", "Whether it is idle or busy.", labels=("device",))
        for executor in executors:
            told = executor.status()
            starts.add_metric((told["device"],), told["starts"])
            lost.add_metric((told["device"],), told["lost"])
            up.add_metric((told["device"],), float(told["state"] in {"idle", "busy"}))
        yield from (starts, lost, up)
        ram = GaugeMetricFamily("whisper_merge_device_ram_bytes", "Its process' resident memory.", labels=("device",))
        held = GaugeMetricFamily("whisper_merge_device_bytes", "Memory taken on it.", labels=("device",))
        kernel = GaugeMetricFamily("whisper_merge_device_kernel_seconds", "A small kernel.", labels=("device",))
        for health in self._checkup.devices:
            ram.add_metric((health.device,), health.ram_bytes)
            held.add_metric((health.device,), health.device_bytes)
            kernel.add_metric((health.device,), health.seconds)
        yield from (ram, held, kernel)

    async def answer(self, request: Request) -> Response:
        """`/metrics`; 404 where the settings keep it to themselves."""
        if not self._workshop.settings.metrics:
            return PlainTextResponse("not found", status_code=404)
        await self._checkup.ask()
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)
