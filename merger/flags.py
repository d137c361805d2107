"""The flags of a merge: the fixed ones here, the others derived from the registry.

Values stay text until the chosen method's own declaration has parsed them, so every message comes from one place, in
both languages, and all faults are reported together.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from merger.bilingual import Text
from merger.errors import BadParameter, Fault
from merger.recorded import ANY_SOURCES_FLAG
from merger.registry import ParameterSpec, methods

FLAGS: dict[str, tuple[str, Text]] = {
    "--method": ("NAME", Text("метод слияния или all — все три метода руководства (по умолчанию all)",
                              "merge method, or all: the guide's three (default all)")),
    "--model-a": ("PATH", Text("модель A: папка или имя на Hugging Face Hub", "model A: a folder or a Hub id")),
    "--model-b": ("PATH", Text("модель B: папка или имя на Hugging Face Hub", "model B: a folder or a Hub id")),
    "--output-dir": ("PATH", Text("папка результата (для all — подпапки direct, slerp, ties)",
                                  "output folder (all: subfolders direct, slerp, ties)")),
    "--base": ("PATH", Text("базовая модель, из которой дообучены остальные", "the base that the others started from")),
    "--model": ("NAME=PATH[:WEIGHT]", Text("ещё одна модель с весом; можно повторять",
                                           "one more model with its weight; may be repeated")),
    "--recipe": ("FILE", Text("рецепт из файла JSON или YAML, в том числе recipe.json результата",
                              "a recipe from a JSON or YAML file, a result's recipe.json included")),
    "--part": ("PART.PARAMETER=VALUES", Text(
        "значение для части модели (encoder, decoder, cross_attention, embeddings) или кривая по слоям: "
        "encoder.direct_alpha=0.2,0.5,0.8; веса в кривой разделяет «/»; можно повторять",
        "a value for a part of the model (encoder, decoder, cross_attention, embeddings), or a curve over its "
        "layers: encoder.direct_alpha=0.2,0.5,0.8; “/” stands between weights of a curve; may be repeated")),
    "--device": ("NAME", Text("auto, cpu, cuda или cuda:N (по умолчанию auto)",
                              "auto, cpu, cuda, cuda:N (default auto)")),
    "--dtype": ("NAME", Text("точность результата: F16, BF16, F32 (по умолчанию как у модели A)",
                             "precision of the result: F16, BF16, F32 (default: as in model A)")),
    "--max-shard-size": ("SIZE", Text("делить веса на файлы не больше этого: 5GB, 500MB (по умолчанию 50GB)",
                                      "split the weights into files of at most this: 5GB, 500MB (default 50GB)")),
    "--verify": ("written|full", Text(
        "full — перечитать весь результат с диска, прежде чем он появится (по умолчанию written: суммы и NaN "
        "проверяются в памяти по пути на диск, с диска перечитывается структура)",
        "full reads the whole result back from the disk before it appears (default written: checksums and NaN are "
        "taken in memory on the way to the disk, the structure is read back)")),
    "--donor": ("NAME", Text("чьи config и словарь взять: a, b, … (по умолчанию a)",
                             "whose config and tokenizer to take: a, b, … (default a)")),
    "--log": ("FILE", Text("писать журнал в этот файл", "write a log to this file")),
    "--lang": ("ru|en", Text("язык сообщений", "language of the messages")),
}  # fmt: skip
SWITCHES: dict[str, Text] = {
    ANY_SOURCES_FLAG: Text("с --recipe: применить рецепт результата к другим моделям, чем те, из которых он сделан",
                           "with --recipe: use a result's recipe on other models than those it was made from"),
    "--json": Text("итог в JSON на стандартный вывод", "a JSON summary on standard output"),
    "--help": Text("эта справка", "this help"),
}  # fmt: skip
_REPEATED = frozenset({"--model", "--part"})


def fault(ru: str, en: str, remedy_ru: str, remedy_en: str, parameter: str | None = None) -> Fault:
    """A fault from four sentences."""
    return Fault(Text(ru, en), Text(remedy_ru, remedy_en), parameter)


class _Parser(argparse.ArgumentParser):
    """argparse without its English messages."""

    def error(self, message: str) -> NoReturn:
        found = re.search(r"argument (--?[\w-]+)", message)
        flag = found.group(1) if found else ""
        raise BadParameter(
            faults=[
                fault(
                    f"{flag}: у ключа нет значения или оно лишнее.",
                    f"{flag}: the flag lacks its value, or takes none.",
                    "Посмотрите --help.",
                    "See --help.",
                    flag or None,
                )
            ]
        )


def parameter_flags() -> dict[str, ParameterSpec]:
    """Every flag that some method declares, in display order; of equal flags the first declaration."""
    flags: dict[str, ParameterSpec] = {}
    for spec in methods().values():
        for declared in spec.parameters:
            flags.setdefault(declared.flag, declared)
    return flags


def _joined(arguments: Sequence[str]) -> list[str]:
    """`--flag -0.2,1.2` as `--flag=-0.2,1.2`: argparse takes only a lone negative number for a value."""
    takes_value, joined = {*FLAGS, *parameter_flags()}, list[str]()
    for word in arguments:
        if joined and joined[-1] in takes_value and re.match(r"-[\d.,]", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def parse_arguments(arguments: Sequence[str]) -> tuple[dict[str, Any], list[Fault]]:
    """Flag → text (a list for those that may be repeated, True for switches), and what is wrong with the flags.

    Raises BadParameter if a flag lacks its value.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    for flag in [*FLAGS, *parameter_flags()]:
        parser.add_argument(flag, dest=flag, action="append")
    for flag in SWITCHES:
        parser.add_argument(flag, *(["-h"] if flag == "--help" else []), dest=flag, action="store_true")
    found, unknown = parser.parse_known_args(_joined(arguments))
    given: dict[str, Any] = {flag: value for flag, value in vars(found).items() if value}
    faults = [
        fault(f"Незнакомый ключ «{word}».", f"Unknown argument “{word}”.", "Посмотрите --help.", "See --help.", word)
        for word in unknown
    ]
    for flag, values in given.items():
        if flag in SWITCHES or flag in _REPEATED:
            continue
        if len(values) > 1 and len(set(values)) > 1:
            faults.append(
                fault(
                    f"{flag} указан несколько раз с разными значениями.",
                    f"{flag} is given several times with different values.",
                    "Оставьте одно значение.",
                    "Keep one value.",
                    flag,
                )
            )
        given[flag] = values[-1]
    return given, faults
