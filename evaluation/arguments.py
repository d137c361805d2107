"""What the commands of `python -m evaluation` share: reading arguments, and a line of progress."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from merger.bilingual import LANGUAGES, Text
from merger.errors import BadParameter, Fault
from merger.provenance import RECIPE_FILE

T = Text


# What argparse says, in English only, and what it means.
_COMPLAINTS: tuple[tuple[str, Text], ...] = (
    (r"the following arguments are required: (?P<what>.+)", T("не указано: {what}", "missing: {what}")),
    (r"unrecognized arguments: (?P<what>.+)", T("незнакомо: {what}", "unknown: {what}")),
    (
        r"argument (?P<what>[^:]+): invalid choice: (?P<value>.+) \(choose from (?P<known>.+)\)",
        T("{what}: нет значения {value}; есть {known}", "{what}: there is no {value}; there are {known}"),
    ),
    (r"argument (?P<what>[^:]+): expected .+", T("у {what} нет значения", "{what} lacks its value")),
    (r"argument (?P<what>[^:]+): invalid .+ value: (?P<value>.+)", T("{what}: {value} — не то", "{what}: bad {value}")),
    (
        r"argument (?P<what>[^:]+): whole numbers from (?P<least>\d) on, not (?P<value>.*)",
        T("{what}: нужно целое от {least}, а не «{value}»", "{what}: a whole number from {least} on, not “{value}”"),
    ),
)


class Parser(argparse.ArgumentParser):
    """argparse whose faults are coded errors in the user's language."""

    def error(self, message: str) -> NoReturn:
        found = ((re.fullmatch(pattern, message), text) for pattern, text in _COMPLAINTS)
        told = next((text.format(**match.groupdict()) for match, text in found if match), T(message, message))
        remedy = T(f"Список ключей: {self.prog} --help.", f"All flags: {self.prog} --help.")
        sentence = T(f"Ключи не поняты: {told.ru}.", f"The flags were not understood: {told.en}.")
        raise BadParameter(faults=[Fault(sentence, remedy)])


def make_parser(lang: str, name: str, about: Text, epilog: Text | None = None) -> Parser:
    parser = Parser(
        prog=f"python -m evaluation{name}",
        description=about.get(lang),
        epilog=epilog.get(lang) if epilog else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    help_text = T("язык сообщений и отчёта", "language of messages and report")
    parser.add_argument("--lang", choices=LANGUAGES, default=lang, help=help_text.get(lang))
    return parser


def positive(value: str) -> int:
    """A whole number from 1 on."""
    return _whole(value, least=1)


def not_negative(value: str) -> int:
    """A whole number from 0 on."""
    return _whole(value, least=0)


def _whole(value: str, least: int) -> int:
    if not value.isdecimal() or int(value) < least:
        raise argparse.ArgumentTypeError(f"whole numbers from {least} on, not {value}")
    return int(value)


def named(values: Sequence[str]) -> dict[str, str]:
    """NAME=PATH …; without a name the path's last part is the name. Raises BadParameter for a name used twice."""
    models: dict[str, str] = {}
    for value in values:
        name, found, path = value.partition("=")
        name, path = (name, path) if found and name and "/" not in name else (Path(value).name, value)
        if name in models:
            raise BadParameter(
                faults=[
                    Fault(
                        T(f"Имя модели занято дважды: {name}.", f"The model name {name} is used twice."),
                        T("Дайте моделям разные имена: --model ИМЯ=ПУТЬ.", "Name them differently: --model NAME=PATH."),
                    )
                ]
            )
        models[name] = path
    return models


def read_recipe(value: str) -> tuple[str, Any]:
    """[NAME=]FILE: a recipe by hand, JSON or YAML, or the `recipe.json` of a merged folder, which gives the folder's
    name. Raises MissingFile, BadRecipe."""
    from merger.recipe_file import read_recipe_file

    name, found, path = value.partition("=")
    file = Path(path if found else value)
    if not found:
        name = file.resolve().parent.name if file.name == RECIPE_FILE else file.stem
    return name, read_recipe_file(file).recipe


class ProgressLine:
    """«merged 48/120 клипов, осталось 35 с» on standard error."""

    def __init__(self, lang: str) -> None:
        self.lang, self.terminal, self.shown = lang, sys.stderr.isatty(), 0.0

    def __call__(self, progress: Any) -> None:
        now = time.monotonic()
        if now - self.shown < (0.1 if self.terminal else 5.0) and progress.done_clips < progress.total_clips:
            return
        self.shown = now
        left = "" if progress.remaining is None else T(", осталось {s} с", ", {s} s left").get(self.lang)
        line = f"{progress.system} {progress.done_clips}/{progress.total_clips}" + left.format(
            s=f"{max(progress.remaining or 0.0, 0.0):.0f}"
        )
        sys.stderr.write(f"\r\x1b[K{line}" if self.terminal else line + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Leave the cursor on a fresh line."""
        if self.terminal and self.shown:
            sys.stderr.write("\n")
