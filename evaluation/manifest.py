"""The list of clips and references: JSONL in NeMo's form, with what the guide's five axes need.

    {"audio_filepath": "clips/1.wav", "text": "…", "duration": 3.2, "id": "1", "speaker": "s1", "recording": "r1",
     "style": "formal", "dialect": "yuzhny", "noise": "street", "snr_db": 10, "tempo": "fast", "split": "test",
     "license": "CC0-1.0", "sha256": "…", "seen_by": ["model-a"]}

Only the first three are required. Paths are relative to the manifest. A line that cannot be used is reported with its
number; it is left out only on request, never silently.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.audio import AudioClip, AudioLimits, load_clip
from evaluation.errors import AudioTooLong, BadAudio, BadManifest
from merger.bilingual import Text
from merger.errors import Fault

MAX_LINE_BYTES = 1 << 20
DURATION_TOLERANCE = 0.1  # seconds; codecs pad by up to about 50 ms at each end
SLOW, FAST = 4.0, 6.0  # syllables per second, pauses included; read-aloud Russian lies between
VOWELS = frozenset("аеёиоуыэюяАЕЁИОУЫЭЮЯ")
Load = Callable[[Path, AudioLimits], AudioClip]
_TEXTS = ("id", "speaker", "recording", "style", "dialect", "noise", "tempo", "split", "license", "sha256")


@dataclass(frozen=True)
class Entry:
    """One clip with its reference. `line` is its line in the manifest; what is unknown is None.

    `tempo` is "slow", "normal" or "fast", from the reference's syllables per second unless the manifest says.
    `seen_by` names the models that were trained on this clip.
    """

    line: int
    id: str
    audio: Path
    text: str
    duration: float
    sha256: str
    speaker: str | None = None
    recording: str | None = None
    style: str | None = None
    dialect: str | None = None
    noise: str | None = None
    snr_db: float | None = None
    tempo: str | None = None
    split: str | None = None
    license: str | None = None
    seen_by: tuple[str, ...] = ()

    @property
    def block(self) -> str:
        """What is resampled as one: the speaker, else the recording, else the clip."""
        for kind, value in (("speaker", self.speaker), ("recording", self.recording)):
            if value is not None:
                return f"{kind}:{value}"
        return f"clip:{self.id}"


@dataclass(frozen=True)
class Manifest:
    """Usable entries in the order of the file; `skipped` says what was left out and why; `sha256` of the file."""

    path: Path
    entries: tuple[Entry, ...]
    sha256: str
    skipped: tuple[Fault, ...] = ()

    @property
    def seconds(self) -> float:
        return sum(entry.duration for entry in self.entries)


def read_manifest(
    path: str | Path,
    *,
    skip_bad: bool = False,
    limits: AudioLimits | None = None,
    confined: bool = False,
    load: Load = load_clip,
) -> Manifest:
    """Read and check every line: fields, audio (decoded whole by `load`), duration, hash, ids used twice.

    confined: audio outside the manifest's own folder is refused (for manifests that strangers upload).
    Raises BadManifest with the faults of all bad lines; with `skip_bad` only if no line is left.
    """
    path = Path(path)
    if not path.is_file():
        raise BadManifest(faults=[_fault(0, Text(f"файла «{path.name}» нет", f"there is no file “{path.name}”"))])
    raw = path.read_bytes()
    entries: list[Entry] = []
    faults: list[Fault] = []
    seen: set[str] = set()
    for number, line in enumerate(raw.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = _entry(line, number, path.parent, limits or AudioLimits(), confined, load)
            if entry.id in seen:
                raise _Problem(Text(f"имя «{entry.id}» уже было", f"the id “{entry.id}” was used before"))
        except _Problem as problem:
            faults.append(_fault(number, problem.text))
            continue
        seen.add(entry.id)
        entries.append(entry)
    if not entries and not faults:
        faults.append(_fault(0, Text("манифест пуст", "the manifest is empty")))
    if faults and (not skip_bad or not entries):
        raise BadManifest(faults=faults)
    return Manifest(path, tuple(entries), hashlib.sha256(raw).hexdigest(), tuple(faults))


class _Problem(Exception):
    """Why one line cannot be used."""

    def __init__(self, text: Text) -> None:
        super().__init__()
        self.text = text


def _fault(line: int, text: Text) -> Fault:
    where = Text(f"строка {line}: ", f"line {line}: ") if line else Text("", "")
    return Fault(
        Text(f"{where.ru}{text.ru}.".capitalize() if not line else f"Манифест, {where.ru}{text.ru}.",
             f"{where.en}{text.en}.".capitalize() if not line else f"Manifest, {where.en}{text.en}."),
        Text("Исправьте манифест или запустите с --skip-bad.", "Mend the manifest or run with --skip-bad."),
    )  # fmt: skip


def _entry(line: bytes, number: int, folder: Path, limits: AudioLimits, confined: bool, load: Load) -> Entry:
    if len(line) > MAX_LINE_BYTES:
        raise _Problem(Text("строка слишком длинная", "the line is too long"))
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise _Problem(Text("это не JSON", "this is not JSON")) from None
    if not isinstance(fields, dict):
        raise _Problem(Text("это не объект JSON", "this is not a JSON object"))
    text, audio = fields.get("text"), fields.get("audio_filepath")
    if not isinstance(text, str):
        raise _Problem(Text("нет поля «text»", "the field “text” is missing"))
    if not isinstance(audio, str) or not audio or "\0" in audio:
        raise _Problem(Text("нет поля «audio_filepath»", "the field “audio_filepath” is missing"))
    place = _locate(folder, audio, confined)
    try:
        clip = load(place, limits)
    except (BadAudio, AudioTooLong) as error:
        raise _Problem(Text(error.sentence("ru").rstrip("."), error.sentence("en").rstrip("."))) from None
    return _checked(fields, number, place, text, clip.seconds, clip.sha256)


def _locate(folder: Path, audio: str, confined: bool) -> Path:
    place = folder / audio
    if confined and not place.resolve().is_relative_to(folder.resolve()):
        name = Path(audio).name
        raise _Problem(Text(f"запись «{name}» лежит вне папки", f"the recording “{name}” lies outside the folder"))
    return place


def _checked(fields: Mapping[str, Any], line: int, place: Path, text: str, seconds: float, sha256: str) -> Entry:
    duration = _number(fields, "duration")
    if duration is not None and abs(duration - seconds) > DURATION_TOLERANCE:
        raise _Problem(
            Text(
                f"«duration» {duration:g} с, а запись длится {seconds:.2f} с".replace(".", ","),
                f"“duration” is {duration:g} s, but the recording lasts {seconds:.2f} s",
            )
        )
    values: dict[str, str | None] = {}
    for name in _TEXTS:
        value = fields.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and name in {"id", "speaker", "recording"}:
            value = str(value)
        if value is not None and not isinstance(value, str):
            raise _Problem(Text(f"поле «{name}» — не строка", f"the field “{name}” is not a string"))
        values[name] = value or None
    if values["sha256"] not in {None, sha256}:
        raise _Problem(Text("хэш записи не сходится с «sha256»", "the recording's hash is not the given “sha256”"))
    seen_by = fields.get("seen_by") or []
    if not isinstance(seen_by, list) or not all(isinstance(name, str) for name in seen_by):
        raise _Problem(Text("поле «seen_by» — не список строк", "the field “seen_by” is not a list of strings"))
    values |= {"sha256": sha256, "id": values["id"] or place.stem, "tempo": values["tempo"] or tempo(text, seconds)}
    return Entry(
        line=line, audio=place, text=text, duration=seconds, snr_db=_number(fields, "snr_db"), seen_by=tuple(seen_by),
        **values,  # type: ignore[arg-type]
    )  # fmt: skip


def _number(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _Problem(Text(f"поле «{name}» — не число", f"the field “{name}” is not a number"))
    return float(value)


def syllables(text: str) -> int:
    """Vowels: in Russian each makes one syllable. Digits are not counted, so a text with digits seems slower."""
    return sum(letter in VOWELS for letter in text)


def tempo(text: str, seconds: float) -> str | None:
    """ "slow", "normal" or "fast" by the reference's syllables per second; None without syllables."""
    count = syllables(text)
    if not count:
        return None
    rate = count / seconds
    return "slow" if rate < SLOW else "fast" if rate > FAST else "normal"


@dataclass
class ManifestWriter:
    """Collects lines for a new manifest, with paths relative to where it will lie."""

    path: Path
    lines: list[dict[str, Any]] = field(default_factory=list)

    def add(self, audio: Path, text: str, duration: float, **more: Any) -> None:
        """One clip; fields that are None or empty are left out."""
        try:
            name = str(audio.resolve().relative_to(self.path.resolve().parent))
        except ValueError:
            name = str(audio.resolve())
        kept = {key: value for key, value in more.items() if value not in (None, "", [], ())}
        self.lines.append({"audio_filepath": name, "text": text, "duration": round(duration, 3), **kept})

    def write(self) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(dump_lines(self.lines), encoding="utf-8")
        return self.path


def dump_lines(lines: Iterable[Mapping[str, Any]]) -> str:
    """JSON lines, readable Cyrillic."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
