"""Batches over several processes, GPUs or machines with Ray (optional: requirements-cluster.txt).

The driver hands out the same batches as a local run and writes every prediction itself, so what is written does not
depend on how many workers there were. A worker that dies is replaced and its batch is done again; a batch counts once,
when its predictions arrive whole. On a cluster the models and the audio must lie under the same paths on all machines.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evaluation.local import SystemWorker, load_clips
from evaluation.predictions import Prediction
from evaluation.runner import RunOptions, Work, device_name
from evaluation.systems import Loader, System
from merger.bilingual import Text
from merger.errors import BadParameter, Fault, WhisperMergeError

ATTEMPTS = 3  # a batch that has killed this many workers is given up
ROOT = Path(__file__).resolve().parent.parent


class WorkerLost(WhisperMergeError):
    """A batch that killed every worker it was given to. Facts: `system`, `attempts`."""

    code = "WORKER_LOST"
    sentence_text = Text(
        "Рабочий процесс погиб {attempts} раза подряд на одних и тех же записях ({system}).",
        "A worker died {attempts} times in a row on the same clips ({system}).",
    )
    remedy_text = Text(
        "Уменьшите --batch или --ray-workers; готовые предсказания сохранены, продолжить можно с --resume.",
        "Lower --batch or --ray-workers; finished predictions are kept, go on with --resume.",
    )


class Worker:
    """Lives in a process of its own, on its own device; holds one system at a time."""

    def __init__(self, options: RunOptions, threads: int | None) -> None:
        if threads:
            import torch

            torch.set_num_threads(threads)
        self.options = options
        self.loader = Loader(options.device, options.dtype)
        self.held: Any = None  # the open `Loader.load` block
        self.worker: SystemWorker | None = None

    def pid(self) -> int:
        """Of the process."""
        return os.getpid()

    def transcribe(self, batch: Work) -> tuple[list[Prediction], tuple[Text, ...]]:
        """Predictions of the batch, and the warnings of its merge."""
        worker = self._hold(batch.system)
        return worker.transcribe(batch, load_clips(batch.entries)), self.loader.warnings.get(batch.system.name, ())

    def speed(self, batches: Sequence[Work]) -> list[float]:
        """See `SystemWorker.speed`."""
        return self._hold(batches[0].system).speed(batches)

    def _hold(self, system: System) -> SystemWorker:
        if self.worker is None or self.worker.system.key != system.key:
            if self.held is not None:
                self.held.__exit__(None, None, None)
            self.held = self.loader.load(system)
            module, processor = self.held.__enter__()
            self.worker = SystemWorker(system, module, processor, self.options)
        return self.worker


@dataclass
class _Seat:
    """A worker's place: who sits there, what it holds and what it is doing."""

    actor: Any
    holds: str | None = None
    doing: Work | None = None


@dataclass
class RayExecutor:
    """An `Executor` over Ray. address: of a cluster; None starts Ray on this machine and stops it at the end.

    workers: how many processes; None takes one per GPU, or one where there is none.
    """

    address: str | None = None
    workers: int | None = None
    replaced: int = 0  # workers that died
    seats: list[_Seat] = field(default_factory=list)
    _speed: dict[str, list[float]] = field(default_factory=dict)
    _warnings: dict[str, list[Text]] = field(default_factory=dict)

    def device(self, options: RunOptions) -> str:
        return device_name(options)

    def speed(self) -> dict[str, list[float]]:
        return self._speed

    def warnings(self) -> dict[str, list[Text]]:
        return self._warnings

    def run(self, work: Sequence[Work], options: RunOptions) -> Iterator[tuple[Work, list[Prediction]]]:
        """See `Executor.run`. Raises BadParameter without Ray, WorkerLost."""
        if not work:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray = _import_ray()
        ray.init(
            address=self.address, include_dashboard=False, log_to_driver=False, configure_logging=False,
            runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}}, ignore_reinit_error=True,
        )  # fmt: skip
        try:
            yield from self._run(ray, work, options)
        finally:
            self.seats.clear()
            ray.shutdown()

    def _run(self, ray: Any, work: Sequence[Work], options: RunOptions) -> Iterator[tuple[Work, list[Prediction]]]:
        queues: dict[str, deque[Work]] = {}
        for item in work:
            queues.setdefault(item.system.name, deque()).append(item)
        left = Counter(item.system.name for item in work)
        attempts: Counter[int] = Counter()
        self.seats = [_Seat(self._hire(ray, options)) for _ in range(min(self._count(ray), len(work)))]
        running: dict[Any, _Seat] = {}
        while True:
            for seat in self.seats:
                if seat.doing is None and (given := _next(queues, seat.holds)) is not None:
                    seat.doing, seat.holds = given, given.system.name
                    running[seat.actor.transcribe.remote(given)] = seat
            if not running:
                return
            (ready,), _ = ray.wait(list(running), num_returns=1)
            seat = running.pop(ready)
            batch, seat.doing = seat.doing, None
            assert batch is not None
            try:
                predictions, warnings = ray.get(ready)
            except ray.exceptions.RayActorError:
                self._replace(ray, seat, options)
                attempts[batch.number] += 1
                if attempts[batch.number] == ATTEMPTS:
                    raise WorkerLost(system=batch.system.name, attempts=ATTEMPTS) from None
                queues[batch.system.name].appendleft(batch)
                continue
            except ray.exceptions.RayTaskError as error:
                raise (error.cause if isinstance(error.cause, WhisperMergeError) else error) from None
            self._warnings[batch.system.name] = list(warnings)
            yield batch, predictions
            left[batch.system.name] -= 1
            if not left[batch.system.name] and options.repeats:
                self._measure(ray, seat, [w for w in work if w.system.name == batch.system.name], options)

    def _measure(self, ray: Any, seat: _Seat, batches: Sequence[Work], options: RunOptions) -> None:
        try:
            self._speed[batches[0].system.name] = ray.get(seat.actor.speed.remote(batches))
        except ray.exceptions.RayActorError:
            self._replace(ray, seat, options)

    def _replace(self, ray: Any, seat: _Seat, options: RunOptions) -> None:
        self.replaced += 1
        seat.actor, seat.holds = self._hire(ray, options), None

    def _count(self, ray: Any) -> int:
        return self.workers or max(1, int(ray.cluster_resources().get("GPU", 0)))

    def _hire(self, ray: Any, options: RunOptions) -> Any:
        gpus = int(ray.cluster_resources().get("GPU", 0)) if options.device != "cpu" else 0
        count = self._count(ray)
        cpus = max(1, int(ray.cluster_resources().get("CPU", 1)) // count)
        on_gpu = gpus > 0
        # Ray shows each worker its own GPU only, which is number 0 there.
        given = replace(options, device="cuda" if on_gpu else "cpu")
        share = min(1.0, gpus / count) if on_gpu else 0
        actor = ray.remote(Worker).options(num_cpus=0, num_gpus=share, max_restarts=0)
        return actor.remote(given, None if on_gpu else cpus)


def _next(queues: dict[str, deque[Work]], holds: str | None) -> Work | None:
    """The next batch for a worker: of the system that it holds, else of the one with most left to do."""
    if holds is not None and queues.get(holds):
        return queues[holds].popleft()
    fullest = max(queues.values(), key=len, default=None)
    return fullest.popleft() if fullest else None


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise BadParameter(
            faults=[
                Fault(
                    Text("Ray не установлен.", "Ray is not installed."),
                    Text("pip install -r requirements-cluster.txt", "pip install -r requirements-cluster.txt"),
                    "executor",
                )
            ]
        ) from None
    return ray
