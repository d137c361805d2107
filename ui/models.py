"""Which models can be chosen, whether they fit, and the pair that lies on the device.

References are what travels between page and server: a path relative to an allowed root (`a`, `lab/whisper-ft`), an
absolute path inside one (lab only), or a Hub id. Server paths are never shown.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merger.bilingual import Text, byte_size, number
from merger.checkpoint import HUB_ID, Checkpoint, open_checkpoint
from merger.compatibility import compare
from merger.errors import MissingFile, WhisperMergeError
from ui.errors import HubNotAllowed, ModelsNotChosen, bilingual
from ui.settings import Settings

log = logging.getLogger(__name__)

Poll = Callable[[], bool]
Stamp = tuple[tuple[str, int, int, int], ...]  # name, inode, bytes and modification time (ns) of every file

ROLES = ("a", "b", "base")
ROLE_NAMES = {
    "a": Text("модель A", "model A"),
    "b": Text("модель B", "model B"),
    "base": Text("базовая модель", "base model"),
}
# By what each can do, not by a letter: after a swap the letter A stands beside the other model.
DEMO_NAMES = {
    "a": Text("Официальная", "Formal"),
    "b": Text("Разговорная", "Colloquial"),
    "base": Text("Общий предок", "Common ancestor"),
}
DEMO_DETAILS = {
    "a": Text("официальная речь, чистая запись", "formal speech, clean recordings"),
    "b": Text("разговорная речь, телефон и шум", "colloquial speech, telephone and noise"),
    "base": Text("для методов с базовой моделью", "for methods with a base model"),
}
PUBLISHED = ("antony66/whisper-large-v3-russian", "bond005/whisper-large-v3-ru-podlodka", "openai/whisper-large-v3")
FOLDER_DEPTH = 3  # how deep below a root model folders are looked for
MOST_FOLDERS = 200


@dataclass(frozen=True)
class ModelOption:
    """A model that the picker offers."""

    ref: str
    name: Text
    group: str  # "demo", "folder", "hub"
    detail: Text

    def to_json(self) -> dict[str, Any]:
        return {
            "ref": self.ref,
            "name": bilingual(self.name),
            "group": self.group,
            "detail": bilingual(self.detail),
        }


class Models:
    """Finds, opens and compares checkpoints; opened ones are kept, headers are small."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: dict[str, tuple[Stamp | None, Checkpoint]] = {}
        self._lock = threading.Lock()

    def options(self) -> list[ModelOption]:
        """The demo pair, the folders under the allowed roots, and the published pair of the Hub where that is on."""
        found = [
            ModelOption(self._reference(folder), self.display_name(folder), group, _detail(folder, group))
            for root in self._settings.roots
            for group, folder in _model_folders(root, self._settings.demo_models)
        ]
        if self._settings.hub:
            found += [
                ModelOption(ref, Text(ref, ref), "hub", Text("Hugging Face Hub", "Hugging Face Hub"))
                for ref in PUBLISHED
            ]
        return found

    def is_remote(self, ref: str) -> bool:
        """Whether opening this reference may need the network, and therefore time."""
        known = self._local(ref) is not None or ref in self._open
        return self._settings.hub and not known and HUB_ID.fullmatch(ref) is not None

    def open(self, ref: str) -> Checkpoint:
        """The checkpoint's headers. Raises ModelFileError subclasses, PathNotAllowed, Offline, HubNotAllowed."""
        local = self._local(ref)
        key = str(local) if local else ref
        with self._lock:
            known, model = self._open.get(key, (None, None))
        if model is not None and known is not None and known == stamp(model.folder):
            return model
        if local is None and HUB_ID.fullmatch(ref) and not self._settings.hub:
            raise HubNotAllowed(model=ref)
        seen = stamp(local) if local else None  # before reading: what changes meanwhile is read again next time
        checkpoint = open_checkpoint(local or ref, allowed_roots=self._settings.roots)
        seen = seen or stamp(checkpoint.folder)
        with self._lock:
            known, model = self._open.get(key, (None, None))
            if model is not None and seen is not None and known == seen:
                return model  # somebody else was faster; one object per model keeps one pair on the device
            self._open[key] = (seen, checkpoint)
        return checkpoint

    def describe(self, ref: str | None) -> dict[str, Any] | None:
        """Name and size of a chosen model; None where none is chosen."""
        if ref is None:
            return None
        try:
            model = self.open(ref)
        except WhisperMergeError:
            return {"ref": ref, "name": ref.rsplit("/", 1)[-1], "detail": None}
        millions = model.parameters / 1e6
        return {
            "ref": ref,
            "name": bilingual(self.display_name(model.folder) if not model.hub_id else Text(model.name, model.name)),
            "detail": {
                lang: f"{number(round(millions, 1), lang)} {unit} · {byte_size(model.nbytes, lang)} · {model.dtype}"
                for lang, unit in (("ru", "млн параметров"), ("en", "M parameters"))
            },
        }

    def verdict(self, models: Mapping[str, str | None]) -> dict[str, Any]:
        """Whether the chosen models can be merged, in words; errors of a single file are part of the verdict."""
        if not models.get("a") or not models.get("b"):
            return {"state": "none", "mismatches": [], "warnings": []}
        opened, faults = {}, []
        for role in ROLES:
            ref = models.get(role)
            if ref:
                try:
                    opened[role] = self.open(ref)
                except WhisperMergeError as error:
                    faults.append(_both(error))
        if faults:
            return {"state": "bad", "mismatches": faults, "warnings": []}
        found = compare(opened["a"], opened["b"], base=opened.get("base"))
        return {
            "state": "ok" if found.ok else "bad",
            "mismatches": [
                {"sentence": bilingual(one.sentence), "remedy": bilingual(one.remedy)} for one in found.mismatches
            ],
            "warnings": [bilingual(one) for one in found.warnings],
        }

    def checked(self, models: Mapping[str, str | None], *, needs_base: bool) -> dict[str, Checkpoint]:
        """The opened sources of a merge. Raises ModelsNotChosen, IncompatibleModels and what `open` raises."""
        wanted = ROLES if needs_base else ROLES[:2]
        missing = [ROLE_NAMES[role] for role in wanted if not models.get(role)]
        if missing:
            raise ModelsNotChosen(roles=Text(", ".join(m.ru for m in missing), ", ".join(m.en for m in missing)))
        opened = {role: self.open(ref) for role in ROLES if (ref := models.get(role))}
        compare(opened["a"], opened["b"], base=opened.get("base")).raise_if_incompatible()
        return opened

    def display_name(self, folder: Path) -> Text:
        """What people call the model: the demo pair has names, other folders are called as they are."""
        real = folder.resolve()
        if real.parent == self._settings.demo_models.resolve() and real.name in DEMO_NAMES:
            return DEMO_NAMES[real.name]
        return Text(real.name, real.name)

    def names(self, models: Mapping[str, str | None]) -> dict[str, Text]:
        """Names of A, B and base for sentences; the letter where nothing is chosen."""
        found = {}
        for role in ROLES:
            described = self.describe(models.get(role))
            name = described["name"] if described else {"a": "A", "b": "B", "base": "S"}[role]
            found[role] = Text(name["ru"], name["en"]) if isinstance(name, dict) else Text(name, name)
        return found

    def reference_of(self, model: Checkpoint) -> str:
        """The reference by which an opened model is found again."""
        return model.hub_id or self._reference(model.folder)

    def _local(self, ref: str) -> Path | None:
        """The folder that a reference names: inside a root, or as a path."""
        for root in self._settings.roots:
            inside = root / ref
            if inside.exists():
                return inside
        path = Path(ref).expanduser()
        return path if path.is_absolute() or path.exists() else None

    def _reference(self, folder: Path) -> str:
        for root in self._settings.roots:
            if folder.is_relative_to(root):
                return folder.relative_to(root).as_posix()
        return str(folder)


def _both(error: WhisperMergeError) -> dict[str, Any]:
    return {
        "sentence": {lang: error.sentence(lang) for lang in ("ru", "en")},
        "remedy": {lang: error.remedy(lang) for lang in ("ru", "en")},
    }


def stamp(folder: Path) -> Stamp | None:
    """What tells a changed model folder from an unchanged one; None while that cannot be said."""
    try:
        stats = [(file.name, file.stat()) for file in folder.iterdir()]
    except OSError:
        return None
    return tuple(sorted((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats))


def _model_folders(root: Path, demo: Path) -> list[tuple[str, Path]]:
    """(group, folder) of every model folder below `root`, not deeper than FOLDER_DEPTH."""
    found: list[tuple[str, Path]] = []
    level = [root]
    for _ in range(FOLDER_DEPTH + 1):
        following: list[Path] = []
        for folder in level:
            if (folder / "config.json").is_file():
                found.append(("demo" if folder.parent == demo and folder.name in DEMO_NAMES else "folder", folder))
            elif folder.is_dir():
                try:
                    following += sorted(
                        child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")
                    )
                except OSError:
                    log.warning("a folder under the model roots cannot be read")
        level = following
        if len(found) >= MOST_FOLDERS:
            break
    return found[:MOST_FOLDERS]


def _detail(folder: Path, group: str) -> Text:
    total = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    told = DEMO_DETAILS[folder.name] if group == "demo" else None
    told_first = {lang: f"{told.get(lang)} · " if told else "" for lang in ("ru", "en")}
    return Text(*(told_first[lang] + byte_size(total, lang) for lang in ("ru", "en")))


class LoadedPair:
    """A, B (and base) on the device with everything that listens. Only the worker's device thread may use it."""

    def __init__(self, sources: Mapping[str, Checkpoint], device: str, cancelled: Poll | None = None) -> None:
        from evaluation.live_transcriber import LiveTranscriber
        from merger.live import LiveMerge

        self.sources = dict(sources)
        self.fingerprints = {role: model.fingerprint() for role, model in sources.items()}
        self.live = LiveMerge(sources["a"], sources["b"], sources.get("base"), device=device, cancelled=cancelled)
        self.listen = LiveTranscriber(self.live)

    def close(self) -> None:
        self.live.close()


class Pairs:
    """The pairs that are loaded, the least recently used one leaves first."""

    def __init__(self, device: str, kept: int = 1) -> None:
        self._device = device
        self._kept = kept
        self._loaded: OrderedDict[tuple[tuple[str, int], ...], LoadedPair] = OrderedDict()

    def get(self, sources: Mapping[str, Checkpoint], cancelled: Poll | None = None) -> LoadedPair:
        """The pair, loaded now if it is not; what is pushed out frees its memory before the new one takes it.

        Raises Cancelled while loading, MissingFile for a model that is no longer there, and what `LiveMerge` raises.
        """
        key = _key(sources)
        if key in self._loaded:
            self._loaded.move_to_end(key)
            return self._loaded[key]
        while len(self._loaded) >= self._kept:
            _, old = self._loaded.popitem(last=False)
            old.close()
        try:
            pair = self._loaded[key] = LoadedPair(sources, self._device, cancelled)
        except FileNotFoundError as error:
            detail = Text("файл модели", "a model file")
            raise MissingFile(file=Path(error.filename or "").name, detail=detail) from error
        return pair

    def holds(self, sources: Mapping[str, Checkpoint]) -> bool:
        return _key(sources) in self._loaded

    def close(self) -> None:
        while self._loaded:
            self._loaded.popitem()[1].close()


def _key(sources: Mapping[str, Checkpoint]) -> tuple[tuple[str, int], ...]:
    """Identifies what was opened, not where it lies: a model that changed on disk is opened, and loaded, anew.

    A loaded pair holds its sources, so no other object can get their identity meanwhile.
    """
    return tuple((role, id(model)) for role, model in sorted(sources.items()))
