"""Systems x clips → raw predictions, resumable.

The work is cut into batches before it starts, from the whole list sorted by length, and a batch is written as one. So a
resumed run, and a run on several devices, decode every clip beside the same neighbours as an unbroken local run, and
write the same text.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from evaluation.manifest import Entry, Manifest
from evaluation.predictions import FILE_NAME, Prediction, PredictionFile
from evaluation.systems import System
from merger.bilingual import Text
from merger.errors import BadParameter, Fault
from merger.transaction import disk_errors

if TYPE_CHECKING:
    from evaluation.transcriber import TranscribeOptions

BATCH = {"cpu": 8, "cuda": 32}  # windows side by side
WORK = {"cpu": 1, "cuda": 4}  # batches per piece of work: a row that is done takes the next clip of the piece


@dataclass(frozen=True)
class RunOptions:
    """How to run; everything that can change a transcript is part of `decoding_hash`."""

    language: str = "ru"
    task: str = "transcribe"
    max_new_tokens: int | None = None
    device: str = "auto"
    dtype: str | None = None
    batch: int | None = None
    repeats: int = 3  # of the speed measurement; 0 leaves it out

    def settled(self) -> RunOptions:
        """With the batch and dtype that the device implies, where they are not given."""
        if self.batch and self.dtype:
            return self
        from merger.live.loading import choose_device

        device = choose_device(self.device)
        dtype = self.dtype or ("float32" if device.type == "cpu" else None)
        return replace(self, batch=self.batch or BATCH[device.type], dtype=dtype)

    def piece(self) -> int:
        """Clips that are transcribed and written as one."""
        from merger.live.loading import choose_device

        settled = self.settled()
        assert settled.batch is not None
        return settled.batch * WORK[choose_device(self.device).type]

    def decoding_hash(self) -> str:
        """16 hex digits of the options that can change a transcript."""
        parts = {key: value for key, value in asdict(self).items() if key not in {"device", "repeats"}}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def transcribe(self) -> TranscribeOptions:
        """What a transcriber is told."""
        from evaluation.transcriber import TranscribeOptions

        return TranscribeOptions(language=self.language, task=self.task, max_new_tokens=self.max_new_tokens)


@dataclass(frozen=True)
class Work:
    """One batch of one system."""

    number: int
    system: System
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class RunProgress:
    """`remaining`: seconds at the rate so far, None until the first batch is done."""

    system: str
    done_clips: int
    total_clips: int
    done_seconds: float
    total_seconds: float
    remaining: float | None


class Executor(Protocol):
    """Runs batches in any order; yields each once, with its predictions."""

    def run(self, work: Sequence[Work], options: RunOptions) -> Iterator[tuple[Work, list[Prediction]]]: ...
    def device(self, options: RunOptions) -> str: ...
    def speed(self) -> dict[str, list[float]]: ...
    def warnings(self) -> dict[str, list[Text]]: ...


def plan_work(manifest: Manifest, systems: Sequence[System], piece: int) -> list[Work]:
    """Systems one after another (recipes of one pair together), longest clips first; a clip that the manifest lists
    twice is transcribed once."""
    entries = sorted({entry.sha256: entry for entry in manifest.entries}.values(), key=lambda e: (-e.duration, e.id))
    order = sorted(systems, key=lambda s: (s.kind == "merge", [c.fingerprint() for c in s.sources.values()]))
    cuts = range(0, len(entries), piece)
    parts = [(system, tuple(entries[start : start + piece])) for system in order for start in cuts]
    return [Work(number, system, part) for number, (system, part) in enumerate(parts)]


def run(
    manifest: Manifest,
    systems: Sequence[System],
    output: Path,
    options: RunOptions,
    *,
    resume: bool = False,
    executor: Executor | None = None,
    on_progress: Callable[[RunProgress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[Prediction]:
    """Transcribe what is not there yet; returns the predictions of all systems and clips of this run.

    Raises BadParameter if `output` holds predictions and `resume` is off, Cancelled between batches.
    """
    if executor is None:
        from evaluation.local import LocalExecutor

        executor = LocalExecutor(cancelled)
    steps = run_steps(manifest, systems, output, options, executor, resume=resume)
    while True:
        try:
            progress = next(steps)
        except StopIteration as finished:
            predictions: list[Prediction] = finished.value
            return predictions
        if on_progress is not None:
            on_progress(progress)


def run_steps(
    manifest: Manifest,
    systems: Sequence[System],
    output: Path,
    options: RunOptions,
    executor: Executor,
    *,
    resume: bool = False,
    piece: int | None = None,
) -> Generator[RunProgress, None, list[Prediction]]:
    """`run`, which stops after every piece of work for whoever shares the device; `piece`: clips at a time."""
    options = options.settled()
    with disk_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    if (output / FILE_NAME).exists() and not resume:
        raise _occupied(output)
    file = PredictionFile(output / FILE_NAME)
    decoding = options.decoding_hash()
    work = plan_work(manifest, systems, piece or options.piece())
    todo = [w for w in work if any((w.system.key, decoding, e.sha256) not in file.known for e in w.entries)]
    progress = _Progress(work, todo)
    if work:
        yield progress.told(work[0].system.name, None)
    for done, predictions in executor.run(todo, options):
        with disk_errors(output):
            file.append(predictions)
        yield progress.advance(done)
    with disk_errors(output):
        _note_run(output, systems, options, executor)
    wanted = {(w.system.key, decoding, e.sha256) for w in work for e in w.entries}
    return [prediction for key, prediction in file.known.items() if key in wanted]


def _occupied(output: Path) -> BadParameter:
    return BadParameter(
        faults=[
            Fault(
                Text(f"В «{output.name}» уже есть предсказания.", f"“{output.name}” already holds predictions."),
                Text(
                    "Добавьте --resume, чтобы продолжить, или укажите другую папку.",
                    "Add --resume to go on, or name another folder.",
                ),
                "output",
            )
        ]
    )


def _note_run(output: Path, systems: Sequence[System], options: RunOptions, executor: Executor) -> None:
    """What scoring needs to know of the run and cannot see in the predictions: `run.json`."""
    path = output / "run.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    warnings = {name: [asdict(w) for w in given] for name, given in executor.warnings().items() if given}
    note = {
        "options": asdict(options),
        "decoding": options.decoding_hash(),
        "device": executor.device(options),
        "systems": [system.describe() for system in systems],
        "speed": {**before.get("speed", {}), **executor.speed()},
        "warnings": {**before.get("warnings", {}), **warnings},
    }
    path.write_text(json.dumps(note, ensure_ascii=False, indent=1), encoding="utf-8")


def device_name(options: RunOptions) -> str:
    """The chip and the arithmetic, as the report names them."""
    import torch

    from merger.live.loading import choose_device

    device = choose_device(options.device)
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {options.dtype or 'checkpoint dtype'}"
    return f"CPU, {torch.get_num_threads()} threads, {options.dtype}"


class _Progress:
    def __init__(self, work: Sequence[Work], todo: Sequence[Work]) -> None:
        self.started = time.monotonic()
        self.total_clips = sum(len(w.entries) for w in work)
        self.total_seconds = sum(e.duration for w in work for e in w.entries)
        self.todo_seconds = sum(e.duration for w in todo for e in w.entries)
        self.clips = self.total_clips - sum(len(w.entries) for w in todo)
        self.fresh = 0.0

    def advance(self, done: Work) -> RunProgress:
        self.clips += len(done.entries)
        self.fresh += sum(entry.duration for entry in done.entries)
        rate = (time.monotonic() - self.started) / self.fresh if self.fresh else None
        return self.told(done.system.name, None if rate is None else rate * (self.todo_seconds - self.fresh))

    def told(self, system: str, remaining: float | None) -> RunProgress:
        seconds = self.total_seconds - self.todo_seconds + self.fresh
        return RunProgress(system, self.clips, self.total_clips, seconds, self.total_seconds, remaining)
