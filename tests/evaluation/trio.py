"""Base, A and B as folders, and a small corpus of noises, for the tests of whole evaluations."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from tests.conftest import TinyPair
from tests.factories import make_whisper_folder


@pytest.fixture(scope="session")
def trio(tmp_path_factory: pytest.TempPathFactory) -> TinyPair:
    root = tmp_path_factory.mktemp("trio")
    base = make_whisper_folder(root / "base", seed=1)
    return TinyPair(
        base,
        make_whisper_folder(root / "a", seed=2, ancestor=base),
        make_whisper_folder(root / "b", seed=3, ancestor=base),
    )


def load(folder: Path) -> tuple[Any, Any]:
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    module = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    return module, WhisperProcessor.from_pretrained(folder)


def write_corpus(folder: Path, clips: int = 6) -> Path:
    """`clips` noises of two speakers with references, and their manifest."""
    rng = np.random.default_rng(11)
    lines = []
    for number in range(clips):
        seconds = 0.5 + 0.3 * number
        name = f"clip{number}.wav"
        soundfile.write(folder / name, rng.normal(0, 0.1, int(16_000 * seconds)), 16_000)
        lines.append(
            {
                "audio_filepath": name,
                "text": ["один два три", "нет стола и дома", "всё ещё идёт дождь"][number % 3],
                "duration": seconds,
                "id": f"clip{number}",
                "speaker": f"s{number % 2}",
                "style": "formal" if number % 2 else "colloquial",
                "noise": "clean",
            }
        )
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path
