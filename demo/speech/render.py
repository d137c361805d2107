"""Renders the held-out test sets: project-written sentences, spoken by the domains' own and by unseen voices.

    python -m demo.speech.render --kit KIT --out FOLDER [--sentences 120]

Writes FOLDER/SET/NNN.wav (16 kHz) and FOLDER/manifest.jsonl, one line per clip. Babble is made of the set's other
clips.
"""

from __future__ import annotations

import argparse
import json
import random
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from demo.speech.degrade import CLEAN, NOISY, Conditions, degrade
from demo.speech.plan import PITCH, TEMPO
from demo.speech.synthesise import speak
from demo.speech.voices import SAMPLE_RATE, VoiceKit, voices_of

TEXTS = Path(__file__).resolve().parent.parent / "text"


@dataclass(frozen=True)
class TestSet:
    """A group of held-out clips. `tempo` is a range of factors of the voice's own tempo."""

    texts: str
    voices: tuple[str, ...]
    conditions: Conditions | None  # None: nothing is done to the synthesiser's output
    tempo: tuple[float, float]
    noise: str


def _names(domain: str) -> tuple[str, ...]:
    return tuple(voice.name for voice in voices_of(domain))


TEST_SETS = {
    "a": TestSet("formal", _names("A"), None, TEMPO["A"], "clean"),
    "b": TestSet("colloquial", _names("B"), NOISY, TEMPO["B"], "telephone and noise"),
    "unseen": TestSet("both", ("Anna",), None, TEMPO["A"], "clean"),
    "formal-noisy": TestSet("formal", _names("B"), NOISY, TEMPO["B"], "telephone and noise"),
    "colloquial-clean": TestSet("colloquial", _names("A"), None, TEMPO["A"], "clean"),
    "unseen-espeak": TestSet("both", ("ru+f4", "ru+linda", "ru+belinda"), CLEAN, TEMPO["A"], "clean"),
    "unseen-rutts": TestSet("both", ("rutts-female",), CLEAN, (0.9, 1.1), "clean"),
}


def sentences_of(name: str, count: int) -> list[tuple[str, str]]:
    """The first `count` held-out sentences as (style, text); `both` takes turns."""
    styles = ("formal", "colloquial") if name == "both" else (name,)
    files = {style: (TEXTS / f"test_{style}.txt").read_text(encoding="utf-8").splitlines() for style in styles}
    turns = [
        (style, text) for pair in zip(*files.values(), strict=False) for style, text in zip(styles, pair, strict=True)
    ]
    return turns[:count]


def render_set(name: str, kit: VoiceKit, count: int, seed: int = 1) -> list[tuple[dict[str, object], np.ndarray]]:
    """Manifest lines and their samples, int16[n] at 16 kHz."""
    test, rng = TEST_SETS[name], random.Random(f"{name}-{seed}")
    lines, spoken = [], []
    for number, (style, text) in enumerate(sentences_of(test.texts, count)):
        voice, rate, pitch = rng.choice(test.voices), rng.uniform(*test.tempo), rng.uniform(*PITCH)
        spoken.append(speak({"text": text, "voice": voice, "rate": rate, "pitch": pitch}, kit))
        lines.append(
            {
                "id": f"{name}-{number:03d}",
                "audio_filepath": f"{name}/{number:03d}.wav",
                "text": text,
                "duration": round(len(spoken[-1]) / SAMPLE_RATE, 3),
                "speaker": voice,
                "style": style,
                "noise": test.noise,
                "set": name,
                "tempo_factor": round(rate, 2),
            }
        )
    if test.conditions is not None:
        spoken = [degrade_clip(clip, test.conditions, spoken, f"{name}-{i}-{seed}") for i, clip in enumerate(spoken)]
    return list(zip(lines, spoken, strict=True))


def degrade_clip(clip: np.ndarray, conditions: Conditions, others: list[np.ndarray], seed: str) -> np.ndarray:
    """One clip through the conditions; babble is four other clips, repeated to the clip's length."""
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(rng.getrandbits(40))
    babble = sum(np.resize(rng.choice(others), len(clip)).astype(np.float32) for _ in range(4)) / 32768
    heard = degrade(
        torch.from_numpy(clip.astype(np.float32) / 32768)[None], conditions, torch.from_numpy(babble)[None], generator
    )
    return (heard[0].clamp(-1, 1) * 32767).round().short().numpy()


def write_wav(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.astype("<i2").tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kit", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sentences", type=int, default=120, help="clips per set")
    parser.add_argument("--sets", nargs="+", choices=TEST_SETS, default=list(TEST_SETS))
    arguments = parser.parse_args()
    kit = VoiceKit(arguments.kit)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "manifest.jsonl").open("w", encoding="utf-8") as manifest:
        for name in arguments.sets:
            for line, samples in render_set(name, kit, arguments.sentences):
                write_wav(arguments.out / str(line["audio_filepath"]), samples)
                manifest.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
