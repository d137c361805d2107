"""Speaks a plan of sentences on all cores and writes chunks that training picks up as they appear.

    python -m demo.speech.synthesise PLAN.jsonl --kit KIT --out FOLDER [--jobs N]

A plan line: {"text", "voice", "rate", "pitch"}. A chunk is an .npz with `samples` int16[total] (16 kHz), `lengths`
int64[n], and `lines` int64[n], the places in the plan.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from pathlib import Path

import numpy as np

from demo.speech.voices import SAMPLE_RATE, VoiceKit

CHUNK = 400  # sentences: about 20 minutes of speech, 40 MB
KEEP_SILENCE = int(0.06 * SAMPLE_RATE)  # samples left before and after the speech

_kit: VoiceKit | None = None


def trim(samples: np.ndarray, threshold: int = 150) -> np.ndarray:
    """Cuts the synthesiser's silence at both ends, so that sentence boundaries are the speech's own."""
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > threshold)
    if not len(loud):
        return samples
    return samples[max(0, loud[0] - KEEP_SILENCE) : loud[-1] + KEEP_SILENCE]


def speak(line: dict[str, object], kit: VoiceKit) -> np.ndarray:
    """One plan line as trimmed int16[n] at 16 kHz."""
    return trim(kit.speak(str(line["text"]), str(line["voice"]), rate=float(line["rate"]), pitch=float(line["pitch"])))


def _start(folder: Path) -> None:
    global _kit  # noqa: PLW0603 - one kit per process: the libraries are global anyway
    _kit = VoiceKit(folder)


def _write_chunk(job: tuple[int, list[tuple[int, dict[str, object]]], Path]) -> float:
    number, lines, out = job
    assert _kit is not None
    spoken = [(place, speak(line, _kit)) for place, line in lines]
    samples = np.concatenate([wave for _, wave in spoken])
    # The name ends in .tmp.npz until the chunk is whole: a reader may look at any moment.
    temporary = out / f"{number:05d}.tmp.npz"
    np.savez(
        temporary,
        samples=samples,
        lengths=np.array([len(wave) for _, wave in spoken]),
        lines=np.array([place for place, _ in spoken]),
    )
    os.replace(temporary, out / f"{number:05d}.npz")
    return len(samples) / SAMPLE_RATE


def synthesise(plan: list[dict[str, object]], kit: Path, out: Path, jobs: int) -> float:
    """Speaks the whole plan; returns the seconds of speech made."""
    out.mkdir(parents=True, exist_ok=True)
    numbered = list(enumerate(plan))
    work = [(i // CHUNK, numbered[i : i + CHUNK], out) for i in range(0, len(numbered), CHUNK)]
    seconds = 0.0
    with multiprocessing.get_context("spawn").Pool(jobs, _start, (kit,)) as pool:
        for made in pool.imap_unordered(_write_chunk, work):
            seconds += made
    (out / "done").touch()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--kit", type=Path, required=True, help="folder filled by fetch_voices.sh")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    plan = [json.loads(line) for line in arguments.plan.read_text(encoding="utf-8").splitlines()]
    seconds = synthesise(plan, arguments.kit, arguments.out, arguments.jobs)
    print(f"{len(plan)} sentences, {seconds / 3600:.1f} h of speech in {arguments.out}")


if __name__ == "__main__":
    main()
