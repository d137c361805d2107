"""Everything that can be set from outside, read once from the environment at start."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PREFIX = "WHISPER_MERGE_"
LANGUAGES = ("ru", "en")
READ_BY_MERGER = {"WHISPER_MERGE_CACHE", "WHISPER_MERGE_KERNELS"}  # known settings, though not the page's


class BadSetting(ValueError):
    """An environment variable that cannot be understood; the message names it and says what is expected."""


@dataclass(frozen=True)
class Settings:
    """What the app may do on this machine. `public` means strangers: Hub ids only, small limits."""

    data: Path = ROOT / "data"
    model_roots: tuple[Path, ...] = ()
    export_root: Path = ROOT / "data" / "exports"
    demo_models: Path = ROOT / "demo" / "models"
    samples: Path = ROOT / "demo" / "samples"
    model_a: str | None = None
    model_b: str | None = None
    model_base: str | None = None
    device: str = "auto"
    pairs: int = 1  # pairs of models that stay loaded at once
    lang: str = "ru"
    public: bool = False
    hub: bool = True
    max_upload_mb: int = 200
    max_audio_seconds: float = 3600.0
    login_file: Path | None = None

    @property
    def roots(self) -> tuple[Path, ...]:
        """Folders below which models may be opened: the demo pair's first, so that its short names always mean it."""
        return (self.demo_models, *(root for root in self.model_roots if root != self.demo_models))

    @property
    def default_models(self) -> dict[str, str | None]:
        """The pair that a first visit finds chosen: the named one, otherwise the bundled demo pair."""
        if self.model_a and self.model_b:
            return {"a": self.model_a, "b": self.model_b, "base": self.model_base}
        return {
            role: role if (self.demo_models / role / "config.json").exists() else None
            for role in ("a", "b", "base")
        }

    def with_folders(self) -> "Settings":
        """Makes the folders that the app writes to, readable by their owner only."""
        for folder in (self.data, self.export_root):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from `WHISPER_MERGE_…` variables. An unknown one is an error: a misspelt limit must not be ignored."""
    known = {name: value for name, value in environment.items() if name.startswith(PREFIX) and value != ""}
    readers = _readers()
    unknown = sorted(set(known) - {PREFIX + name for name in readers} - READ_BY_MERGER)
    if unknown:
        expected = ", ".join(PREFIX + name for name in readers)
        raise BadSetting(f"unknown setting {', '.join(unknown)}; known settings: {expected}")
    public = _flag("PUBLIC", known[PREFIX + "PUBLIC"]) if PREFIX + "PUBLIC" in known else "SPACE_ID" in environment
    values: dict[str, object] = {"public": public}
    if public:  # strangers: small uploads, short clips
        values |= {"max_upload_mb": 25, "max_audio_seconds": 300.0}
    for name, (field, read) in readers.items():
        if PREFIX + name in known:
            values[field] = read(name, known[PREFIX + name])
    if "data" in values and "export_root" not in values:
        values["export_root"] = values["data"] / "exports"  # type: ignore[operator]
    return Settings(**values)  # type: ignore[arg-type]


def _readers() -> dict[str, tuple[str, object]]:
    return {
        "DATA": ("data", _path),
        "MODEL_ROOTS": ("model_roots", _paths),
        "EXPORT_ROOT": ("export_root", _path),
        "DEMO_MODELS": ("demo_models", _path),
        "SAMPLES": ("samples", _path),
        "MODEL_A": ("model_a", _text),
        "MODEL_B": ("model_b", _text),
        "MODEL_BASE": ("model_base", _text),
        "DEVICE": ("device", _text),
        "PAIRS": ("pairs", _positive),
        "LANG": ("lang", _language),
        "PUBLIC": ("public", _flag),
        "HUB": ("hub", _flag),
        "MAX_UPLOAD_MB": ("max_upload_mb", _positive),
        "MAX_AUDIO_SECONDS": ("max_audio_seconds", _positive),
        "LOGIN_FILE": ("login_file", _path),
    }


def _text(name: str, value: str) -> str:
    return value.strip()


def _path(name: str, value: str) -> Path:
    return Path(value).expanduser().resolve()


def _paths(name: str, value: str) -> tuple[Path, ...]:
    return tuple(_path(name, part) for part in value.split(os.pathsep) if part.strip())


def _language(name: str, value: str) -> str:
    if value not in LANGUAGES:
        raise BadSetting(f"{PREFIX}{name}={value!r}: expected one of {', '.join(LANGUAGES)}")
    return value


def _flag(name: str, value: str) -> bool:
    lowered = value.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off"}:
        return False
    raise BadSetting(f"{PREFIX}{name}={value!r}: expected 1 or 0")


def _positive(name: str, value: str) -> int:
    if not value.strip().isdigit() or int(value) == 0:
        raise BadSetting(f"{PREFIX}{name}={value!r}: expected a whole number above 0")
    return int(value)
