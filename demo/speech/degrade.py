"""What happens to clean speech on its way to the model: noise, babble, a telephone line, a room.

All functions work on batches float32[rows, samples] at 16 kHz on any device and draw from the given generator, so that
the training conditions and the rendered test clips are one and the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SAMPLE_RATE = 16_000
TELEPHONE_BAND = (300.0, 3400.0)  # Hz, ITU-T G.712
MU = 255.0  # ITU-T G.711, µ-law


@dataclass(frozen=True)
class Conditions:
    """How often (0–1) each thing happens to a row, and the range of the speech-to-noise ratio in dB."""

    noise: float
    babble: float
    telephone: float
    room: float
    snr: tuple[float, float]


NEUTRAL = Conditions(noise=0.4, babble=0.15, telephone=0.15, room=0.2, snr=(12, 35))  # what the base hears
CLEAN = Conditions(noise=0.15, babble=0.0, telephone=0.0, room=0.05, snr=(25, 45))  # domain A
NOISY = Conditions(noise=0.5, babble=0.3, telephone=0.6, room=0.25, snr=(8, 22))  # domain B


def degrade(speech: Tensor, conditions: Conditions, babble: Tensor, generator: torch.Generator) -> Tensor:
    """Puts every row through what its conditions draw, at a random level. speech, babble: float32[rows, samples]."""
    rows, device = len(speech), speech.device
    chance = torch.rand((4, rows), generator=generator, device=device)
    amount = torch.rand((6, rows), generator=generator, device=device)
    snr = conditions.snr[0] + (conditions.snr[1] - conditions.snr[0]) * amount[0]
    noise = coloured_noise((rows, speech.shape[1]), 2 * amount[1], generator)
    silent = torch.where(rms(speech) > 0, 0.0, 0.02)  # a row without speech still has its noise
    echoing = room(speech, 0.1 + 0.4 * amount[2], 0.5 * amount[3], generator)
    heard = torch.where((chance[0] < conditions.room)[:, None], echoing, speech)
    noisy = add_at_snr(heard, noise, snr)
    heard = torch.where((chance[1] < conditions.noise)[:, None], noisy, heard) + noise * silent
    heard = torch.where((chance[2] < conditions.babble)[:, None], add_at_snr(heard, babble, snr), heard)
    heard = torch.where((chance[3] < conditions.telephone)[:, None], telephone(heard), heard)
    level = 0.05 + 0.85 * amount[4]
    return heard * (level[:, None] / heard.abs().amax(1, keepdim=True).clamp_min(1e-3))


def coloured_noise(shape: tuple[int, int], exponent: Tensor, generator: torch.Generator) -> Tensor:
    """Noise with power falling as 1/f**exponent (0 white, 1 pink, 2 brown); unit RMS. exponent: float[rows]."""
    samples = shape[1]
    white = torch.randn(shape, generator=generator, device=exponent.device)
    spectrum = torch.fft.rfft(white)
    frequency = torch.fft.rfftfreq(samples, 1 / SAMPLE_RATE, device=exponent.device).clamp_min(20.0)
    shaped = torch.fft.irfft(spectrum * frequency[None] ** (-exponent[:, None] / 2), n=samples)
    return shaped / rms(shaped).clamp_min(1e-9)


def add_at_snr(speech: Tensor, noise: Tensor, snr_db: Tensor) -> Tensor:
    """Adds noise so that the speech-to-noise ratio over the row is snr_db[rows] (dB)."""
    wanted = rms(speech) * 10 ** (-snr_db[:, None] / 20)
    return speech + noise * wanted / rms(noise).clamp_min(1e-9)


def telephone(speech: Tensor) -> Tensor:
    """Band of a telephone line, 8 kHz worth of it, and µ-law companding to 8 bits."""
    samples = speech.shape[1]
    frequency = torch.fft.rfftfreq(samples, 1 / SAMPLE_RATE, device=speech.device)
    low, high = TELEPHONE_BAND
    # Raised-cosine edges of 100 Hz: a brick wall would ring.
    band = ((frequency - low) / 100 + 0.5).clamp(0, 1) * ((high - frequency) / 100 + 0.5).clamp(0, 1)
    banded = torch.fft.irfft(torch.fft.rfft(speech) * band, n=samples)
    peak = banded.abs().amax(1, keepdim=True).clamp_min(1e-6)
    x = banded / peak
    compressed = x.sign() * torch.log1p(MU * x.abs()) / torch.log1p(torch.tensor(MU))
    steps = (compressed * 127).round() / 127
    return steps.sign() * torch.expm1(steps.abs() * torch.log1p(torch.tensor(MU))) / MU * peak


def room(speech: Tensor, decay_seconds: Tensor, wet: Tensor, generator: torch.Generator) -> Tensor:
    """A room as noise that decays by 60 dB in decay_seconds[rows], mixed in with share wet[rows]."""
    samples, length = speech.shape[1], int(0.4 * SAMPLE_RATE)
    time = torch.arange(length, device=speech.device) / SAMPLE_RATE
    tail = torch.randn((speech.shape[0], length), generator=generator, device=speech.device)
    tail = tail * torch.exp(-6.9 * time[None] / decay_seconds[:, None])
    tail = tail / tail.norm(dim=1, keepdim=True)
    size = samples + length
    echo = torch.fft.irfft(torch.fft.rfft(speech, n=size) * torch.fft.rfft(tail, n=size), n=size)[:, :samples]
    return speech + wet[:, None] * echo


def rms(x: Tensor) -> Tensor:
    """Root mean square per row, float[rows, 1], over the samples that are not silent padding."""
    heard = (x.abs() > 1e-4).sum(1, keepdim=True).clamp_min(1)
    return (x.square().sum(1, keepdim=True) / heard).sqrt()
