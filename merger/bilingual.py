"""One text in the two languages of the product."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Lang = Literal["ru", "en"]
LANGUAGES: tuple[Lang, ...] = ("ru", "en")
NO_BREAK_SPACE = "\u00a0"


@dataclass(frozen=True, slots=True)
class Text:
    """The same words in Russian and in English; both may hold `str.format` fields."""

    ru: str
    en: str

    def get(self, lang: str) -> str:
        """The words in `lang` (`"ru"` or `"en"`)."""
        return self.en if lang == "en" else self.ru

    def format(self, **facts: Any) -> Text:
        """Both languages with their fields filled in; numbers and nested texts follow each language."""
        return Text(*(self.get(lang).format_map(_Rendered(facts, lang)) for lang in LANGUAGES))


class _Rendered(dict[str, str]):
    """Facts as they read in one language; an unknown field stays visible instead of raising inside an error."""

    def __init__(self, facts: Mapping[str, Any], lang: str) -> None:
        super().__init__({key: render(value, lang) for key, value in facts.items()})

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


def render(value: Any, lang: str) -> str:
    """A fact as a reader of `lang` expects it: decimal comma in Russian, lists joined by semicolons."""
    if isinstance(value, Text):
        return value.get(lang)
    if isinstance(value, bool):
        return {"ru": ("нет", "да"), "en": ("no", "yes")}["en" if lang == "en" else "ru"][value]
    if isinstance(value, float):
        return number(value, lang)
    if isinstance(value, (list, tuple)):
        return "; ".join(render(item, lang) for item in value)
    return str(value)


def number(value: float, lang: str) -> str:
    """A number without trailing zeros, at most 6 significant digits; Russian writes a decimal comma."""
    text = f"{value:.6g}"
    return text if lang == "en" else text.replace(".", ",")


def percent(share: float, lang: str) -> str:
    """A share (0…1) as a percentage: `70 %` in Russian (no-break space), `70%` in English."""
    text = number(round(share * 100, 4), lang)
    return f"{text}%" if lang == "en" else f"{text}{NO_BREAK_SPACE}%"


def byte_size(count: int, lang: str) -> str:
    """A number of bytes in decimal units, one digit after the point: `3.1 GB`, `3,1 ГБ`."""
    value, unit = float(count), 0
    units = (("Б", "B"), ("КБ", "kB"), ("МБ", "MB"), ("ГБ", "GB"), ("ТБ", "TB"))
    while value >= 999.95 and unit < len(units) - 1:
        value, unit = value / 1000, unit + 1
    text = f"{value:.1f}" if unit else f"{count}"
    name = units[unit][1 if lang == "en" else 0]
    return (text if lang == "en" else text.replace(".", ",")) + NO_BREAK_SPACE + name


def preferred_language(environ: Mapping[str, str] = os.environ) -> Lang:
    """Language of a command line that was given none: English if the locale asks for it, Russian otherwise.

    The first that is set of WHISPER_MERGE_LANG, LC_ALL, LC_MESSAGES and LANG decides, as in POSIX.
    """
    for variable in ("WHISPER_MERGE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if environ.get(variable):
            return "en" if environ[variable].lower().startswith("en") else "ru"
    return "ru"
