"""Audio files → `AudioClip`: float32, mono, 16 kHz.

Decoding goes block by block with a cap on *decoded* samples, because the size of a compressed file says nothing about
the memory it asks for (FLAC silence packs more than 2,000 : 1). The decoder is chosen by what the bytes are, never by
the file's name: libsndfile first (wav, flac, ogg, mp3), FFmpeg through PyAV for the containers it does not know (m4a,
webm).
"""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.errors import AudioTooLong, BadAudio

SAMPLE_RATE = 16_000  # Hz; what every Whisper checkpoint was trained on
BLOCK_FRAMES = 65_536  # frames decoded at a time: at most 2 MiB for 8 channels of float32
# FFmpeg opens only containers that carry their own samples: playlists (hls, concat, …) name other files and URLs.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,mp3,aac,flac,wav,aiff,amr,asf,caf,w64"

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class AudioLimits:
    """What `load_clip` accepts. The defaults are those of a lab; a public Space gives 25 MB and 300 seconds.

    `max_samples` counts decoded samples of all channels at the file's own rate: what decoding costs.
    """

    max_bytes: int = 200_000_000
    max_seconds: float = 3_600.0
    min_seconds: float = 0.1
    min_rate: int = 4_000  # Hz
    max_rate: int = 192_000  # Hz
    max_channels: int = 8
    max_samples: int = 700_000_000

    def longest(self, rate: int, channels: int) -> float:
        """Seconds that a file of this layout may last."""
        return min(self.max_seconds, self.max_samples / (rate * channels))


@dataclass(frozen=True, eq=False)
class AudioClip:
    """`samples`: float32[n], mono, 16 kHz, nominally within ±1; `sha256`: of the file (without a file: of the
    samples)."""

    samples: Samples
    seconds: float
    sha256: str
    name: str
    sample_rate: int = SAMPLE_RATE

    @classmethod
    def from_samples(
        cls, samples: npt.ArrayLike, sample_rate: int, name: str = "recording", limits: AudioLimits | None = None
    ) -> "AudioClip":
        """A clip of samples that are in memory already (a microphone): [n] or [n, channels], float or integer PCM.

        Raises `BadAudio` and `AudioTooLong` as `load_clip` does.
        """
        limits = limits or AudioLimits()
        frames = np.asarray(samples)
        if np.issubdtype(frames.dtype, np.integer):
            frames = frames / -float(np.iinfo(frames.dtype).min or -1)
        frames = np.atleast_2d(frames.astype(np.float32).T).T
        mono = _to_mono_16k([frames], sample_rate, frames.shape[1], limits, name)
        return cls(mono, len(mono) / SAMPLE_RATE, hashlib.sha256(mono.tobytes()).hexdigest(), name)


def load_clip(path: str | Path, limits: AudioLimits | None = None) -> AudioClip:
    """Read an audio file of any supported container.

    Raises `BadAudio` (not audio, damaged, empty, shorter than `min_seconds`, samples that are not finite, a rate or
    channel count outside the limits) and `AudioTooLong` (as soon as the cap on bytes or decoded samples is passed).
    """
    path = Path(path)
    samples = decode(path, limits or AudioLimits())
    return AudioClip(samples, len(samples) / SAMPLE_RATE, file_sha256(path), path.name)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def decode(path: Path, limits: AudioLimits) -> Samples:
    """The samples of `load_clip`: float32[n], mono, 16 kHz. Raises what that raises."""
    import soundfile

    if not path.is_file():
        raise BadAudio(name=path.name, reason="missing")
    if path.stat().st_size > limits.max_bytes:
        raise AudioTooLong(name=path.name, limit=limits.max_bytes / 1e6, unit="MB")
    if path.stat().st_size == 0:
        raise BadAudio(name=path.name, reason="nothing")
    try:
        with soundfile.SoundFile(path) as sound:
            blocks = sound.blocks(BLOCK_FRAMES, dtype="float32", always_2d=True)
            return _to_mono_16k(blocks, sound.samplerate, sound.channels, limits, path.name)
    except soundfile.LibsndfileError as error:
        if error.code != 1:  # 1: format not recognised, FFmpeg's turn; all else: a damaged file of a known format
            raise BadAudio(name=path.name, reason="damaged") from error
    return _decode_with_ffmpeg(path, limits)


def _decode_with_ffmpeg(path: Path, limits: AudioLimits) -> Samples:
    import av

    try:
        # An open file, not a name: FFmpeg gets no say in which protocol is used.
        with path.open("rb") as file, av.open(file, options={"format_whitelist": CONTAINERS}) as container:
            if not container.streams.audio:
                raise BadAudio(name=path.name, reason="no_audio")
            stream = container.streams.audio[0]
            _check_layout(stream.rate, stream.channels, limits, path.name)
            blocks = _ffmpeg_blocks(container, stream, av.AudioResampler(format="fltp"))
            return _to_mono_16k(blocks, stream.rate, stream.channels, limits, path.name)
    except (av.error.FFmpegError, ValueError, UnicodeError) as error:
        raise BadAudio(name=path.name, reason="unreadable") from error


def _ffmpeg_blocks(container: Any, stream: Any, to_float: Any) -> Iterator[Samples]:
    for frame in container.decode(stream):
        for block in to_float.resample(frame):
            yield block.to_ndarray().T


def _check_layout(rate: int, channels: int, limits: AudioLimits, name: str) -> None:
    if not limits.min_rate <= rate <= limits.max_rate:
        raise BadAudio(name=name, reason="rate", value=rate)
    if not 1 <= channels <= limits.max_channels:
        raise BadAudio(name=name, reason="channels", value=channels)


def _to_mono_16k(blocks: Iterable[Samples], rate: int, channels: int, limits: AudioLimits, name: str) -> Samples:
    """Blocks of float32[frames, channels] at `rate` → float32[n] at 16 kHz; channels' mean, resampled by soxr."""
    import soxr  # type: ignore[import-untyped]

    _check_layout(rate, channels, limits, name)
    resampler = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
    parts: list[Samples] = []
    longest = limits.longest(rate, channels)
    frames, most = 0, math.floor(longest * rate)
    for block in blocks:
        frames += len(block)
        if frames > most:
            raise AudioTooLong(name=name, limit=round(longest, 1), unit="s")
        mono = block.mean(axis=1, dtype=np.float32)
        if not np.isfinite(mono).all():
            raise BadAudio(name=name, reason="not_finite")
        parts.append(mono if resampler is None else resampler.resample_chunk(mono))
    if frames == 0:
        raise BadAudio(name=name, reason="empty")
    if frames < limits.min_seconds * rate:
        raise BadAudio(name=name, reason="short", value=frames / rate)
    if resampler is not None:
        parts.append(resampler.resample_chunk(np.empty(0, np.float32), last=True))
    return np.ascontiguousarray(np.concatenate(parts), dtype=np.float32)
