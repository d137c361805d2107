"""Many clips through one model: windows decoded side by side by the engine's `ContinuousBatch`.

For throughput, where the engine's own path is for latency. A batch rounds differently from a single window, so a near
tie may be decided differently (as in any batched decoder; docs/evaluation.md has what was measured).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import torch

from evaluation.engine.batch_windows import HeardWindows, KeyedWindows
from evaluation.engine.continuous import ContinuousBatch, Written
from evaluation.engine.engine import WhisperEngine, supported
from evaluation.engine.kernel_choice import hears_windows
from evaluation.engine.rules import Rules
from evaluation.engine.tensors import collect
from evaluation.features import WINDOW_SECONDS, content_frames, log_mel
from evaluation.generate import HuggingFaceTranscriber
from evaluation.transcriber import (
    CancelPoll,
    Clip,
    TranscribeOptions,
    Transcriber,
    Transcript,
    assemble,
    is_silent,
    window_at,
)
from evaluation.vocabulary import Vocabulary
from evaluation.windows import FRAMES_PER_SECOND, TokenSegment

CPU_BATCH, GPU_BATCH = 8, 192
CACHE_SHARE = 0.5  # of the free device memory, for the caches of one batch


class BatchTranscriber:
    """One model for a corpus. `module` is a transformers Whisper module in eval mode, `processor` its processor.

    batch: most windows side by side; None chooses by the device and its free memory.
    """

    def __init__(self, module: Any, processor: Any, batch: int | None = None) -> None:
        self.module, self.processor = module, processor
        self.device: torch.device = module.device
        self._alone_by = None if supported(module) else HuggingFaceTranscriber(module, processor)
        self.batch = batch or 1
        self._decoder: ContinuousBatch | None = None
        if self._alone_by is None:
            self.tensors = collect(module)
            self.vocabulary = Vocabulary.of(module, processor.tokenizer)
            self.rules = Rules(self.vocabulary, False, self.device)
            self.batch = batch or self._fitting_batch()

    def _fitting_batch(self) -> int:
        tensors = self.tensors
        if tensors.device.type == "cpu":
            return CPU_BATCH
        free = torch.cuda.mem_get_info(tensors.device)[0] * CACHE_SHARE
        heard, keyed = (
            _rows_within(free, partial(windows.nbytes, tensors), GPU_BATCH) for windows in (HeardWindows, KeyedWindows)
        )
        return heard if hears_windows(tensors, heard) else keyed

    def _smaller_batch(self) -> int:
        """Rows that take half as much; below some number a row takes more than above it."""
        tensors, half = self.tensors, self.batch // 2
        hears, still_hears = (hears_windows(tensors, rows) for rows in (self.batch, half))
        if still_hears or not hears:
            return max(1, half)
        return _rows_within(HeardWindows.nbytes(tensors, half), partial(KeyedWindows.nbytes, tensors), half)

    @cached_property
    def _alone(self) -> Transcriber:
        """For clips that cannot go side by side; made when the first one comes."""
        return self._alone_by or WhisperEngine(self.module, self.processor.tokenizer)

    def transcribe(
        self, clips: Sequence[Clip], options: TranscribeOptions, cancelled: CancelPoll | None = None
    ) -> Iterator[tuple[int, Transcript]]:
        """(index into `clips`, transcript): first the clips that go alone, then all others, longest first.

        The time of those that go side by side is shared among them by their length. Raises Cancelled, BadParameter.
        """
        order = sorted(range(len(clips)), key=lambda i: (-clips[i].seconds, i))
        short = []
        for i in order:
            if self._goes_alone(clips[i], options):
                yield i, self._alone.transcribe(clips[i], options, cancelled)
            else:
                short.append(i)
        while short:
            try:
                yield from self._side_by_side([(i, clips[i]) for i in short], options, cancelled)
                return
            except torch.OutOfMemoryError:
                if self.batch == 1:
                    raise
            # Outside the except block, so that the failed batch's tensors are gone.
            self._decoder = None
            torch.cuda.empty_cache()
            self.batch = self._smaller_batch()

    def _goes_alone(self, clip: Clip, options: TranscribeOptions) -> bool:
        """Clips with timestamps or several windows: their windows depend on each other."""
        alone = self._alone_by is not None or clip.seconds > WINDOW_SECONDS
        return alone or options.with_timestamps(clip.seconds)

    def _side_by_side(
        self, clips: Sequence[tuple[int, Clip]], options: TranscribeOptions, cancelled: CancelPoll | None
    ) -> list[tuple[int, Transcript]]:
        started = time.perf_counter()
        if self._decoder is None:
            self._decoder = ContinuousBatch(self.tensors, self.rules, self.batch)
        prompt = self.vocabulary.prompt(options.language, options.task, False)
        limit = self.vocabulary.new_token_limit(len(prompt), options.max_new_tokens)
        bins = self.tensors.conv1[0].shape[1]
        windows = (
            (i, window_at(log_mel(clip.samples, bins, device=self.device), 0))
            for i, clip in clips
            if not is_silent(clip.samples, options.silence_dbfs)
        )
        written = {w.key: w for w in self._decoder.decode(windows, prompt, limit, cancelled)}
        found = [(i, self._transcript(clip, written.get(i), options, cancelled)) for i, clip in clips]
        wall = time.perf_counter() - started
        seconds = sum(clip.seconds for _, clip in clips)
        return [(i, replace(t, seconds_wall=wall * t.audio_seconds / seconds)) for i, t in found]

    def _transcript(
        self, clip: Clip, written: Written | None, options: TranscribeOptions, cancelled: CancelPoll | None
    ) -> Transcript:
        threshold = options.no_speech_threshold
        if written is not None and threshold is not None and written.no_speech_probability > threshold:
            # Whether the model is unsure of what it wrote takes a second pass, which the single path knows how to do.
            return self._alone.transcribe(clip, options, cancelled)
        end = content_frames(len(clip.samples)) / FRAMES_PER_SECOND
        pieces = [] if written is None else [TokenSegment(0.0, end, written.tokens)]
        transcript = assemble(pieces, self.vocabulary, self.processor.tokenizer, clip, options)
        return replace(transcript, performed="silence" if written is None else "batch")


def _rows_within(room: float, nbytes: Callable[[int], int], most: int) -> int:
    """The most rows, up to `most`, that take no more bytes than there is room for; one at least."""
    return next((rows for rows in range(most, 1, -1) if nbytes(rows) <= room), 1)
