"""Sound inside the report."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.audio import SAMPLE_RATE, load_clip

AUDIO_SECONDS = 30.0  # longer examples are shown without sound, so that the file stays small


def player(line: Mapping[str, Any], audio: Mapping[str, Path]) -> str:
    """An <audio> element that holds the clip, or nothing where it is too long or its file is gone."""
    path = audio.get(line["clip"])
    if path is None or line["seconds"] > AUDIO_SECONDS or not path.is_file():
        return ""
    return f'<audio controls preload="none" src="data:audio/mpeg;base64,{_mp3(path)}"></audio>'


def _mp3(path: Path) -> str:
    """The clip as 16 kHz mono MP3, which every browser plays, in base64."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, load_clip(path).samples, SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III")
    return base64.b64encode(buffer.getvalue()).decode()
