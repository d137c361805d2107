"""What the commands of `python -m evaluation` share: reading arguments, and a line of progress."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from merger.bilingual import LANGUAGES, Text
from merger.errors import BadParameter, Fault, MissingFile

T = Text


class Parser(argparse.ArgumentParser):
    """argparse whose faults are coded errors in the user's language."""

    def error(self, message: str) -> NoReturn:
        raise BadParameter(
            faults=[
                Fault(
                    T(f"Ключи не поняты: {message}.", f"The flags were not understood: {message}."),
                    T("Список ключей: python -m evaluation --help.", "All flags: python -m evaluation --help."),
                )
            ]
        )


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
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


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
    from merger.recipe import MergeRecipe

    name, found, path = value.partition("=")
    path, name = (path, name) if found else (value, Path(value).stem)
    file = Path(path)
    if not file.is_file():
        raise MissingFile(file=file.name, detail=T("нет такого рецепта", "no such recipe"))
    return name, MergeRecipe.from_json(file.read_text(encoding="utf-8"))


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
            s=f"{progress.remaining or 0:.0f}"
        )
        sys.stderr.write(f"\r\x1b[K{line}" if self.terminal else line + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Leave the cursor on a fresh line."""
        if self.terminal and self.shown:
            sys.stderr.write("\n")
