"""Recordings that people may listen to: the samples that ship, and what each person uploaded or recorded.

An upload is moved at once out of Gradio's cache (whose files anybody who knows the path can read, and which is cleaned
by age) into a folder of its owner that only this process may read. A page plays a clip by an unguessable address that
is made for its owner and dies with the process.
"""

import errno
import hashlib
import hmac
import json
import logging
import secrets
import shutil
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.audio import AudioClip, AudioLimits, load_clip
from evaluation.errors import BadAudio
from merger.bilingual import Text, byte_size
from merger.errors import DiskFull
from ui.errors import NotFound, bilingual

log = logging.getLogger(__name__)

PEAKS_PER_SECOND = 24
MOST_PEAKS = 4000
KEPT_IN_MEMORY = 24
NAME_LENGTH = 80
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

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "name": bilingual(self.name), "seconds": self.seconds, "tag": self.tag}


class Clips:
    """The samples, everybody's uploads, and the decoded sound of those used last."""

    def __init__(self, folder: Path, samples: Path, limits: AudioLimits, uploads: Path | None = None) -> None:
        self._folder = folder
        self._limits = limits
        self._uploads = (uploads or Path(tempfile.gettempdir()) / "gradio").resolve()
        self._samples = {clip.id: clip for clip in read_samples(samples)}
        self._own: dict[str, dict[str, ClipEntry]] = {}
        self._decoded: OrderedDict[str, AudioClip] = OrderedDict()
        self._lock = threading.Lock()
        self._key = secrets.token_bytes(32)

    @property
    def samples(self) -> list[ClipEntry]:
        return list(self._samples.values())

    def find(self, owner: str, clip_id: str) -> ClipEntry:
        """Raises NotFound for an id that this owner does not have."""
        entry = self._samples.get(clip_id) or self._own.get(owner, {}).get(clip_id)
        if entry is None:
            raise NotFound(what=Text("запись", "recording"))
        return entry

    def add(self, owner: str, path: str | Path, name: str) -> ClipEntry:
        """Takes over an uploaded file. Raises BadAudio or AudioTooLong; nothing is kept then."""
        source = self.uploaded(path, name)
        name = clean_name(name)
        try:
            clip = load_clip(source, self._limits)
        except BadAudio as error:
            # The cache's file name is not the person's.
            raise BadAudio(**{**error.facts, "name": name}) from None
        entry = ClipEntry(clip.sha256, Text(name, name), self._keep(owner, source, clip.sha256), clip.seconds)
        with self._lock:
            self._own.setdefault(owner, {})[entry.id] = entry
            self._remember(clip)
        return entry

    def uploaded(self, path: str | Path, name: str) -> Path:
        """The real path of a file that came through Gradio's upload; anything else on this machine is refused."""
        real = Path(path).resolve()
        if not real.is_relative_to(self._uploads) or not real.is_file():
            raise BadAudio(name=clean_name(name), reason="missing")
        return real

    def decode_upload(self, path: str | Path, name: str) -> AudioClip:
        """An uploaded file, decoded and not kept: what a script's one request needs."""
        return load_clip(self.uploaded(path, name), self._limits)

    def forget(self, owner: str, clip_id: str) -> None:
        """Removes one of the owner's clips and its file."""
        with self._lock:
            entry = self._own.get(owner, {}).pop(clip_id, None)
        if entry is None:
            raise NotFound(what=Text("запись", "recording"))
        entry.path.unlink(missing_ok=True)

    def sound(self, owner: str, clip_id: str) -> AudioClip:
        """The decoded clip; the last few are kept in memory."""
        entry = self.find(owner, clip_id)
        with self._lock:
            clip = self._decoded.get(clip_id)
            if clip is not None:
                self._decoded.move_to_end(clip_id)
                return clip
        clip = load_clip(entry.path, self._limits)
        with self._lock:
            self._remember(clip, clip_id)
        return clip

    def address(self, owner: str, clip_id: str) -> str:
        """Where the owner's page finds the sound, relative to the page."""
        return f"studio/clips/{owner}/{clip_id}/{self._signature(owner, clip_id)}.wav"

    def signed(self, owner: str, clip_id: str, signature: str) -> bool:
        return hmac.compare_digest(self._signature(owner, clip_id), signature)

    def _signature(self, owner: str, clip_id: str) -> str:
        return hmac.new(self._key, f"{owner}/{clip_id}".encode(), hashlib.sha256).hexdigest()[:32]

    def _keep(self, owner: str, source: Path, clip_id: str) -> Path:
        folder = self._folder / owner
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = folder / clip_id
        if not kept.exists():
            part = folder / f".{clip_id}.{secrets.token_hex(4)}"
            needed = source.stat().st_size
            try:
                shutil.move(source, part)
                part.chmod(0o600)
                part.replace(kept)
            except OSError as error:
                part.unlink(missing_ok=True)
                if error.errno != errno.ENOSPC:
                    raise
                free = shutil.disk_usage(folder).free
                raise DiskFull(needed=_size(needed), free=_size(free)) from error
        return kept

    def _remember(self, clip: AudioClip, clip_id: str | None = None) -> None:
        self._decoded[clip_id or clip.sha256] = clip
        while len(self._decoded) > KEPT_IN_MEMORY:
            self._decoded.popitem(last=False)


def _size(count: int) -> Text:
    return Text(byte_size(count, "ru"), byte_size(count, "en"))


def clean_name(name: str) -> str:
    """A file name as a person gave it, without path, control and direction-changing signs."""
    base = str(name).replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(sign for sign in base if sign.isprintable())
    return kept[:NAME_LENGTH] or "audio"


def peaks(clip: AudioClip) -> list[float]:
    """The waveform as the page draws it: the largest |sample| of each stretch, relative to the loudest, two digits."""
    count = max(1, min(MOST_PEAKS, round(clip.seconds * PEAKS_PER_SECOND)))
    edges = np.linspace(0, len(clip.samples), count + 1).astype(int)[:-1]
    highest = np.maximum.reduceat(np.abs(clip.samples), edges)
    return [round(float(value), 2) for value in highest / max(float(highest.max()), 1e-6)]


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
