"""The raw predictions of a run: one JSON line per (weights, decoding, clip), kept as they were written.

Scoring reads them again and again; only a clip that is not there yet has to be transcribed.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FILE_NAME = "predictions.jsonl"

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Prediction:
    """What one system wrote for one clip. `model`: the system's key; `decoding`: hash of the options; `clip`: hash of
    the audio file; `seconds_wall`: the clip's share of its batch's time."""

    system: str
    model: str
    decoding: str
    clip: str
    id: str
    text: str
    audio_seconds: float
    seconds_wall: float
    performed: str

    @property
    def key(self) -> Key:
        return (self.model, self.decoding, self.clip)


class PredictionFile:
    """Appends whole batches, each forced to disk; a line that a kill cut off is dropped when the file is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[Key, Prediction] = {}
        if path.exists():
            self._repair()
            self.known = {prediction.key: prediction for prediction in read_predictions(path)}

    def _repair(self) -> None:
        raw = self.path.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        if whole != raw:
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
                os.fsync(file.fileno())

    def append(self, predictions: Iterable[Prediction]) -> int:
        """Write those that are not there yet; returns how many were new."""
        new = list({p.key: p for p in predictions if p.key not in self.known}.values())
        if new:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps(asdict(p), ensure_ascii=False) + "\n" for p in new))
                file.flush()
                os.fsync(file.fileno())
            self.known.update({p.key: p for p in new})
        return len(new)


def read_predictions(path: Path) -> Iterator[Prediction]:
    """Every line of the file."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            fields: dict[str, Any] = json.loads(line)
            yield Prediction(**fields)
