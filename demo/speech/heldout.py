"""Renders the large held-out set: 307 sentences that nothing was trained on, three times each, over every voice and
condition.

    python -m demo.speech.heldout --kit KIT --out FOLDER

Every voice (20: those of A, those of B, those that nobody trained on) speaks in every condition (clean, street noise,
babble, telephone), which makes twelve groups; a sentence's three readings are by different voices. Writes
FOLDER/GROUP/NNNN.wav (16 kHz) and FOLDER/manifest.jsonl; the same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from demo.speech.degrade import add_at_snr, coloured_noise, telephone
from demo.speech.plan import PITCH
from demo.speech.render import TEXTS, write_wav
from demo.speech.synthesise import speak
from demo.speech.voices import SAMPLE_RATE, VOICES, VoiceKit

CONDITIONS = ("clean", "street", "babble", "telephone")
FAMILIES = {"A": "voices-of-a", "B": "voices-of-b", "unseen": "unseen-voices"}
READINGS = 3  # of each sentence
TEMPO = (0.85, 1.35)  # factors of the voice's own: from slow to fast speech
SNR = (5.0, 15.0)  # dB, of street noise and babble
LINE_SNR = 25.0  # dB, hiss of the telephone line
BABBLERS = 4  # voices that talk at once
TALK = range(150, 257)  # lines of the text (from 0) that are talk; what is around them is narrative and news
DIALECTS = {"ru-lv": "балтийский акцент"}
PEAK = 0.6


@dataclass(frozen=True)
class Reading:
    """One clip to make. `snr` in dB, None where nothing is added."""

    number: int
    text: str
    style: str
    voice: str
    condition: str
    rate: float
    pitch: float
    snr: float | None

    @property
    def group(self) -> str:
        return f"{FAMILIES[VOICES[self.voice].domain]}-{self.condition}"


def plan_readings(sentences: list[str], seed: int = 1) -> list[Reading]:
    """READINGS readings of every sentence; voices and conditions are dealt out evenly, like cards."""
    rng = random.Random(f"heldout-{seed}")
    cells = [(voice, condition) for voice in VOICES for condition in CONDITIONS]
    deck: list[tuple[str, str]] = []
    readings: list[Reading] = []
    said_by: dict[str, set[str]] = {}
    for text, style in _styled(sentences) * READINGS:
        if not deck:
            deck = rng.sample(cells, len(cells))
        said = said_by.setdefault(text, set())
        place = next((i for i, (voice, _) in enumerate(deck) if voice not in said), 0)
        voice, condition = deck.pop(place)
        said.add(voice)
        snr = {"clean": None, "telephone": LINE_SNR}.get(condition, round(rng.uniform(*SNR), 1))
        rate, pitch = round(rng.uniform(*TEMPO), 3), round(rng.uniform(*PITCH), 3)
        readings.append(Reading(len(readings), text, style, voice, condition, rate, pitch, snr))
    return readings


def _styled(sentences: list[str]) -> list[tuple[str, str]]:
    return [(text, "colloquial" if i in TALK else "formal") for i, text in enumerate(sentences)]


def render(readings: list[Reading], kit: VoiceKit, seed: int = 1) -> Iterator[tuple[dict[str, object], np.ndarray]]:
    """Manifest lines and their samples, int16[n] at 16 kHz."""
    spoken = []
    for reading in readings:
        ctypes.CDLL(None).srand(reading.number)  # espeak-ng's breathy voices draw their breath from the C library
        spoken.append(speak(vars(reading), kit))
    for reading, samples in zip(readings, spoken, strict=True):
        heard = put_into(reading, samples, spoken, seed)
        name = f"{reading.group}/{reading.number:04d}.wav"
        line = {
            "id": f"{reading.group}-{reading.number:04d}",
            "audio_filepath": name,
            "text": reading.text,
            "duration": round(len(heard) / SAMPLE_RATE, 3),
            "speaker": reading.voice,
            "style": reading.style,
            "noise": reading.condition,
            "group": reading.group,
        }
        if reading.snr is not None:
            line["snr_db"] = reading.snr
        if reading.voice in DIALECTS:
            line["dialect"] = DIALECTS[reading.voice]
        yield line, heard


def put_into(reading: Reading, samples: np.ndarray, others: list[np.ndarray], seed: int) -> np.ndarray:
    """The clip in its condition, at one loudness: int16[n] → int16[n]."""
    rng = random.Random(f"heldout-{seed}-{reading.number}")
    generator = torch.Generator().manual_seed(rng.getrandbits(40))
    speech = torch.from_numpy(samples.astype(np.float32) / 32768)[None]
    if reading.condition == "babble":
        noise = sum(np.resize(rng.choice(others), len(samples)).astype(np.float32) for _ in range(BABBLERS))
        background = torch.from_numpy(noise)[None]
    else:
        background = coloured_noise((1, len(samples)), torch.tensor([1.0]), generator)  # pink
    if reading.snr is not None:
        speech = add_at_snr(speech, background, torch.tensor([reading.snr]))
    if reading.condition == "telephone":
        speech = telephone(speech)
    return (speech[0] * (PEAK / speech.abs().max()) * 32767).round().short().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kit", type=Path, required=True, help="folder filled by fetch_voices.sh")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    readings = plan_readings((TEXTS / "heldout_300.txt").read_text(encoding="utf-8").splitlines(), arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    seconds = 0.0
    with (arguments.out / "manifest.jsonl").open("w", encoding="utf-8") as manifest:
        for line, samples in render(readings, VoiceKit(arguments.kit), arguments.seed):
            write_wav(arguments.out / str(line["audio_filepath"]), samples)
            manifest.write(json.dumps(line, ensure_ascii=False) + "\n")
            seconds += len(samples) / SAMPLE_RATE
    groups = len({reading.group for reading in readings})
    print(f"{len(readings)} clips, {seconds / 60:.1f} min, {groups} groups, {len(VOICES)} voices in {arguments.out}")


if __name__ == "__main__":
    main()
