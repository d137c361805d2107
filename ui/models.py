"""Which models can be chosen, and whether they fit together.

References are what travels between page and server: a path relative to an allowed root (`a`, `lab/whisper-ft`), an
absolute path inside one (lab only), or a Hub id. Server paths are never shown.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from merger.bilingual import Text, byte_size, number
from merger.checkpoint import HUB_ID, Checkpoint, open_checkpoint
from merger.compatibility import Compatibility, compare
from merger.errors import MissingFile, PathNotAllowed, WhisperMergeError
from merger.hub import HubRules, too_large
from merger.recipe import MergeRecipe
from ui.errors import HubNotAllowed, ModelsNotChosen, bilingual
from ui.model_folders import Stamp, model_folders, stamp
from ui.settings import GB, Settings

Value = TypeVar("Value")

SOURCES = ("a", "b", "c", "d")  # what is mixed; C and D only by methods of more than two models
ROLES = (*SOURCES, "base")
ROLE_NAMES = {
    **{role: Text(f"модель {role.upper()}", f"model {role.upper()}") for role in SOURCES},
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
LONGEST_NAME = 200  # characters of a model's name that an error repeats
EXPORT = "export:"  # before the name of a folder in the export root, which may be called like another model
COMPARED = 64  # sets of models whose comparison is remembered


@dataclass(frozen=True)
class ModelOption:
    """A model that the picker offers."""

    ref: str
    name: Text
    group: str  # "demo", "folder", "export", "hub"
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
        # On a public server the token belongs to whoever runs it: a visitor's Hub id is asked for without.
        self._hub_rules = HubRules(anonymous=settings.public, max_bytes=round(settings.max_model_gb * GB))
        self._demo = {settings.demo_models / name for name in DEMO_NAMES}
        self._readable = (*settings.roots, settings.export_root)
        self._open: dict[str, tuple[Stamp | None, Checkpoint]] = {}
        self._compared: OrderedDict[tuple[int, ...], tuple[list[Checkpoint], Compatibility]] = OrderedDict()
        self._lock = threading.Lock()

    def options(self, exports: Iterable[str] = ()) -> list[ModelOption]:
        """The demo pair, the folders under the allowed roots, these exports by their folders' names, the newest first,
        and the published pair of the Hub where that is on."""
        found = [
            ModelOption(self._reference(folder), self.display_name(folder), group, _detail(folder, group))
            for root in self._settings.roots
            for folder in model_folders(root)
            for group in ["demo" if folder in self._demo else "folder"]
        ]
        made = [self._settings.export_root / name for name in exports]
        found += [
            ModelOption(self._reference(folder), self.display_name(folder), "export", _detail(folder, "export"))
            for folder in sorted(made, key=lambda folder: -folder.stat().st_mtime)
        ]
        if self._settings.hub:
            found += [
                ModelOption(ref, Text(ref, ref), "hub", Text("Hugging Face Hub", "Hugging Face Hub"))
                for ref in PUBLISHED
            ]
        return found

    def is_remote(self, ref: str) -> bool:
        """Whether opening this reference may need the network, and therefore time."""
        known = self._folder(ref) is not None or ref in self._open
        return self._settings.hub and not known and HUB_ID.fullmatch(ref) is not None

    def open(self, ref: str) -> Checkpoint:
        """The checkpoint's headers. Raises ModelFileError subclasses, PathNotAllowed, Offline, HubNotAllowed."""
        local = self._folder(ref)
        key = str(local) if local else ref
        with self._lock:
            known, model = self._open.get(key, (None, None))
        if model is not None and known is not None and known == stamp(model.folder):
            return model
        if local is None and HUB_ID.fullmatch(ref) and not self._settings.hub:
            raise HubNotAllowed(model=ref)
        seen = stamp(local) if local else None  # before reading: what changes meanwhile is read again next time
        try:
            checkpoint = open_checkpoint(local or ref, allowed_roots=self._readable, hub=self._hub_rules)
        except (PathNotAllowed, MissingFile) as error:
            raise _as_given(error, ref) from None
        self._check_size(checkpoint)
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
        try:
            found = self._compare(opened)
        except WhisperMergeError as error:
            return {"state": "bad", "mismatches": [_both(error)], "warnings": []}
        return {
            "state": "ok" if found.ok else "bad",
            "mismatches": [
                {"sentence": bilingual(one.sentence), "remedy": bilingual(one.remedy)} for one in found.mismatches
            ],
            "warnings": [bilingual(one) for one in found.warnings],
        }

    def checked(self, models: Mapping[str, str | None], *, needs_base: bool) -> dict[str, Checkpoint]:
        """The opened sources of a merge. Raises ModelsNotChosen, IncompatibleModels and what `open` raises."""
        wanted = ("a", "b", "base") if needs_base else ("a", "b")
        missing = [ROLE_NAMES[role] for role in wanted if not models.get(role)]
        if missing:
            raise ModelsNotChosen(roles=Text(", ".join(m.ru for m in missing), ", ".join(m.en for m in missing)))
        opened = {role: self.open(ref) for role in ROLES if (ref := models.get(role))}
        self._compare(opened).raise_if_incompatible()
        return opened

    def _compare(self, opened: Mapping[str, Checkpoint]) -> Compatibility:
        """Whether these fit together; told from memory while they are the same, since it reads their tokenizers, and
        every move of a slider asks."""
        models = [opened[role] for role in ROLES if role in opened]
        key = (*map(id, models), "base" in opened)
        with self._lock:
            if key in self._compared:
                self._compared.move_to_end(key)
                return self._compared[key][1]
        found = compare(*[opened[role] for role in SOURCES if role in opened], base=opened.get("base"))
        with self._lock:
            self._compared[key] = models, found  # while the models are held, no other gets their ids
            while len(self._compared) > COMPARED:
                self._compared.popitem(last=False)
        return found

    def display_name(self, folder: Path) -> Text:
        """What people call the model: the demo pair has names, other folders are called as they are."""
        real = folder.resolve()
        if real.parent == self._settings.demo_models.resolve() and real.name in DEMO_NAMES:
            return DEMO_NAMES[real.name]
        return Text(real.name, real.name)

    def names(self, models: Mapping[str, str | None]) -> dict[str, Text]:
        """Names of the sources and the base for sentences; the letter where nothing is chosen."""
        found = {}
        for role in ROLES:
            described = self.describe(models.get(role))
            name = described["name"] if described else {"base": "S"}.get(role, role.upper())
            found[role] = Text(name["ru"], name["en"]) if isinstance(name, dict) else Text(name, name)
        return found

    def reference_of(self, model: Checkpoint) -> str:
        """The reference by which an opened model is found again."""
        return model.hub_id or self._reference(model.folder)

    def _folder(self, ref: str) -> Path | None:
        """The folder that a reference names, or None."""
        name = ref.removeprefix(EXPORT)
        if name != ref and name == Path(name).name and name not in {"..", "."} and "\0" not in name:
            return self._settings.export_root / name
        return self._local(ref)

    def _local(self, ref: str) -> Path | None:
        """The folder that a reference names: inside a root, or as a path. Raises PathNotAllowed for what is no path."""
        try:
            if "\0" in ref:
                raise ValueError
            for root in self._settings.roots:
                inside = root / ref
                if inside.exists():
                    return inside
            path = Path(ref).expanduser()
            return path if path.is_absolute() or path.exists() else None
        except (OSError, ValueError, RuntimeError):
            raise PathNotAllowed(path=ref[:LONGEST_NAME]) from None

    def _check_size(self, model: Checkpoint) -> None:
        """Raises ModelTooLarge."""
        limit = self._hub_rules.max_bytes or 0
        if model.nbytes > limit:
            raise too_large(model.name, model.nbytes, limit)

    def _reference(self, folder: Path) -> str:
        for root in self._settings.roots:
            if folder.is_relative_to(root):
                return folder.relative_to(root).as_posix()
        if folder.is_relative_to(self._settings.export_root):
            return EXPORT + folder.relative_to(self._settings.export_root).as_posix()
        return str(folder)


def taking_part(recipe: MergeRecipe, by_role: Mapping[str, Value | None]) -> dict[str, Value]:
    """What the recipe mixes of what is chosen: methods of two models leave C and D out, most need no base."""
    roles = SOURCES[:2] if recipe.spec.sources == "two" else SOURCES
    wanted = (*roles, "base") if recipe.spec.needs_base else roles
    return {role: value for role in wanted if (value := by_role.get(role)) is not None}


def _as_given(error: WhisperMergeError, ref: str) -> WhisperMergeError:
    """The error with the model's name as the person gave it: where it lies on this server is not told."""
    key = "path" if isinstance(error, PathNotAllowed) else "file"
    whole = Path(str(error.facts[key])).is_absolute()
    return type(error)(**{**error.facts, key: ref[:LONGEST_NAME]}) if whole else error


def _both(error: WhisperMergeError) -> dict[str, Any]:
    return {
        "sentence": {lang: error.sentence(lang) for lang in ("ru", "en")},
        "remedy": {lang: error.remedy(lang) for lang in ("ru", "en")},
    }


def _detail(folder: Path, group: str) -> Text:
    total = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    told = DEMO_DETAILS[folder.name] if group == "demo" else None
    told_first = {lang: f"{told.get(lang)} · " if told else "" for lang in ("ru", "en")}
    return Text(*(told_first[lang] + byte_size(total, lang) for lang in ("ru", "en")))
