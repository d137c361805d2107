"""How the text of an environment variable becomes a value, and how a value is shown again."""

import dataclasses
import math
import os
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from merger.bilingual import Text
from merger.errors import Fault, FaultList

PREFIX = "WHISPER_MERGE_"
_SAME: Any = object()


class BadSetting(FaultList):
    """Environment variables that cannot be understood. Facts: `faults`, one for each."""

    code = "BAD_SETTING"


def fault(ru: str, en: str, remedy_ru: str, remedy_en: str) -> Fault:
    """One thing that is wrong with the settings."""
    return Fault(Text(ru, en), Text(remedy_ru, remedy_en))


class Kind:
    """Reads and shows one sort of value. `unit` goes into the table, `expected` into messages."""

    unit = ""
    expected = Text("текст", "a text")

    def read(self, name: str, text: str) -> Any:
        """The value. Raises BadSetting."""
        return text.strip()

    def shown(self, value: Any) -> str:
        """The value as somebody would set it; "" for nothing."""
        return "" if value is None else str(value)

    def bad(self, name: str, text: str) -> BadSetting:
        return BadSetting(
            faults=[
                fault(
                    f"Настройка {name}={text!r} не годится.", f"The setting {name}={text!r} will not do.",
                    f"Ожидается {self.expected.ru}.", f"Expected: {self.expected.en}.",
                )
            ]
        )  # fmt: skip


class Word(Kind):
    """Any text."""


class Words(Kind):
    """Texts with commas between."""

    expected = Text("имена через запятую", "names with commas between")

    def read(self, name: str, text: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())

    def shown(self, value: Any) -> str:
        return ", ".join(value)


class Networks(Words):
    """IP addresses or networks with commas between."""

    expected = Text(
        "адреса или сети через запятую, например 10.0.0.0/8",
        "addresses or networks with commas between, like 10.0.0.0/8",
    )

    def read(self, name: str, text: str) -> Any:
        found: list[IPv4Network | IPv6Network] = []
        for part in super().read(name, text):
            try:
                found.append(ip_network(part))
            except ValueError:
                raise self.bad(name, text) from None
        return tuple(found)

    def shown(self, value: Any) -> str:
        return ", ".join(str(one) for one in value)


class Folder(Kind):
    """A path; relative ones count from where the app was started."""

    expected = Text("путь", "a path")

    def read(self, name: str, text: str) -> Path:
        if "\0" in text:
            raise self.bad(name, text)
        return Path(text.strip()).expanduser().resolve()


class Folders(Kind):
    """Paths, separated as in PATH."""

    expected = Text("пути", "paths")

    def read(self, name: str, text: str) -> tuple[Path, ...]:
        return tuple(Folder().read(name, part) for part in text.split(os.pathsep) if part.strip())

    def shown(self, value: Any) -> str:
        return os.pathsep.join(str(one) for one in value)


class Flag(Kind):
    """1 or 0."""

    expected = Text("1 или 0", "1 or 0")

    def read(self, name: str, text: str) -> bool:
        lowered = text.strip().lower()
        if lowered in {"1", "true", "yes", "on"}:
            return True
        if lowered in {"0", "false", "no", "off"}:
            return False
        raise self.bad(name, text)

    def shown(self, value: Any) -> str:
        return "1" if value else "0"


class Choice(Kind):
    """One of a few words."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words
        self.expected = Text(f"одно из: {', '.join(words)}", f"one of {', '.join(words)}")

    def read(self, name: str, text: str) -> str:
        word = text.strip().lower()
        if word not in self.words:
            raise self.bad(name, text)
        return word


class Number(Kind):
    """A number within a range, the ends included."""

    sort = Text("число", "a number")

    def __init__(self, least: float, most: float, unit: str = "") -> None:
        self.least, self.most, self.unit = least, most, unit
        span = f"{least:g} … {most:.15g}{' ' + unit if unit else ''}"
        self.expected = Text(f"{self.sort.ru}, {span}", f"{self.sort.en}, {span}")

    def read(self, name: str, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise self.bad(name, text) from None
        if not (math.isfinite(value) and self.least <= value <= self.most):
            raise self.bad(name, text)
        return value

    def shown(self, value: Any) -> str:
        return f"{value:.15g}"


class Whole(Number):
    """A whole number within a range."""

    sort = Text("целое число", "a whole number")

    def read(self, name: str, text: str) -> int:
        if not text.strip().isascii() or not text.strip().isdigit():
            raise self.bad(name, text)
        return int(super().read(name, text))


@dataclass(frozen=True)
class Declared:
    """One setting: how it is read, its default in a lab and on a Space, what it means, and its variable."""

    kind: Kind
    lab: Any
    space: Any
    about: str
    variable: str = ""

    def named(self, field: str) -> "Declared":
        return dataclasses.replace(self, variable=PREFIX + field.upper())

    def default(self, profile: str) -> Any:
        return self.space if profile == "space" else self.lab


def declared(kind: Kind, lab: Any, space: Any = _SAME, about: str = "") -> Any:
    """A dataclass field with its declaration; the field's own default is the lab's."""
    meaning = Declared(kind, lab, lab if space is _SAME else space, about)
    return dataclasses.field(default=lab, metadata={"declared": meaning})
