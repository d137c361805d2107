"""Recordings that people may listen to: the samples that ship, and what each person uploaded or recorded.

An upload is moved at once out of Gradio's cache (whose files anybody who knows the path can read, and which is cleaned
by age) into a folder of its owner that only this process may read. A page plays a clip by an unguessable address that
is made for its owner and dies with the process. What it is called lies beside it (`ui/shelf.py`): a restart finds every
shelf again, and what nobody used for the days that the settings say is removed.
"""

import errno
import hashlib
import hmac
import logging
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluation.audio import AudioClip, load_clip
from evaluation.errors import BadAudio
from merger.bilingual import Text
from merger.errors import DiskFull
from ui.decoding import Decoders
from ui.errors import NotFound, ShelfFull, size_text
from ui.samples import ClipEntry, read_samples
from ui.settings import Settings
from ui.shelf import KeptClip, Shelf
from ui.uploads import upload_folder

log = logging.getLogger(__name__)

PEAKS_PER_SECOND = 24
MOST_PEAKS = 4000
KEPT_IN_MEMORY = 24
SWEEP_SECONDS = 3600.0  # between two looks for recordings that nobody uses
NAME_LENGTH = 80
class Clips:
    """The samples, everybody's uploads, and the decoded sound of those used last."""

    def __init__(self, settings: Settings, uploads: Path | None = None) -> None:
        self._folder = settings.data / "clips"
        self._settings = settings
        self._uploads = (uploads or upload_folder()).resolve()
        self._decoders = Decoders(settings)
        self._samples = {clip.id: clip for clip in read_samples(settings.samples)}
        self._shelf = Shelf(self._folder, settings.keep_clips_days)
        self._shelf.sweep()
        self._own: dict[str, dict[str, ClipEntry]] = {}
        for kept in self._shelf.kept():
            self._own.setdefault(kept.owner, {})[kept.id] = _entry(kept)
        self._decoded: OrderedDict[str, AudioClip] = OrderedDict()
        self._lock = threading.Lock()
        self._key = secrets.token_bytes(32)
        self._closed = threading.Event()
        self.on_gone: Callable[[str, list[str]], None] = lambda owner, clips: None  # removed by age: owner, clip ids
        threading.Thread(target=self._keep_sweeping, name="whisper-merge-shelf", daemon=True).start()

    @property
    def samples(self) -> list[ClipEntry]:
        return list(self._samples.values())

    def find(self, owner: str, clip_id: str) -> ClipEntry:
        """Raises NotFound for an id that this owner does not have."""
        entry = self._samples.get(clip_id) or self._own.get(owner, {}).get(clip_id)
        if entry is None:
            raise NotFound(what=Text("запись", "recording"))
        return entry

    def shelf(self, owner: str) -> list[str]:
        """Ids of the owner's recordings, the newest first."""
        with self._lock:
            return list(reversed(self._own.get(owner, {})))

    def add(self, owner: str, path: str | Path, name: str, title: Text | None = None) -> ClipEntry:
        """Takes over an uploaded file. `title`: what to call it where that is not the file's name.

        Raises BadAudio or AudioTooLong; nothing is kept then.
        """
        source = self.uploaded(path, name)
        name = clean_name(name)
        title = title or Text(name, name)
        clip = self._decoders.decode(source, name)
        self._check_room(owner, clip.sha256, source.stat().st_size)
        kept = self._keep(owner, source, clip.sha256)
        entry = ClipEntry(clip.sha256, title, kept, clip.seconds, added=time.time())
        self._shelf.note(_kept(owner, entry))
        with self._lock:
            self._own.setdefault(owner, {}).pop(entry.id, None)  # the newest stands last
            self._own[owner][entry.id] = entry
            self._remember(clip)
        return entry

    def refer(self, owner: str, clip_id: str, reference: str | None) -> None:
        """Keeps what is really said in one of the owner's own recordings; a sample's is its manifest's."""
        with self._lock:
            entry = self._own.get(owner, {}).get(clip_id)
            if entry is None:
                return
            entry = self._own[owner][clip_id] = replace(entry, reference=reference)
        self._shelf.note(_kept(owner, entry))

    def sweep(self, now: float | None = None) -> None:
        """Removes what nobody used for long, and tells `on_gone`."""
        gone: dict[str, list[str]] = {}
        for owner, clip_id in self._shelf.sweep(now):
            with self._lock:
                if self._own.get(owner, {}).pop(clip_id, None) is not None:
                    gone.setdefault(owner, []).append(clip_id)
        for owner, clips in gone.items():
            self.on_gone(owner, clips)

    def _keep_sweeping(self) -> None:
        while not self._closed.wait(SWEEP_SECONDS):
            self.sweep()

    def close(self) -> None:
        """No more is removed."""
        self._closed.set()

    def uploaded(self, path: str | Path, name: str) -> Path:
        """The real path of a file that came through Gradio's upload; anything else on this machine is refused."""
        real = Path(path).resolve()
        if not real.is_relative_to(self._uploads) or not real.is_file():
            raise BadAudio(name=clean_name(name), reason="missing")
        return real

    async def decode_upload(self, path: str | Path, name: str) -> AudioClip:
        """An uploaded file, decoded and not kept: what a script's one request needs."""
        return await self._decoders.awaited(self.uploaded(path, name), clean_name(name))

    def _check_room(self, owner: str, clip_id: str, size: int) -> None:
        """Raises ShelfFull where one person's recordings, or everybody's, would grow above their limit."""
        with self._lock:
            own = [entry.path for key, entry in self._own.get(owner, {}).items() if key != clip_id]
            everybody = [entry.path for entries in self._own.values() for entry in entries.values()]
        for paths, limit in ((own, self._settings.max_clips_mb), (everybody, self._settings.max_all_clips_mb)):
            held = sum(path.stat().st_size for path in paths if path.exists())
            if held + size > limit * 1_000_000:
                raise ShelfFull(limit=size_text(limit * 1_000_000))

    def forget(self, owner: str, clip_id: str) -> None:
        """Removes one of the owner's clips and its file."""
        with self._lock:
            entry = self._own.get(owner, {}).pop(clip_id, None)
        if entry is None:
            raise NotFound(what=Text("запись", "recording"))
        self._shelf.remove(entry.path)

    def sound(self, owner: str, clip_id: str) -> AudioClip:
        """The decoded clip; the last few are kept in memory."""
        entry = self.find(owner, clip_id)
        if clip_id not in self._samples:
            self._shelf.used(entry.path)
        with self._lock:
            clip = self._decoded.get(clip_id)
            if clip is not None:
                self._decoded.move_to_end(clip_id)
                return clip
        if clip_id in self._samples:
            clip = load_clip(entry.path, self._settings.audio_limits)
        else:
            clip = self._decoders.decode(entry.path, entry.name.en)
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
                raise DiskFull(needed=size_text(needed), free=size_text(free)) from error
        return kept

    def _remember(self, clip: AudioClip, clip_id: str | None = None) -> None:
        self._decoded[clip_id or clip.sha256] = clip
        while len(self._decoded) > KEPT_IN_MEMORY:
            self._decoded.popitem(last=False)


def _kept(owner: str, entry: ClipEntry) -> KeptClip:
    return KeptClip(owner, entry.id, entry.path, entry.name, entry.seconds, entry.reference, entry.added)


def _entry(kept: KeptClip) -> ClipEntry:
    return ClipEntry(kept.id, kept.name, kept.path, kept.seconds, kept.reference, added=kept.added)


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
