"""What the evaluation adds to the tree of `merger.errors`.

WhisperMergeError
├── BadAudio         BAD_AUDIO
├── AudioTooLong     AUDIO_TOO_LONG
└── FaultList
    └── BadManifest  BAD_MANIFEST     every bad line at once
"""

from typing import Any

from merger.bilingual import Text
from merger.errors import FaultList, WhisperMergeError

_REASONS = {
    "missing": Text("файла нет", "there is no such file"),
    "unreadable": Text("это не запись звука в известном формате", "it is not audio in a known format"),
    "damaged": Text("файл повреждён", "the file is damaged"),
    "no_audio": Text("в нём нет звуковой дорожки", "it has no audio track"),
    "empty": Text("в нём нет ни одного отсчёта", "it holds no samples"),
    "short": Text("она длится всего {value} с", "it lasts only {value} s"),
    "rate": Text("частота {value} Гц вне границ 4–192 кГц", "its rate of {value} Hz is outside 4–192 kHz"),
    "channels": Text("в ней каналов: {value}, а можно не больше 8", "it has {value} channels, at most 8 are accepted"),
    "not_finite": Text("в отсчётах есть NaN или бесконечность", "its samples contain NaN or infinity"),
    "slow": Text("чтение заняло больше {value} с", "reading it took more than {value} s"),
}


class BadAudio(WhisperMergeError):
    """A recording that cannot be used. Facts: `name` (never a server's path), `reason` (a key of the list), `value`."""

    code = "BAD_AUDIO"
    sentence_text = Text("Запись «{name}» не читается: {why}.", "The recording “{name}” cannot be read: {why}.")
    remedy_text = Text(
        "Сохраните её как WAV, FLAC, OGG, MP3, M4A или WebM и попробуйте ещё раз.",
        "Save it as WAV, FLAC, OGG, MP3, M4A or WebM and try again.",
    )

    def __init__(self, **facts: Any) -> None:
        why = _REASONS[facts["reason"]].format(value=facts.get("value"))
        super().__init__(**{**facts, "why": why})


_UNITS = {"s": Text("с", "s"), "MB": Text("МБ", "MB")}


class AudioTooLong(WhisperMergeError):
    """A recording above the cap. Facts: `name`, `limit`, `unit` ("s" or "MB")."""

    code = "AUDIO_TOO_LONG"
    sentence_text = Text(
        "Запись «{name}» длиннее или больше, чем можно здесь: предел {limit} {unit_name}.",
        "The recording “{name}” is longer or larger than accepted here: the limit is {limit} {unit_name}.",
    )
    remedy_text = Text("Вырежьте нужный отрывок.", "Cut out the part that you need.")

    def __init__(self, **facts: Any) -> None:
        super().__init__(**{**facts, "unit_name": _UNITS[facts["unit"]]})


class BadManifest(FaultList):
    """A manifest with lines that cannot be used. Facts: `faults`, each of which names its line."""

    code = "BAD_MANIFEST"
