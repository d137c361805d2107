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
    "nothing": Text("файл пуст", "the file is empty"),
    "unreadable": Text("это не запись звука в известном формате", "it is not audio in a known format"),
    "damaged": Text("файл повреждён", "the file is damaged"),
    "no_audio": Text("в ней нет звуковой дорожки", "it has no audio track"),
    "empty": Text("в ней нет ни одного отсчёта", "it holds no samples"),
    "short": Text("она длится всего {value} с", "it lasts only {value} s"),
    "rate": Text("частота {value} Гц вне границ 4–192 кГц", "its rate of {value} Hz is outside 4–192 kHz"),
    "channels": Text("в ней каналов: {value}, а можно не больше 8", "it has {value} channels, at most 8 are accepted"),
    "not_finite": Text("в отсчётах есть NaN или бесконечность", "its samples contain NaN or infinity"),
    "slow": Text("чтение заняло больше {value} с", "reading it took more than {value} s"),
}

# Saving in another format helps against most of these, but not against all.
_OTHER_FORMAT = Text(
    "Сохраните её как WAV, FLAC, OGG, MP3, M4A или WebM и попробуйте ещё раз.",
    "Save it as WAV, FLAC, OGG, MP3, M4A or WebM and try again.",
)
_LONGER = Text("Запишите или вырежьте кусок подлиннее.", "Record or cut out a longer piece.")
_ADVICE = {
    "missing": Text("Выберите файл ещё раз.", "Choose the file again."),
    "nothing": Text("Выберите файл ещё раз.", "Choose the file again."),
    "no_audio": Text("Выберите файл, в котором есть звук.", "Choose a file that has sound in it."),
    "empty": _LONGER,
    "short": _LONGER,
}


class BadAudio(WhisperMergeError):
    """A recording that cannot be used. Facts: `name` (never a server's path), `reason` (a key of the list), `value`."""

    code = "BAD_AUDIO"
    sentence_text = Text("Запись «{name}» не читается: {why}.", "The recording “{name}” cannot be read: {why}.")
    remedy_text = Text("{advice}", "{advice}")

    def __init__(self, **facts: Any) -> None:
        reason = facts["reason"]
        why = _REASONS[reason].format(value=facts.get("value"))
        super().__init__(**{**facts, "why": why, "advice": _ADVICE.get(reason, _OTHER_FORMAT)})


_UNITS = {"s": Text("с", "s"), "min": Text("мин", "min"), "MB": Text("МБ", "MB")}


class AudioTooLong(WhisperMergeError):
    """A recording above the cap. Facts: `name`, `limit`, `unit` ("s" or "MB")."""

    code = "AUDIO_TOO_LONG"
    sentence_text = Text(
        "Запись «{name}» длиннее или больше, чем можно здесь: предел {limit_told} {unit_name}.",
        "The recording “{name}” is longer or larger than accepted here: the limit is {limit_told} {unit_name}.",
    )
    remedy_text = Text("Вырежьте нужный отрывок.", "Cut out the part that you need.")

    def __init__(self, **facts: Any) -> None:
        limit, unit = facts["limit"], facts["unit"]
        if unit == "s" and limit >= 120 and limit % 60 == 0:
            limit, unit = limit / 60, "min"  # «60 мин» reads better than «3600 с»
        super().__init__(**{**facts, "limit_told": limit, "unit_name": _UNITS[unit]})


class BadManifest(FaultList):
    """A manifest with lines that cannot be used. Facts: `faults`, each of which names its line."""

    code = "BAD_MANIFEST"
