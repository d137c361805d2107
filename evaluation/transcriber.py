"""What a transcription is, and the plain way to get one: transformers' `generate`, greedy.

`HuggingFaceTranscriber` is the oracle that the fast engine is tested against and the fallback for models that the
engine does not know. All times are seconds from the start of the clip.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from evaluation.features import HOP, WINDOW_FRAMES, WINDOW_SECONDS, content_frames, log_mel
from evaluation.vocabulary import Vocabulary, bad_option
from evaluation.windows import TokenSegment, WindowText, walk_windows
from merger.bilingual import Text
from merger.errors import Cancelled

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
    strict: in draft verification, decide near ties by one-token arithmetic, so that the result is bit-exactly that
        of plain greedy decoding.
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
    seconds_wall: time that this transcription took; for a cached one, what it took when it was made.
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
    window = features[:, seek : seek + WINDOW_FRAMES]
    return torch.nn.functional.pad(window, (0, WINDOW_FRAMES - window.shape[1]))


class HuggingFaceTranscriber:
    """Greedy transcription by transformers' own `generate`, one call per window.

    `module` is a `WhisperForConditionalGeneration`, `processor` its `WhisperProcessor`. One thread at a time may use a
    module. Its attention implementation and generation config are left as they were.
    """

    def __init__(self, module: Any, processor: Any) -> None:
        self.module = module
        self.tokenizer = processor.tokenizer
        self.vocabulary = Vocabulary.of(module, self.tokenizer)

    @torch.inference_mode()
    def transcribe(self, clip: Clip, options: TranscribeOptions, cancelled: CancelPoll | None = None) -> Transcript:
        """See `Transcriber.transcribe`."""
        started = time.perf_counter()
        timestamps = options.with_timestamps(clip.seconds)
        prompt = self.vocabulary.prompt(options.language, options.task, timestamps)
        features = log_mel(clip.samples, self.module.config.num_mel_bins, device=self.module.device)
        features = features.to(self.module.dtype)

        def decode(seek: int) -> WindowText:
            return self._decode(window_at(features, seek), prompt, timestamps, options, cancelled)

        pieces = transcribe_windows(decode, clip, options, self.vocabulary)
        transcript = assemble(pieces, self.vocabulary, self.tokenizer, clip, options)
        if options.word_times:
            from evaluation.engine.timing import ModuleTimer

            words = ModuleTimer(self.module, self.tokenizer, self.vocabulary).words(features, pieces, clip, options)
            transcript = replace(transcript, words=words)
        return replace(transcript, seconds_wall=time.perf_counter() - started)

    def _decode(
        self,
        window: torch.Tensor,
        prompt: list[int],
        timestamps: bool,
        options: TranscribeOptions,
        cancelled: CancelPoll | None,
    ) -> WindowText:
        from transformers.modeling_outputs import BaseModelOutput

        settings = self.vocabulary.generation_config(self.module)
        if self.vocabulary.prompt_language:
            settings.language, settings.task = f"<|{options.language}|>", options.task
        # generate adds the prompt's length to max_length and cuts at the last position
        settings.max_length = self.vocabulary.new_token_limit(len(prompt), options.max_new_tokens)
        settings.num_beams, settings.do_sample = 1, False
        heard = self.module.model.encoder(window[None]).last_hidden_state
        with _quiet():
            output = self.module.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=heard),
                generation_config=settings,
                return_timestamps=timestamps,
                force_unique_generate_call=True,
                temperature=0.0,
                stopping_criteria=_stop_when(cancelled),
            )
        tokens = output[0].tolist()[len(prompt) :]
        if self.vocabulary.end in tokens:
            tokens = tokens[: tokens.index(self.vocabulary.end)]
        known = self.vocabulary.no_speech

        def logprobs(extra: list[int]) -> torch.Tensor:
            ids = torch.tensor([prompt + extra], device=heard.device)
            forced = self.module(encoder_outputs=BaseModelOutput(last_hidden_state=heard), decoder_input_ids=ids)
            return torch.log_softmax(forced.logits[0].float(), dim=-1)

        def mean_logprob() -> float:
            targets = torch.tensor([*tokens, self.vocabulary.end], device=heard.device)
            return float(logprobs(tokens)[len(prompt) - 1 :].gather(1, targets[:, None]).mean())

        probability = 0.0 if known is None else float(logprobs([])[0, known].exp())
        return WindowText(tuple(tokens), probability, mean_logprob)


@contextmanager
def _quiet() -> Iterator[None]:
    """Mute the deprecation notes that `generate` writes about the way it calls itself."""
    logger = logging.getLogger("transformers.generation")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _stop_when(cancelled: CancelPoll | None) -> Any:
    """Stopping criteria that leave `generate` by raising Cancelled."""
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Stop(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
            if cancelled is not None and cancelled():
                raise Cancelled
            return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([Stop()])
