"""A running workshop on tiny real models, and clips to hear."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import TinyPair
from ui.local_executor import LocalExecutor
from ui.settings import Settings
from ui.workshop import Workshop

OWNER = "owner-" + "x" * 20
EVIL = "${alert(1)} <img src=x onerror=alert(2)>"  # a name, a text, a note that would run if it were not text


def write_tone(path: Path, seconds: float = 1.5, pitch: float = 220.0, rate: int = 16_000) -> Path:
    """A wavering tone, loud enough for every silence gate."""
    import soundfile

    t = np.arange(int(seconds * rate)) / rate
    soundfile.write(path, 0.4 * np.sin(2 * np.pi * pitch * t) * np.abs(np.sin(2 * np.pi * 1.3 * t)), rate)
    return path


@pytest.fixture(scope="session")
def demo_folder(tiny_pair: TinyPair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`models/{base,a,b}` and `samples/` as the demo has them (the tiny pair, tones); `more/` holds a bad name."""
    root = tmp_path_factory.mktemp("demo")
    for role in ("base", "a", "b"):
        shutil.copytree(getattr(tiny_pair, role), root / "models" / role)
    shutil.copytree(tiny_pair.b, root / "more" / EVIL)
    samples = root / "samples"
    samples.mkdir()
    texts = ["Первая запись звучит высоко", "Вторая", f"Третья {EVIL}"]
    rows = []
    for number, text in enumerate(texts):
        write_tone(samples / f"{number}.wav", pitch=180.0 + 90 * number)
        rows.append({"audio_filepath": f"{number}.wav", "text": text, "duration": 1.5, "style": "formal"})
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (samples / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


@pytest.fixture
def settings(demo_folder: Path, tmp_path: Path) -> Settings:
    return Settings(
        data=tmp_path / "data",
        export_root=tmp_path / "exports",
        demo_models=demo_folder / "models",
        samples=demo_folder / "samples",
        device="cpu",
        hub=False,
    )


@pytest.fixture
def workshop(settings: Settings, tmp_path: Path) -> Iterator[Workshop]:
    from ui import views

    views.load()
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    workshop = Workshop(settings, uploads=uploads, executors=[LocalExecutor("cpu")])
    yield workshop
    workshop.close()
