"""The plain executor: batches one after another in this process, on one device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from evaluation.audio import AudioClip, load_clip
from evaluation.manifest import Entry
from evaluation.predictions import Prediction
from evaluation.runner import RunOptions, Work, device_name
from evaluation.systems import Loader, System
from evaluation.transcriber import Transcript
from merger.bilingual import Text
from merger.errors import Cancelled

SPEED_SECONDS = {"cpu": 30.0, "cuda": 120.0}  # audio that is transcribed again to measure speed


class LocalExecutor:
    """Batches one after another in this process, on one device."""

    def __init__(self, cancelled: Callable[[], bool] | None = None) -> None:
        self.cancelled = cancelled
        self._speed: dict[str, list[float]] = {}
        self._warnings: dict[str, list[Text]] = {}

    def run(self, work: Sequence[Work], options: RunOptions) -> Iterator[tuple[Work, list[Prediction]]]:
        loader = Loader(options.device, options.dtype)
        try:
            for system, batches in _by_system(work):
                with loader.load(system) as (module, processor):
                    worker = SystemWorker(system, module, processor, options)
                    for batch, clips in _load_ahead(batches):
                        if self.cancelled is not None and self.cancelled():
                            raise Cancelled
                        yield batch, worker.transcribe(batch, clips)
                    self._speed[system.name] = worker.speed(batches)
                self._warnings[system.name] = list(loader.warnings.get(system.name, ()))
        finally:
            loader.close()

    def device(self, options: RunOptions) -> str:
        return device_name(options)

    def speed(self) -> dict[str, list[float]]:
        return self._speed

    def warnings(self) -> dict[str, list[Text]]:
        return self._warnings


def _by_system(work: Sequence[Work]) -> Iterator[tuple[System, list[Work]]]:
    batches: list[Work] = []
    for item in work:
        if batches and batches[0].system.name != item.system.name:
            yield batches[0].system, batches
            batches = []
        batches.append(item)
    if batches:
        yield batches[0].system, batches


def load_clips(entries: Iterable[Entry]) -> list[AudioClip]:
    """The audio of a batch."""
    return [load_clip(entry.audio) for entry in entries]


def _load_ahead(batches: Sequence[Work]) -> Iterator[tuple[Work, list[AudioClip]]]:
    """Decode the next batch's audio while this one is transcribed."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(load_clips, batches[0].entries)
        for batch, following in zip(batches, [*batches[1:], None], strict=True):
            clips = coming.result()
            if following is not None:
                coming = pool.submit(load_clips, following.entries)
            yield batch, clips


class SystemWorker:
    """One loaded system: transcribes batches, then measures its speed."""

    def __init__(self, system: System, module: Any, processor: Any, options: RunOptions) -> None:
        from evaluation.batch import BatchTranscriber

        self.system, self.options = system, options
        self.transcriber = BatchTranscriber(module, processor, options.batch)
        self.transcribe_options = options.transcribe()

    def transcribe(self, batch: Work, clips: Sequence[AudioClip]) -> list[Prediction]:
        found = dict(self.transcriber.transcribe(clips, self.transcribe_options))
        decoding = self.options.decoding_hash()
        return [predicted(batch.system, entry, decoding, found[i]) for i, entry in enumerate(batch.entries)]

    def speed(self, batches: Sequence[Work]) -> list[float]:
        """RTFx of `repeats` passes over the same audio, decoded beforehand, after everything is warm."""
        clips: list[AudioClip] = []
        enough = SPEED_SECONDS[self.transcriber.device.type]
        for entry in (entry for batch in batches for entry in batch.entries):
            if self.options.repeats and sum(clip.seconds for clip in clips) < enough:
                clips += load_clips([entry])
        rates = []
        for _ in range(self.options.repeats if clips else 0):
            started = time.perf_counter()
            heard = sum(t.audio_seconds for _, t in self.transcriber.transcribe(clips, self.transcribe_options))
            rates.append(heard / (time.perf_counter() - started))
        return rates


def predicted(system: System, entry: Entry, decoding: str, transcript: Transcript) -> Prediction:
    """What a system wrote for a clip, as it is kept."""
    return Prediction(
        system=system.name,
        model=system.key,
        decoding=decoding,
        clip=entry.sha256,
        id=entry.id,
        text=transcript.text,
        audio_seconds=transcript.audio_seconds,
        seconds_wall=transcript.seconds_wall,
        performed=transcript.performed,
    )
