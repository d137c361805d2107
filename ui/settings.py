# ruff: noqa: RUF009 (each call declares a field and returns an immutable default)
"""Everything that can be set from outside: one object, one declaration per setting.

A field's `declared(…)` says its default in a lab, its default on a public Space, how its text is read, its unit and
its meaning. The environment variable (`WHISPER_MERGE_` and the field's name in capitals), the check and its message,
and the table in `docs/settings.md` follow from that one line. Nothing else in the app reads the environment's limits.
"""

import dataclasses
import difflib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from evaluation.archive import ArchiveLimits
from evaluation.audio import AudioLimits
from merger.errors import Fault
from ui.setting_kinds import (
    PREFIX,
    BadSetting,
    Choice,
    Declared,
    Flag,
    Folder,
    Folders,
    Networks,
    Number,
    Whole,
    Word,
    Words,
    declared,
    fault,
)

__all__ = ["LANGUAGES", "PREFIX", "PROFILES", "BadSetting", "Settings", "declarations", "from_environment"]

ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = ("ru", "en")
PROFILES = ("lab", "space")
READ_BY_MERGER = {"WHISPER_MERGE_CACHE", "WHISPER_MERGE_KERNELS"}  # known settings, though not the page's
MB = 1_000_000
GB = 1_000_000_000
PRIVATE = "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 127.0.0.0/8, ::1"


@dataclass(frozen=True)
class Settings:
    """What the app may do on this machine. The profile `space` means strangers: Hub ids only, small limits."""

    profile: str = declared(Choice(PROFILES), "lab", "space", "whom the server is for: a team, or strangers")
    # ---- places and models
    data: Path = declared(Folder(), ROOT / "data", about="history and uploads")
    export_root: Path = declared(
        Folder(), ROOT / "data" / "exports", about="exported models; `exports` in the data folder if only that is set"
    )
    demo_models: Path = declared(Folder(), ROOT / "demo" / "models", about="the bundled pair")
    samples: Path = declared(Folder(), ROOT / "demo" / "samples", about="the sample clips")
    model_roots: tuple[Path, ...] = declared(
        Folders(), (), about="folders, separated like PATH, below which models may be opened; a Space ignores them"
    )
    model_a: str | None = declared(Word(), None, about="model A of a first visit; none: the demo pair")
    model_b: str | None = declared(Word(), None, about="model B of a first visit")
    model_base: str | None = declared(Word(), None, about="base model of a first visit")
    hub: bool = declared(Flag(), True, about="whether Hub ids may be chosen")
    device: str = declared(Word(), "auto", about="`auto`, `cpu`, `cuda`, `cuda:1`")
    devices: tuple[str, ...] = declared(
        Words(), (), about="several devices, a process each, like `cuda:0,cuda:1`; `all`: every visible GPU"
    )
    pairs: int = declared(Whole(1, 64), 1, about="pairs of models that stay loaded at once")
    lang: str = declared(Choice(LANGUAGES), "ru", about="language of a first visit")
    log_format: str = declared(Choice(("text", "json")), "text", "json", "lines of the log: for people, or JSON")
    metrics: bool = declared(Flag(), True, False, "whether Prometheus may read `/metrics`")
    # ---- recordings
    max_upload_mb: int = declared(Whole(1, 10_000, "MB"), 200, 25, "size of one uploaded file")
    max_audio_seconds: float = declared(Number(1, 86_400, "s"), 3600.0, 300.0, "length of one recording")
    min_audio_seconds: float = declared(Number(0.01, 60, "s"), 0.1, about="shortest recording")
    max_decoded_msamples: int = declared(
        Whole(1, 100_000, "million samples"), 700, 60, "samples × channels that one file may decode to"
    )
    min_sample_rate: int = declared(Whole(1_000, 192_000, "Hz"), 4_000, about="lowest sampling rate of a file")
    max_sample_rate: int = declared(Whole(8_000, 768_000, "Hz"), 192_000, about="highest sampling rate of a file")
    max_channels: int = declared(Whole(1, 64), 8, about="channels of a file")
    decode_seconds: float = declared(Number(1, 3_600, "s"), 60.0, 20.0, "time that decoding one file may take")
    decode_memory_mb: int = declared(Whole(900, 100_000, "MB"), 2_048, 1_200, "memory that decoding may take")
    max_clips: int = declared(Whole(1, 10_000), 60, 20, "recordings that one person keeps; the oldest goes first")
    keep_clips_days: int = declared(
        Whole(1, 3_650, "days"), 30, 1, "how long a recording that nobody uses stays on the server"
    )
    max_clips_mb: int = declared(Whole(1, 1_000_000, "MB"), 5_000, 150, "size of one person's recordings together")
    max_all_clips_mb: int = declared(
        Whole(1, 10_000_000, "MB"), 100_000, 5_000, "size of everybody's recordings together"
    )
    # ---- archives and manifests
    max_archive_mb: int = declared(Whole(1, 100_000, "MB"), 500, 50, "size of an uploaded zip")
    max_archive_unpacked_mb: int = declared(Whole(1, 1_000_000, "MB"), 2_000, 200, "size of what comes out of it")
    max_archive_files: int = declared(Whole(1, 1_000_000), 5_000, 300, "files in a zip")
    max_archive_ratio: int = declared(Whole(2, 10_000, ": 1"), 100, 50, "unpacked : packed size of a file in a zip")
    max_manifest_mb: int = declared(Whole(1, 10_000, "MB"), 20, 1, "size of a manifest")
    max_manifest_lines: int = declared(Whole(1, 10_000_000), 20_000, 300, "lines of a manifest")
    max_evaluation_minutes: float = declared(
        Number(0.1, 1_000_000, "min"), 600.0, 30.0, "sound of one uploaded evaluation set"
    )
    # ---- models and exports
    max_model_gb: float = declared(Number(0.01, 10_000, "GB"), 20.0, 7.0, "weights of one model")
    max_exports_gb: float = declared(Number(0.01, 1_000_000, "GB"), 500.0, 10.0, "all exported models together")
    # ---- the queue
    jobs_waiting_per_person: int = declared(Whole(0, 1_000), 3, about="jobs one person may have waiting; one more runs")
    jobs_in_all: int = declared(Whole(1, 100_000), 300, 80, "unfinished jobs of everybody together")
    # ---- requests
    requests_per_minute: int = declared(Whole(1, 1_000_000, "per minute"), 1_200, 300, "requests of one person")
    request_burst: int = declared(Whole(1, 100_000), 200, 80, "requests that one person may send at once")
    address_requests_per_minute: int = declared(
        Whole(1, 10_000_000, "per minute"), 12_000, 900, "requests of one network address"
    )
    address_request_burst: int = declared(Whole(1, 1_000_000), 2_000, 200, "requests of one address at once")
    uploads_per_minute: int = declared(Whole(1, 100_000, "per minute"), 120, 12, "uploads of one person")
    max_request_kb: int = declared(Whole(16, 1_000_000, "kB"), 8_192, 1_024, "size of a request that is no upload")
    max_streams: int = declared(Whole(1, 100_000), 400, 40, "open connections for news of one network address")
    # ---- who may come in
    login_file: Path | None = declared(
        Folder(), None, about="users with hashed passwords (`app.py --add-user NAME` writes it); a login is asked"
    )
    login_header: str | None = declared(
        Word(), None, about="header in which a trusted proxy names the person who is signed in"
    )
    login_attempts: int = declared(Whole(1, 100), 5, about="wrong passwords until a name or address is locked out")
    login_lock_minutes: float = declared(Number(0.01, 10_000, "min"), 15.0, about="how long it stays locked out")
    login_hours: float = declared(Number(0.01, 10_000, "h"), 168.0, about="how long a login lasts")
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = declared(
        Networks(), (), Networks().read("", PRIVATE), "addresses of reverse proxies whose `X-Forwarded-…` is believed"
    )
    hosts: tuple[str, ...] = declared(
        Words(), (), about="names under which the page may be opened; none: this machine's own. Digits always may"
    )

    # ---- what follows from the fields --------------------------------------------------------------------------------

    @classmethod
    def of(cls, profile: str, **values: Any) -> "Settings":
        """The profile's defaults, with the given values instead of some of them."""
        given = {"profile": profile, **values}
        defaults = {
            name: kept.default(profile) for name, kept in declarations().items() if name not in given
        }
        return cls(**{**defaults, **given})

    @property
    def public(self) -> bool:
        """Whether strangers come."""
        return self.profile == "space"

    @property
    def roots(self) -> tuple[Path, ...]:
        """Folders below which models may be opened: the demo pair's first, so that its short names always mean it."""
        own = () if self.public else self.model_roots
        return (self.demo_models, *(root for root in own if root != self.demo_models))

    @property
    def default_models(self) -> dict[str, str | None]:
        """The pair that a first visit finds chosen: the named one, otherwise the bundled demo pair."""
        if self.model_a and self.model_b:
            return {"a": self.model_a, "b": self.model_b, "base": self.model_base}
        return {
            role: role if (self.demo_models / role / "config.json").exists() else None
            for role in ("a", "b", "base")
        }

    @property
    def audio_limits(self) -> AudioLimits:
        """What `evaluation.audio` accepts here."""
        return AudioLimits(
            max_bytes=self.max_upload_mb * MB,
            max_seconds=self.max_audio_seconds,
            min_seconds=self.min_audio_seconds,
            min_rate=self.min_sample_rate,
            max_rate=self.max_sample_rate,
            max_channels=self.max_channels,
            max_samples=self.max_decoded_msamples * 1_000_000,
        )

    @property
    def largest_file(self) -> int:
        """Bytes that one uploaded file may have, a recording or an archive."""
        return max(self.max_upload_mb, self.max_archive_mb) * MB

    @property
    def archive_limits(self) -> ArchiveLimits:
        """What `evaluation.archive` accepts here."""
        return ArchiveLimits(
            max_files=self.max_archive_files,
            max_bytes=self.max_archive_unpacked_mb * MB,
            max_ratio=self.max_archive_ratio,
            max_packed=self.max_archive_mb * MB,
            max_manifest=self.max_manifest_mb * MB,
            max_lines=self.max_manifest_lines,
        )

    @property
    def known_hosts(self) -> tuple[str, ...]:
        """Names under which the page may be opened, lower case; addresses in digits come on top."""
        own = (socket.gethostname(), socket.getfqdn()) if not self.hosts else self.hosts
        return ("localhost", *(name.lower() for name in own if name))

    def with_folders(self) -> "Settings":
        """Makes the folders that the app writes to, readable by their owner only."""
        for folder in (self.data, self.export_root):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self

    def told(self) -> dict[str, str]:
        """Variable → value as it may be printed at the start; none of the settings is a secret."""
        return {one.variable: one.kind.shown(getattr(self, name)) for name, one in declarations().items()}


def declarations() -> dict[str, Declared]:
    """Field → declaration, in the order of the object."""
    return {one.name: one.metadata["declared"].named(one.name) for one in dataclasses.fields(Settings)}


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from `WHISPER_MERGE_…` variables. An unknown one is an error: a misspelt limit must not be ignored.

    Raises BadSetting, which names every variable that cannot be understood.
    """
    known = {one.variable: (name, one) for name, one in declarations().items()}
    given = {
        name: value for name, value in environment.items()
        if value.strip() and (name in known or name.startswith(PREFIX))
    }  # fmt: skip
    faults = [_unknown(name, known) for name in sorted(set(given) - set(known) - READ_BY_MERGER)]
    values: dict[str, Any] = {}
    for variable, (name, one) in known.items():
        if variable in given:
            try:
                values[name] = one.kind.read(variable, given[variable])
            except BadSetting as bad:
                faults += bad.faults
    faults += _contradictions(values)
    if faults:
        raise BadSetting(faults=faults)
    if "data" in values and "export_root" not in values:
        values["export_root"] = values["data"] / "exports"
    profile = values.pop("profile", "space" if "SPACE_ID" in environment else "lab")
    return Settings.of(profile, **values)


def _unknown(name: str, known: Mapping[str, Any]) -> Fault:
    near = difflib.get_close_matches(name, known, n=1)
    all_ru, all_en = "Все настройки: docs/settings.md.", "All settings: docs/settings.md."
    return fault(
        f"Настройки {name} нет.", f"There is no setting {name}.",
        f"Может быть, {near[0]}? {all_ru}" if near else all_ru,
        f"Perhaps {near[0]}? {all_en}" if near else all_en,
    )  # fmt: skip


def _contradictions(values: Mapping[str, Any]) -> list[Fault]:
    """What cannot be true together."""
    faults = []
    if values.get("login_header") and not values.get("trusted_proxies"):
        faults.append(
            fault(
                f"{PREFIX}LOGIN_HEADER задан, а {PREFIX}TRUSTED_PROXIES нет.",
                f"{PREFIX}LOGIN_HEADER is set, {PREFIX}TRUSTED_PROXIES is not.",
                "Назовите адрес обратного прокси: такой заголовок может прислать кто угодно.",
                "Name the reverse proxy's address: anybody can send such a header.",
            )
        )
    for one, other in (("login_header", "login_file"), ("model_a", "model_b")):
        alone = one == "model_a"
        if bool(values.get(one)) != bool(values.get(other)) if alone else values.get(one) and values.get(other):
            first, second = PREFIX + one.upper(), PREFIX + other.upper()
            faults.append(
                fault(
                    f"{first} и {second} {'задаются вместе' if alone else 'исключают друг друга'}.",
                    f"{first} and {second} {'go together' if alone else 'exclude each other'}.",
                    "Задайте обе." if alone else "Оставьте одну.",
                    "Set both." if alone else "Keep one.",
                )
            )
    if values.get("min_sample_rate", 4_000) > values.get("max_sample_rate", 192_000):
        faults.append(
            fault(
                f"{PREFIX}MIN_SAMPLE_RATE больше, чем {PREFIX}MAX_SAMPLE_RATE.",
                f"{PREFIX}MIN_SAMPLE_RATE is above {PREFIX}MAX_SAMPLE_RATE.",
                "Исправьте одну из них.", "Mend one of them.",
            )
        )  # fmt: skip
    return faults
