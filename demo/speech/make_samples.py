"""Speaks the sample clips of the app and writes demo/samples/*.ogg with their manifest.

    python -m demo.speech.make_samples --kit KIT [--out demo/samples]

Texts are in demo/text/samples.jsonl. Voices are dealt out in turn, so that every voice of a domain is heard.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from itertools import cycle
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from demo.speech.degrade import add_at_snr, coloured_noise, room, telephone
from demo.speech.render import TEXTS
from demo.speech.synthesise import speak
from demo.speech.voices import SAMPLE_RATE, VoiceKit

TEMPO = {"slow": 0.88, "normal": 1.0, "fast": 1.2}  # factors of the voice's own tempo
VOICES = {
    "A-domain": ("Irina", "Aleksandr", "Elena"),
    "B-domain": ("ru+m1", "ru+f2", "ru+Denis", "rutts-male", "ru+Annie", "ru+m7"),
    "unseen": ("Anna", "ru+linda"),
}
BALTIC = "ru-lv"
SNR_DB = {"babble": 15.0, "street": 14.0, "telephone": 22.0}


def in_noise(clip: np.ndarray, noise: str, babble: np.ndarray, seed: int) -> np.ndarray:
    """int16[n] → int16[n] after a telephone line, a street or a crowd; `clean` is left as it is."""
    if noise == "clean":
        return clip
    generator = torch.Generator().manual_seed(seed)
    speech = torch.from_numpy(clip.astype(np.float32) / 32768)[None]
    snr = torch.tensor([SNR_DB[noise]])
    heard = _NOISES[noise](speech, torch.from_numpy(babble)[None], snr, generator)
    heard = 0.6 * heard / heard.abs().max()
    return (heard[0] * 32767).round().short().numpy()


def _street(speech: Tensor, _babble: Tensor, snr: Tensor, generator: torch.Generator) -> Tensor:
    return add_at_snr(speech, coloured_noise((1, speech.shape[1]), torch.tensor([1.5]), generator), snr)


def _crowd(speech: Tensor, babble: Tensor, snr: Tensor, generator: torch.Generator) -> Tensor:
    return add_at_snr(room(speech, torch.tensor([0.3]), torch.tensor([0.2]), generator), babble, snr)


def _line(speech: Tensor, _babble: Tensor, snr: Tensor, generator: torch.Generator) -> Tensor:
    return telephone(add_at_snr(speech, coloured_noise((1, speech.shape[1]), torch.tensor([1.0]), generator), snr))


_NOISES = {"street": _street, "babble": _crowd, "telephone": _line}


def make(kit: VoiceKit, out: Path) -> list[dict[str, object]]:
    """Writes the clips and returns their manifest lines."""
    samples = [json.loads(line) for line in (TEXTS / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    turns = {hint: cycle(names) for hint, names in VOICES.items()}
    spoken = []
    for sample in samples:
        sample["speaker"] = BALTIC if sample["dialect"] else next(turns[sample["voice_hint"]])
        rate = TEMPO[sample["tempo"]]
        spoken.append(speak({"text": sample["text"], "voice": sample["speaker"], "rate": rate, "pitch": 1.0}, kit))
    lines = []
    out.mkdir(parents=True, exist_ok=True)
    for number, (sample, clip) in enumerate(zip(samples, spoken, strict=True)):
        others = [np.resize(spoken[(number + 5 * k) % len(spoken)], len(clip)) for k in range(1, 5)]
        babble = np.sum(others, axis=0, dtype=np.float32) / 32768
        heard = in_noise(clip, sample["noise"], babble, seed=number)
        path = out / f"{sample['id']}.ogg"
        soundfile.write(path, heard, SAMPLE_RATE, format="OGG", subtype="VORBIS")
        lines.append(_manifest_line(sample, path, len(heard) / SAMPLE_RATE))
    return lines


def _manifest_line(sample: dict[str, object], path: Path, seconds: float) -> dict[str, object]:
    kept = {key: sample[key] for key in ("id", "text", "style", "dialect", "noise", "tempo", "title_ru", "title_en")}
    return {
        "audio_filepath": path.name,
        "duration": round(seconds, 3),
        "speaker": sample["speaker"],
        "domain": str(sample["voice_hint"]).removesuffix("-domain"),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        **kept,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kit", type=Path, required=True, help="folder filled by fetch_voices.sh")
    parser.add_argument("--out", type=Path, default=TEXTS.parent / "samples")
    arguments = parser.parse_args()
    lines = make(VoiceKit(arguments.kit), arguments.out)
    manifest = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (arguments.out / "manifest.jsonl").write_text(manifest, encoding="utf-8")


if __name__ == "__main__":
    main()
