"""What can be chosen to listen to, and the samples that ship: their manifest in the words of the page."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merger.bilingual import Text
from ui.errors import bilingual

log = logging.getLogger(__name__)

TAGS = {
    "formal": Text("официальная", "formal"),
    "colloquial": Text("разговорная", "colloquial"),
    "clean": Text("чисто", "clean"),
}


@dataclass(frozen=True)
class ClipEntry:
    """A clip that can be chosen: `id` is the content's hash, `reference` what is really said, where that is known."""

    id: str
    name: Text
    path: Path
    seconds: float
    reference: str | None = None
    tag: dict[str, str] | None = None
    added: float = 0.0  # seconds since 1970; a sample has always been there

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "name": bilingual(self.name), "seconds": self.seconds, "tag": self.tag}


def read_samples(folder: Path) -> list[ClipEntry]:
    """The clips of `manifest.jsonl`; a clip whose file is missing is left out and logged."""
    manifest = folder / "manifest.jsonl"
    if not manifest.exists():
        return []
    entries = []
    for line in manifest.read_text(encoding="utf-8").splitlines():
        if not line.strip():
            continue
        row = json.loads(line)
        path = folder / row["audio_filepath"]
        if not path.is_file():
            log.warning("sample clip %s is missing", path.name)
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entries.append(
            ClipEntry(digest, _title(row), path, float(row["duration"]), row.get("text"), _tag(row))
        )
    return entries


def _title(row: dict[str, Any]) -> Text:
    """The manifest's titles, otherwise the first words of what is said."""
    if row.get("title_ru") and row.get("title_en"):
        return Text(str(row["title_ru"]), str(row["title_en"]))
    words = str(row.get("text", "")).split()
    title = " ".join(words[:4]).rstrip(".,!?;:—–- ")
    said = (title + " …" if len(words) > 4 else title) or Path(row["audio_filepath"]).stem
    return Text(said, said)


def _tag(row: dict[str, Any]) -> dict[str, str]:
    """The guide's axes in a word or two: style, dialect, noise, tempo."""
    labels = []
    if row.get("style") in TAGS:
        labels.append(TAGS[row["style"]])
    if row.get("dialect"):
        labels.append(Text("говор", "accent"))
    if row.get("noise") and row["noise"] not in {"clean", "none"}:
        labels.append(Text("шум", "noise"))
    if row.get("tempo") in {"fast", "slow"}:
        labels.append({"fast": Text("быстро", "fast"), "slow": Text("медленно", "slow")}[row["tempo"]])
    return {lang: " · ".join(label.get(lang) for label in labels) for lang in ("ru", "en")}
