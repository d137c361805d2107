"""Many clips through one model: windows of like length decoded side by side.

For throughput, where the engine's own path is for latency. It is built of the engine's functions, so the arithmetic is
the same; a batch rounds differently from a single window, so a near tie may be decided differently (as in any batched
decoder; docs/evaluation.md has what was measured).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch

from evaluation.engine.engine import WhisperEngine, supported
from evaluation.engine.model import Caches, decode_many, encode, fill_cross, logits
from evaluation.engine.rules import History, Rules
from evaluation.engine.tensors import collect
from evaluation.features import WINDOW_SECONDS, content_frames, log_mel
from evaluation.transcriber import (
    CancelPoll,
    Clip,
    HuggingFaceTranscriber,
    TranscribeOptions,
    Transcriber,
    Transcript,
    assemble,
    is_silent,
    window_at,
)
from evaluation.vocabulary import Vocabulary
from evaluation.windows import FRAMES_PER_SECOND, TokenSegment
from merger.errors import Cancelled

CPU_BATCH, GPU_BATCH = 8, 64
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
        if self._alone_by is None:
            self.tensors = collect(module)
            self.vocabulary = Vocabulary.of(module, processor.tokenizer)
            self.rules = Rules(self.vocabulary, False, self.device)
            self.batch = batch or self._fitting_batch()

    def _fitting_batch(self) -> int:
        tensors = self.tensors
        if tensors.device.type == "cpu":
            return CPU_BATCH
        row = 2 * len(tensors.decoder) * tensors.width * (tensors.source_positions + tensors.target_positions)
        free = torch.cuda.mem_get_info(tensors.device)[0] * CACHE_SHARE
        return max(1, min(GPU_BATCH, int(free / (row * tensors.dtype.itemsize))))

    @cached_property
    def _alone(self) -> Transcriber:
        """For clips that cannot go side by side; made when the first one comes."""
        return self._alone_by or WhisperEngine(self.module, self.processor.tokenizer)

    def transcribe(
        self, clips: Sequence[Clip], options: TranscribeOptions, cancelled: CancelPoll | None = None
    ) -> Iterator[tuple[int, Transcript]]:
        """(index into `clips`, transcript), longest clips first, as they are done.

        A batch's time is shared among its clips by their length. Raises Cancelled, BadParameter.
        """
        order = sorted(range(len(clips)), key=lambda i: (-clips[i].seconds, i))
        short = []
        for i in order:
            if self._goes_alone(clips[i], options):
                yield i, self._alone.transcribe(clips[i], options, cancelled)
            else:
                short.append(i)
        start = 0
        while start < len(short):
            chosen = short[start : start + self.batch]
            try:
                transcripts = self._side_by_side([clips[i] for i in chosen], options, cancelled)
            except torch.OutOfMemoryError:
                if self.batch == 1:
                    raise
                transcripts = None
            if transcripts is None:  # outside the except block, so that the failed batch's tensors are gone
                torch.cuda.empty_cache()
                self.batch = max(1, self.batch // 2)
                continue
            start += len(chosen)
            yield from zip(chosen, transcripts, strict=True)

    def _goes_alone(self, clip: Clip, options: TranscribeOptions) -> bool:
        """Clips with timestamps or several windows: their windows depend on each other."""
        alone = self._alone_by is not None or clip.seconds > WINDOW_SECONDS
        return alone or options.with_timestamps(clip.seconds)

    @torch.inference_mode()
    def _side_by_side(
        self, clips: Sequence[Clip], options: TranscribeOptions, cancelled: CancelPoll | None
    ) -> list[Transcript]:
        started = time.perf_counter()
        heard = [clip for clip in clips if not is_silent(clip.samples, options.silence_dbfs)]
        tokens = iter(_Batch(self, heard, options, cancelled).run() if heard else [])
        written = [None if is_silent(clip.samples, options.silence_dbfs) else next(tokens) for clip in clips]
        seconds = sum(clip.seconds for clip in clips)
        transcripts = []
        for clip, ids in zip(clips, written, strict=True):
            end = content_frames(len(clip.samples)) / FRAMES_PER_SECOND
            pieces = [] if ids is None else [TokenSegment(0.0, end, ids)]
            transcript = assemble(pieces, self.vocabulary, self.processor.tokenizer, clip, options)
            transcripts.append(replace(transcript, performed="batch" if ids is not None else "silence"))
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        wall = time.perf_counter() - started
        return [replace(t, seconds_wall=wall * t.audio_seconds / seconds) for t in transcripts]


class _Batch:
    """One decoding of b windows, none of them silent. Rows that are done are taken out of the caches by halves."""

    def __init__(
        self, model: BatchTranscriber, clips: Sequence[Clip], options: TranscribeOptions, cancelled: CancelPoll | None
    ) -> None:
        self.model, self.options, self.cancelled = model, options, cancelled
        tensors, vocabulary, bins = model.tensors, model.vocabulary, model.tensors.conv1[0].shape[1]
        windows = torch.stack([window_at(log_mel(clip.samples, bins, device=model.device), 0) for clip in clips])
        self.caches = Caches(tensors, len(clips))
        fill_cross(tensors, encode(tensors, windows.to(tensors.dtype)), self.caches)
        self.prompt = vocabulary.prompt(options.language, options.task, False)
        self.limit = vocabulary.new_token_limit(len(self.prompt), options.max_new_tokens)
        self.rules = model.rules
        self.rows = list(range(len(clips)))  # which clip each row of the caches is
        self.written: list[list[int]] = [[] for _ in clips]
        self.logprobs = [0.0] * len(clips)
        self.doubtful: list[bool] = [False] * len(clips)
        self.done = [False] * len(clips)

    def run(self) -> list[tuple[int, ...] | None]:
        """Tokens of each window, None where the model holds it for speechless and is unsure of what it wrote."""
        device = self.model.tensors.device
        ids = torch.tensor([self.prompt] * len(self.rows), device=device)
        position = 0
        while self.rows:
            if self.cancelled is not None and self.cancelled():
                raise Cancelled
            hidden = decode_many(self.model.tensors, self.caches, ids, position)
            if position == 0:
                self._weigh_speech(hidden[:, 0])
            choices = self._choose(hidden[:, -1])
            position += ids.shape[1]
            self._take(choices)
            if self._compact():
                choices = [self.written[row][-1] for row in self.rows]
            ids = torch.tensor(choices, device=device)[:, None]
        return [None if self._dropped(clip) else tuple(tokens) for clip, tokens in enumerate(self.written)]

    def _weigh_speech(self, start: torch.Tensor) -> None:
        vocabulary, threshold = self.model.vocabulary, self.options.no_speech_threshold
        if vocabulary.no_speech is None or threshold is None:
            return
        probability = logits(self.model.tensors, start).softmax(dim=-1)[:, vocabulary.no_speech]
        self.doubtful = (probability > threshold).tolist()

    def _choose(self, hidden: torch.Tensor) -> list[int]:
        scores = logits(self.model.tensors, hidden)
        sure = scores.log_softmax(dim=-1) if any(self.doubtful) else None
        histories = [_history(self.rules.history(), self.written[row]) for row in self.rows]
        chosen = self.rules.choose(scores, histories)[0]
        if sure is not None:
            gained = sure.gather(1, chosen[:, None])[:, 0].tolist()
            for row, value in zip(self.rows, gained, strict=True):
                if not self.done[row]:
                    self.logprobs[row] += value
        choices: list[int] = chosen.tolist()
        return choices

    def _take(self, choices: list[int]) -> None:
        for row, token in zip(self.rows, choices, strict=True):
            if self.done[row]:
                continue
            if token == self.model.vocabulary.end:
                self.done[row] = True
            else:
                self.written[row].append(token)
                self.done[row] = len(self.written[row]) >= self.limit

    def _compact(self) -> bool:
        """Once half of the rows are done, go on with the others only; returns whether rows were taken out."""
        alive = [place for place, row in enumerate(self.rows) if not self.done[row]]
        if len(alive) * 2 > len(self.rows):
            return False
        self.rows = [self.rows[place] for place in alive]
        if alive:
            keep = torch.tensor(alive, device=self.model.tensors.device)
            self.caches.self_kv = self.caches.self_kv.index_select(2, keep)
            self.caches.cross_kv = self.caches.cross_kv.index_select(2, keep)
        return True

    def _dropped(self, clip: int) -> bool:
        # The end token counts as written, as in the single-window path.
        return (
            self.doubtful[clip] and self.logprobs[clip] / (len(self.written[clip]) + 1) < self.options.logprob_threshold
        )


def _history(history: History, written: list[int]) -> History:
    """Without timestamps the rules look only at whether anything was written."""
    return replace(history, written=len(written))
