"""From the tokens of one 30 s window to segments, and to the frame where the next window starts.

The rules are those of the long-form algorithm (Radford et al. 2022, arXiv:2212.04356, §4.5, without its temperature
fallback) as `WhisperForConditionalGeneration.generate` applies them. One encoder position is two log-mel frames, 20 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evaluation.features import WINDOW_FRAMES

FRAMES_PER_SECOND = 100
FRAMES_PER_POSITION = 2
SECONDS_PER_POSITION = FRAMES_PER_POSITION / FRAMES_PER_SECOND  # 0.02 s, the step of timestamp tokens


@dataclass(frozen=True)
class TokenSegment:
    """Tokens written between two moments of the clip, in seconds; the tokens include their timestamps.

    `seek` is the first frame of the window that they were written for.
    """

    start: float
    end: float
    tokens: tuple[int, ...]
    seek: int = 0


def split_window(
    tokens: Sequence[int], timestamp_begin: int, seek: int, frames: int
) -> tuple[list[TokenSegment], int]:
    """Cut one window's tokens into segments; return them and the number of frames to move on by.

    `seek` is the window's first frame, `frames` how many frames of the clip it holds (at most 3000).
    A pair of timestamps ends a segment. Tokens after the last pair belong to an utterance that the window's end cuts
    off: they are thrown away, and the next window starts at that pair. A single timestamp at the very end says that
    nothing follows, so the whole window is done.
    """
    offset = seek / FRAMES_PER_SECOND
    is_timestamp = [token >= timestamp_begin for token in tokens]
    single_ending = is_timestamp[-2:] == [False, True]
    cuts = [i + 1 for i in range(len(tokens) - 1) if is_timestamp[i] and is_timestamp[i + 1]]
    if not cuts:
        end = offset + _last_moment(tokens, timestamp_begin, frames)
        return [TokenSegment(offset, end, tuple(tokens), seek)], frames
    if single_ending:
        cuts.append(len(tokens))
    else:
        cuts[-1] += 1
    segments, first = [], 0
    for number, cut in enumerate(cuts):
        piece = tuple(tokens[first:cut])
        closing = -2 if number == len(cuts) - 1 and not single_ending else -1
        start, end = piece[0] - timestamp_begin, piece[closing] - timestamp_begin
        segments.append(
            TokenSegment(offset + start * SECONDS_PER_POSITION, offset + end * SECONDS_PER_POSITION, piece, seek)
        )
        first = cut
    if single_ending:
        return segments, frames
    return segments, (tokens[first - 2] - timestamp_begin) * FRAMES_PER_POSITION


def _last_moment(tokens: Sequence[int], timestamp_begin: int, frames: int) -> float:
    """Seconds from the window's start to the end of its only segment."""
    stamps = [token for token in tokens if token >= timestamp_begin]
    if stamps and stamps[-1] != timestamp_begin:
        return (stamps[-1] - timestamp_begin) * SECONDS_PER_POSITION
    return int(frames / FRAMES_PER_POSITION) * SECONDS_PER_POSITION


@dataclass(frozen=True)
class WindowText:
    """What a decoder wrote for one window: tokens without prompt and end token.

    no_speech_probability: of <|nospeech|> right after the start token; 0.0 where the model has no such token.
    mean_logprob: computes, when asked, the mean log probability of the written tokens and the end token.
    """

    tokens: tuple[int, ...]
    no_speech_probability: float
    mean_logprob: Callable[[], float]


DecodeWindow = Callable[[int], WindowText]


def walk_windows(
    decode: DecodeWindow,
    *,
    content: int,
    timestamp_begin: int | None,
    skip: Callable[[int, int], bool],
    no_speech_threshold: float | None,
    logprob_threshold: float,
) -> list[TokenSegment]:
    """Decode a clip of `content` frames window by window; `decode(seek)` hears 3000 frames from frame `seek`.

    Without `timestamp_begin` each window is one segment. `skip(seek, frames)` tells that the frames need no model
    (silence). A window is also dropped when the model holds it for speechless *and* is unsure of what it wrote (both
    thresholds, as in arXiv:2212.04356, §4.5).
    """
    pieces: list[TokenSegment] = []
    seek = 0
    while seek < content:
        frames = min(WINDOW_FRAMES, content - seek)
        if skip(seek, frames):
            seek += frames
            continue
        written = decode(seek)
        doubtful = no_speech_threshold is not None and written.no_speech_probability > no_speech_threshold
        if doubtful and written.mean_logprob() < logprob_threshold:
            seek += frames
            continue
        if timestamp_begin is None:
            end = (seek + frames) / FRAMES_PER_SECOND
            segments, advance = [TokenSegment(seek / FRAMES_PER_SECOND, end, written.tokens, seek)], frames
        else:
            segments, advance = split_window(written.tokens, timestamp_begin, seek, frames)
        pieces += segments
        seek += advance if advance > 0 else frames
    return pieces
