"""What a transcription is, and the walk over a clip's windows that every transcriber shares.

All times are seconds from the start of the clip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from evaluation.features import HOP, WINDOW_FRAMES, WINDOW_SECONDS, content_frames
from evaluation.vocabulary import Vocabulary, bad_option
from evaluation.windows import TokenSegment, WindowText, walk_windows
from merger.bilingual import Text

if TYPE_CHECKING:  # what a transcript is must be known without torch
    import torch

CancelPoll = Callable[[], bool]


class Clip(Protocol):
    """What a transcriber needs of `evaluation.audio.AudioClip`: mono float32[n] at 16 kHz, named by its hash."""

    @property
    def samples(self) -> np.ndarray[Any, Any]: ...
    @property
    def seconds(self) -> float: ...
    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True)
class Word:
    """One written word with its place in the clip; `probability` is the geometric mean over its tokens, 0 to 1."""

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True)
class Segment:
    """A stretch of text between two moments of the clip."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class TranscribeOptions:
    """How to transcribe. Language and task are always forced: detection would cost an encoder pass and can differ
    between the models that are compared.

    timestamps: write segment times; None means only where the clip is longer than 30 s and they are needed.
    max_new_tokens: per window; None means as many as the decoder has positions for.
    word_times: also find out when each word was said.
    silence_dbfs: a window whose RMS lies below this level is not given to the model, which would invent text
        for it; None switches the gate off.
    no_speech_threshold, logprob_threshold: a window is dropped when <|nospeech|> is more probable than the one and the
        mean log probability of what was written is lower than the other; None switches the gate off.
    strict: leave windows in which a choice is too close to call to transformers' own `generate`, so that the result is
        the one that it writes.
    """

    language: str = "ru"
    task: str = "transcribe"
    timestamps: bool | None = None
    max_new_tokens: int | None = None
    word_times: bool = False
    silence_dbfs: float | None = -65.0
    no_speech_threshold: float | None = 0.6
    logprob_threshold: float = -1.0
    strict: bool = False

    def __post_init__(self) -> None:
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise bad_option(
                "max_new_tokens",
                Text(f"{self.max_new_tokens} меньше 1", f"{self.max_new_tokens} is below 1"),
                Text("Укажите хотя бы 1.", "Give at least 1."),
            )

    def with_timestamps(self, seconds: float) -> bool:
        """Whether a clip of this length is transcribed with timestamp tokens."""
        if self.timestamps is None:
            return seconds > WINDOW_SECONDS
        if not self.timestamps and seconds > WINDOW_SECONDS:
            raise bad_option(
                "timestamps",
                Text(f"без них нельзя: запись длиннее {WINDOW_SECONDS} с", f"needed for clips over {WINDOW_SECONDS} s"),
                Text("Включите метки времени.", "Switch timestamps on."),
            )
        return self.timestamps


@dataclass(frozen=True)
class Transcript:
    """What one model wrote for one clip.

    tokens: everything decoded after the prompts, timestamps included, window by window.
    seconds_wall: time that this transcription took; for a cached one, what it took when it was made. Of models that
        ran at the same time each has its own, from its start to its end: together they took the longest, not the sum.
    generation: number of the live merge whose weights were heard; None for a model that does not change.
    acceptance: share of draft tokens that the model confirmed; None where there was no draft.
    performed: "engine", "generate" or "silence".
    """

    text: str
    segments: tuple[Segment, ...]
    words: tuple[Word, ...] | None
    language: str
    seconds_wall: float
    audio_seconds: float
    generation: int | None = None
    tokens: tuple[int, ...] = ()
    acceptance: float | None = None
    performed: str = "generate"
    cached: bool = False

    @property
    def rtfx(self) -> float:
        """Seconds of audio per second of work."""
        return self.audio_seconds / self.seconds_wall if self.seconds_wall else float("inf")


class Transcriber(Protocol):
    """Anything that turns a clip into a transcript."""

    def transcribe(self, clip: Clip, options: TranscribeOptions, cancelled: CancelPoll | None = None) -> Transcript:
        """Raises Cancelled soon after `cancelled()` turns true, BadParameter for options the model cannot follow."""
        ...


def is_silent(samples: np.ndarray[Any, Any], level_dbfs: float | None) -> bool:
    """Whether the RMS of `samples` lies below `level_dbfs` (full scale = 1.0); an empty clip is silent."""
    if level_dbfs is None:
        return False
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return bool(power < 10.0 ** (level_dbfs / 10.0))


def assemble(
    pieces: Sequence[TokenSegment], vocabulary: Vocabulary, tokenizer: Any, clip: Clip, options: TranscribeOptions
) -> Transcript:
    """Turn token segments into a transcript."""
    texts = [tokenizer.decode(vocabulary.text_tokens(list(piece.tokens))) for piece in pieces]
    segments = tuple(
        Segment(text.strip(), piece.start, min(piece.end, clip.seconds))
        for text, piece in zip(texts, pieces, strict=True)
        if text.strip()
    )
    return Transcript(
        text="".join(texts).strip(),
        segments=segments,
        words=None,
        language=options.language,
        seconds_wall=0.0,
        audio_seconds=clip.seconds,
        tokens=tuple(token for piece in pieces for token in piece.tokens),
    )


def transcribe_windows(
    decode: Callable[[int], WindowText], clip: Clip, options: TranscribeOptions, vocabulary: Vocabulary
) -> list[TokenSegment]:
    """Walk a clip's windows with any decoder: the one loop behind both transcribers.

    What a model claims to have heard after the clip's end is left out.
    """

    def silent(seek: int, frames: int) -> bool:
        return is_silent(clip.samples[seek * HOP : (seek + frames) * HOP], options.silence_dbfs)

    pieces = walk_windows(
        decode,
        content=content_frames(len(clip.samples)),
        timestamp_begin=vocabulary.timestamp_begin if options.with_timestamps(clip.seconds) else None,
        skip=silent,
        no_speech_threshold=options.no_speech_threshold,
        logprob_threshold=options.logprob_threshold,
    )
    return [piece for piece in pieces if piece.start < clip.seconds]


def window_at(features: torch.Tensor, seek: int) -> torch.Tensor:
    """The 3000 frames from `seek` on, padded with 0.0: float[mel_bins, 3000]."""
    from torch.nn import functional

    window = features[:, seek : seek + WINDOW_FRAMES]
    return functional.pad(window, (0, WINDOW_FRAMES - window.shape[1]))
