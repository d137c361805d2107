"""Log-mel spectrograms on the device, as Whisper hears them (Radford et al. 2022, arXiv:2212.04356, §2.2).

The arithmetic is that of `transformers.WhisperFeatureExtractor`, operation by operation, but the result stays on the
device and is shared by every model that listens to the clip.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # the server needs the constants, and torch only where something is computed
    import torch

SAMPLE_RATE = 16_000  # Hz
N_FFT = 400  # samples = 25 ms
HOP = 160  # samples = 10 ms
WINDOW_SECONDS = 30
WINDOW_SAMPLES = WINDOW_SECONDS * SAMPLE_RATE  # 480,000
WINDOW_FRAMES = WINDOW_SAMPLES // HOP  # 3000
DYNAMIC_RANGE = 8.0  # log10 units kept below the clip's maximum


@lru_cache(maxsize=8)
def mel_filters(mel_bins: int, device: str) -> torch.Tensor:
    """Slaney-normalised triangular filters from 0 to 8 kHz, float32[mel_bins, 201] on `device`."""
    import torch
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=1 + N_FFT // 2,
        num_mel_filters=mel_bins,
        min_frequency=0.0,
        max_frequency=SAMPLE_RATE / 2,
        sampling_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters).to(device, torch.float32).T


def content_frames(sample_count: int) -> int:
    """Frames that carry audio, not padding: whole 10 ms hops of a long clip, rounded up for a clip of one window."""
    if sample_count > WINDOW_SAMPLES:
        return sample_count // HOP
    return -(-sample_count // HOP)


def log_mel(samples: np.ndarray[Any, Any] | torch.Tensor, mel_bins: int, *, device: str | torch.device) -> torch.Tensor:
    """Return the log-mel spectrogram of 16 kHz mono audio: float32[mel_bins, 3000·windows] on `device`.

    `samples` is float32[n] in [-1, 1]. A clip of at most 30 s is padded with silence to one window before the
    transform; a longer one is transformed whole (its maximum sets the floor for all windows) and its *features* are
    padded with 0.0 to a multiple of 3000 frames, both as `WhisperFeatureExtractor` and `generate` do.
    Differs from the extractor by at most 1e-5 (by nothing on the same CPU).
    """
    import torch

    wave = torch.as_tensor(samples, dtype=torch.float32, device=device)
    if wave.ndim != 1:
        raise ValueError(f"samples must be one-dimensional, got shape {tuple(wave.shape)}")
    if wave.numel() < WINDOW_SAMPLES:
        wave = torch.nn.functional.pad(wave, (0, WINDOW_SAMPLES - wave.numel()))
    window = torch.hann_window(N_FFT, device=wave.device)
    spectrum = torch.stft(wave[None], N_FFT, HOP, window=window, return_complex=True)
    power = (spectrum[..., :-1].abs() ** 2).contiguous()
    log_spectrum = torch.clamp(mel_filters(mel_bins, str(wave.device)) @ power, min=1e-10).log10()[0]
    log_spectrum = torch.maximum(log_spectrum, log_spectrum.max() - DYNAMIC_RANGE)
    features = (log_spectrum + 4.0) / 4.0
    missing = -features.shape[1] % WINDOW_FRAMES
    return torch.nn.functional.pad(features, (0, missing)) if missing else features
