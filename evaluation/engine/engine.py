"""The fast transcriber: Whisper's greedy decoding over static caches, drafts and kept results.

Writes the tokens that transformers' greedy `generate` writes (docs/live.md, "Exactness", has what was measured).
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from evaluation.engine.backend import Backend, make_backend
from evaluation.engine.byte_cache import ByteCache
from evaluation.engine.certainty import beyond_doubt
from evaluation.engine.greedy import Decoded
from evaluation.engine.model import Caches, decode_many, logits
from evaluation.engine.rules import Rules
from evaluation.engine.streams import Shared
from evaluation.engine.tensors import WhisperTensors, collect
from evaluation.engine.timing import time_words
from evaluation.engine.turns import wait_for
from evaluation.features import WINDOW_SAMPLES, log_mel
from evaluation.generate import generate_window
from evaluation.transcriber import (
    CancelPoll,
    Clip,
    TranscribeOptions,
    Transcript,
    Word,
    assemble,
    is_silent,
    transcribe_windows,
    window_at,
)
from evaluation.vocabulary import Vocabulary
from evaluation.windows import TokenSegment, WindowText
from evaluation.word_times import listed_heads

FEATURE_BYTES = 64 << 20
HEARD_BYTES = 512 << 20
TRANSCRIPT_BYTES = 64 << 20


@dataclass(frozen=True)
class Identity:
    """Names of a model's weights: results are kept under them. Equal names promise equal weights."""

    encoder: Hashable
    decoder: Hashable


@dataclass(frozen=True)
class Kept:
    """A finished transcription: the transcript, the segments it was put together from, and everything that was written
    for each window as (first frame, tokens), which serves as a draft."""

    transcript: Transcript
    windows: tuple[tuple[int, tuple[int, ...]], ...]
    pieces: tuple[TokenSegment, ...] = ()

    def nbytes(self) -> int:
        """An estimate: 200 bytes per token and segment, twice the text."""
        transcript = self.transcript
        count = len(transcript.tokens) + len(transcript.segments) + sum(len(tokens) for _, tokens in self.windows)
        return 1000 + 200 * count + 2 * len(transcript.text)


@dataclass
class Workspace:
    """What the models that listen to the same clips share, also from several threads. All stores are bounded by the
    bytes they hold.

    features: log-mel by (clip, mel bins). heard: encoder output [1500, d] by (encoder identity, clip, first frame).
    finished: transcriptions by (identity, clip, options). latest: what a model last wrote, whatever its weights were
    then, by (model, clip, options): drafts.
    """

    features: ByteCache[Shared] = field(default_factory=lambda: ByteCache(FEATURE_BYTES, Shared.nbytes))
    heard: ByteCache[Shared] = field(default_factory=lambda: ByteCache(HEARD_BYTES, Shared.nbytes))
    finished: ByteCache[Kept] = field(default_factory=lambda: ByteCache(TRANSCRIPT_BYTES, Kept.nbytes))
    latest: ByteCache[Kept] = field(default_factory=lambda: ByteCache(TRANSCRIPT_BYTES, Kept.nbytes))


def supported(module: Any) -> bool:
    """Whether the engine computes what this transformers module computes: every published Whisper, in eval mode."""
    config = module.config
    return (
        config.activation_function == "gelu"
        and not config.scale_embedding
        and not module.training
        and (module.generation_config.num_beams or 1) == 1
        and next(module.parameters()).dtype in {torch.float32, torch.float16, torch.bfloat16}
    )


class WhisperEngine:
    """Transcribes with one transformers Whisper module; used by one thread at a time.

    The module's parameters are read where they lie: after an in-place merge the next call hears the new weights. Pass
    the `identity` of the weights with each call to have results kept; without it nothing is taken from or put into the
    workspace but the features.
    """

    def __init__(self, module: Any, tokenizer: Any, workspace: Workspace | None = None) -> None:
        if not supported(module):
            raise ValueError("this Whisper configuration needs HuggingFaceTranscriber")
        self.module = module
        self.tensors: WhisperTensors = collect(module)
        self.tokenizer = tokenizer
        self.vocabulary = Vocabulary.of(module, tokenizer)
        self.heads = listed_heads(module)
        self.workspace = workspace or Workspace()
        self.caches = Caches(self.tensors, batch=1)
        self.backend: Backend = make_backend(self.tensors, self.caches)
        self._rules: dict[bool, Rules] = {}

    @torch.inference_mode()
    def transcribe(
        self,
        clip: Clip,
        options: TranscribeOptions,
        cancelled: CancelPoll | None = None,
        *,
        identity: Identity | None = None,
        drafts: Sequence[Kept] = (),
    ) -> Transcript:
        """See `Transcriber.transcribe`. `drafts` are transcriptions of the same clip by similar models, best first."""
        return self.transcribe_kept(clip, options, cancelled, identity=identity, drafts=drafts).transcript

    @torch.inference_mode()
    def transcribe_kept(
        self,
        clip: Clip,
        options: TranscribeOptions,
        cancelled: CancelPoll | None = None,
        *,
        identity: Identity | None = None,
        drafts: Sequence[Kept] = (),
        spent: float = 0.0,
    ) -> Kept:
        """`transcribe`, with the windows that can serve as drafts for another model. `spent`: seconds that `hear_first`
        took for it, which belong to its time."""
        key = _finished_key(clip, options, identity)
        known = self.workspace.finished.get(key) if identity is not None else None
        if known is not None:
            kept = replace(known, transcript=replace(known.transcript, cached=True))
        else:
            kept = _Transcription(self, clip, options, cancelled, identity, drafts, spent).finish()
        if options.word_times and kept.transcript.words is None:
            kept = replace(kept, transcript=replace(kept.transcript, words=self._words(kept, clip, options, identity)))
        if identity is not None and kept != known:
            self.workspace.finished.put(key, replace(kept, transcript=replace(kept.transcript, cached=False)))
        return kept

    def knows(self, clip: Clip, options: TranscribeOptions, identity: Identity) -> bool:
        """Whether what the model with these weights writes for the clip is kept."""
        return self.workspace.finished.get(_finished_key(clip, options, identity)) is not None

    def _words(
        self, kept: Kept, clip: Clip, options: TranscribeOptions, identity: Identity | None
    ) -> tuple[Word, ...]:
        return time_words(self, lambda seek: self.hear(clip, seek, identity)[None], kept.pieces, clip, options)

    def rules(self, timestamps: bool) -> Rules:
        """The decoding rules with or without timestamps."""
        if timestamps not in self._rules:
            self._rules[timestamps] = Rules(self.vocabulary, timestamps, self.tensors.device)
        return self._rules[timestamps]

    def features(self, clip: Clip) -> torch.Tensor:
        """Log-mel of a clip, float32[mel_bins, 3000·windows], kept in the workspace."""
        mel_bins = self.tensors.conv1[0].shape[1]
        key = (clip.sha256, mel_bins, str(self.tensors.device))
        features = self.workspace.features.get(key)
        if features is None:
            features = Shared(log_mel(clip.samples, mel_bins, device=self.tensors.device))
            self.workspace.features.put(key, features)
        return features.read()

    def hear_first(self, clip: Clip, options: TranscribeOptions, identity: Identity) -> float:
        """Encode the clip's first window, so that it is kept; returns the seconds taken. Silence is not encoded."""
        started = time.perf_counter()
        if not is_silent(clip.samples[:WINDOW_SAMPLES], options.silence_dbfs):
            wait_for(self.hear(clip, 0, identity))
        return time.perf_counter() - started

    def hear(self, clip: Clip, seek: int, identity: Identity | None) -> torch.Tensor:
        """Encoder output [1500, d] of the window at frame `seek`, kept while the encoder's weights stand."""
        key = None if identity is None else (identity.encoder, clip.sha256, seek)
        heard = None if key is None else self.workspace.heard.get(key)
        if heard is None:
            window = window_at(self.features(clip), seek).to(self.tensors.dtype)
            heard = Shared(self.backend.encode(window))
            if key is not None:
                self.workspace.heard.put(key, heard)
        return heard.read()


def _finished_key(clip: Clip, options: TranscribeOptions, identity: Identity | None) -> Hashable:
    """Under which a transcription is kept: with word times or without, they are added to the same one."""
    return identity, clip.sha256, replace(options, word_times=False)


class _Transcription:
    """One clip through one engine."""

    def __init__(
        self,
        engine: WhisperEngine,
        clip: Clip,
        options: TranscribeOptions,
        cancelled: CancelPoll | None,
        identity: Identity | None,
        drafts: Sequence[Kept],
        spent: float,
    ) -> None:
        self.engine, self.clip, self.options = engine, clip, options
        self.cancelled, self.identity, self.drafts = cancelled, identity, drafts
        self.started = time.perf_counter() - spent
        timestamps = options.with_timestamps(clip.seconds)
        self.prompt = engine.vocabulary.prompt(options.language, options.task, timestamps)
        self.limit = engine.vocabulary.new_token_limit(len(self.prompt), options.max_new_tokens)
        self.timestamps, self.rules = timestamps, engine.rules(timestamps)
        self.windows: list[tuple[int, Decoded]] = []

    def finish(self) -> Kept:
        engine = self.engine
        pieces = transcribe_windows(self._decode, self.clip, self.options, engine.vocabulary)
        transcript = assemble(pieces, engine.vocabulary, engine.tokenizer, self.clip, self.options)
        decoded = [window for _, window in self.windows]
        drafted = sum(window.drafted for window in decoded)
        confirmed = sum(window.confirmed for window in decoded)
        transcript = replace(
            transcript,
            seconds_wall=time.perf_counter() - self.started,
            performed="engine" if decoded else "silence",
            acceptance=confirmed / max(sum(len(window.tokens) for window in decoded), 1) if drafted else None,
        )
        windows = tuple((seek, window.tokens) for seek, window in self.windows)
        return Kept(transcript, windows, tuple(pieces))

    def _decode(self, seek: int) -> WindowText:
        engine = self.engine
        heard = engine.hear(self.clip, seek, self.identity)
        decoded = engine.backend.decode(
            heard,
            self.prompt,
            self.limit,
            self.rules,
            drafts=self._drafts_at(seek),
            cancelled=self.cancelled,
        )
        if self.options.strict and not beyond_doubt(engine.tensors, engine.caches, self.prompt, decoded, self.rules):
            return self._by_transformers(seek, decoded)
        self.windows.append((seek, decoded))
        return WindowText(decoded.tokens, decoded.no_speech_probability, lambda: self._mean_logprob(decoded))

    def _by_transformers(self, seek: int, doubted: Decoded) -> WindowText:
        """The window by transformers' own `generate`; nothing of it counts as confirmed."""
        engine = self.engine
        window = window_at(engine.features(self.clip), seek).to(engine.tensors.dtype)
        text = generate_window(
            engine.module, engine.vocabulary, window, self.options, self.timestamps, self.cancelled
        )
        self.windows.append((seek, replace(doubted, tokens=text.tokens, confirmed=0)))
        return text

    def _drafts_at(self, seek: int) -> list[tuple[int, ...]]:
        """What others wrote from the same frame on, then what they wrote for windows that overlap this one."""
        same = [tokens for kept in self.drafts for first, tokens in kept.windows if first == seek]
        near = [tokens for kept in self.drafts for first, tokens in kept.windows if 0 < abs(first - seek) < 3000]
        return [*same, *near]

    def _mean_logprob(self, decoded: Decoded) -> float:
        """Mean log probability of the window's tokens and its end token, from one teacher-forced pass."""
        engine = self.engine
        tokens = list(decoded.tokens)
        ids = torch.tensor([self.prompt + tokens], device=engine.tensors.device)
        hidden = decode_many(engine.tensors, engine.caches, ids, 0)[0, len(self.prompt) - 1 :]
        targets = torch.tensor([*tokens, engine.vocabulary.end], device=hidden.device)
        return float(logits(engine.tensors, hidden).log_softmax(dim=-1).gather(1, targets[:, None]).mean())
