"""The command line of a merge: flags derived from the registry, and what they ask for.

Values stay text until the chosen method's own declaration has parsed them, so every message comes from one place, in
both languages, and all faults are reported together.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from merger.bilingual import Text
from merger.curves import parse_curve
from merger.dtypes import TORCH_NAMES
from merger.engine import BASE
from merger.errors import BadParameter, Fault
from merger.layout import COMPONENTS
from merger.recipe import MergeRecipe, read_recipe_file
from merger.registry import ParameterSpec, get_method, methods

ALL = "all"
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
    "--donor": ("NAME", Text("чьи config и словарь взять: a, b, … (по умолчанию a)",
                             "whose config and tokenizer to take: a, b, … (default a)")),
    "--log": ("FILE", Text("писать журнал в этот файл", "write a log to this file")),
    "--lang": ("ru|en", Text("язык сообщений", "language of the messages")),
}  # fmt: skip
SWITCHES: dict[str, Text] = {
    "--json": Text("итог в JSON на стандартный вывод", "a JSON summary on standard output"),
    "--help": Text("эта справка", "this help"),
}
_REPEATED = frozenset({"--model", "--part"})
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")


@dataclass(frozen=True)
class MergeRequest:
    """What a command line asks for. `recipes` maps a subfolder ("" for the output folder itself) to its recipe."""

    recipes: Mapping[str, MergeRecipe]
    sources: Mapping[str, str]
    output_dir: Path
    device: str
    donor: str
    dtype: str | None


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


def parse_arguments(arguments: Sequence[str]) -> tuple[dict[str, Any], list[Fault]]:
    """Flag → text (a list for those that may be repeated, True for switches), and what is wrong with the flags.

    Raises BadParameter if a flag lacks its value.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    for flag in [*FLAGS, *parameter_flags()]:
        parser.add_argument(flag, dest=flag, action="append")
    for flag in SWITCHES:
        parser.add_argument(flag, *(["-h"] if flag == "--help" else []), dest=flag, action="store_true")
    found, unknown = parser.parse_known_args(list(arguments))
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


def read_request(given: Mapping[str, Any], found: Sequence[Fault] = ()) -> MergeRequest:
    """The request behind parsed flags. Raises BadParameter with all faults (`found` included), or BadRecipe."""
    faults = list(found)
    sources, weights = _sources(given, faults)
    recipes: dict[str, MergeRecipe] = {}
    try:
        recipes = _stored_recipe(given) if "--recipe" in given else _flag_recipes(given, weights)
    except BadParameter as error:
        faults.extend(error.faults)
    if "--recipe" in given and recipes:
        sources = {**recipes[""].sources, **sources}
    for flag, key in (("--model-a", "a"), ("--model-b", "b")):
        if key not in sources and len([name for name in sources if name != BASE]) < 2:
            faults.append(
                fault(
                    f"Не указана модель: {flag}.", f"A model is missing: {flag}.",
                    f"Добавьте {flag} ПУТЬ.", f"Add {flag} PATH.", flag,
                )
            )  # fmt: skip
    if "--output-dir" not in given:
        faults.append(
            fault(
                "Не указана папка результата.", "The output folder is missing.",
                "Добавьте --output-dir ПУТЬ.", "Add --output-dir PATH.", "--output-dir",
            )
        )  # fmt: skip
    dtype = given["--dtype"].upper() if "--dtype" in given else None
    if dtype is not None and dtype not in TORCH_NAMES:
        names = ", ".join(TORCH_NAMES)
        faults.append(
            fault(f"--dtype: нет точности «{dtype}».", f"--dtype: there is no precision “{dtype}”.",
                  f"Есть: {names}.", f"There are: {names}.", "--dtype")
        )  # fmt: skip
    if faults:
        raise BadParameter(faults=faults)
    donor = given.get("--donor") or next(key for key in sources if key != BASE)
    output = Path(given["--output-dir"]).expanduser()
    return MergeRequest(recipes, sources, output, given.get("--device", "auto"), donor, dtype)


def _sources(given: Mapping[str, Any], faults: list[Fault]) -> tuple[dict[str, str], list[float | None]]:
    """Key → path in order a, b, others, base; and the weights that `--model` gave."""
    sources: dict[str, str] = {}
    weights: list[float | None] = []
    for flag, key in (("--model-a", "a"), ("--model-b", "b")):
        if flag in given:
            sources[key] = given[flag]
            weights.append(None)
    for text in given.get("--model", ()):
        name, found, rest = text.partition("=")
        path, weight = _split_weight(rest)
        if not found or not path or not _NAME.fullmatch(name) or name in sources or name == BASE:
            faults.append(
                fault(f"--model: «{text}» непонятно или имя занято.",
                      f"--model: “{text}” is unclear, or its name taken.",
                      "Пример: --model c=models/c:0.3.", "For example: --model c=models/c:0.3.", "--model")
            )  # fmt: skip
            continue
        sources[name] = path
        weights.append(weight)
    if "--base" in given:
        sources[BASE] = given["--base"]
    return sources, weights


def _split_weight(text: str) -> tuple[str, float | None]:
    path, colon, weight = text.rpartition(":")
    if colon and re.fullmatch(r"\d+([.]\d+)?", weight):
        return path, float(weight)
    return text, None


def _stored_recipe(given: Mapping[str, Any]) -> dict[str, MergeRecipe]:
    extra = sorted({"--method", "--part", *parameter_flags()} & set(given))
    if extra:
        flags = ", ".join(extra)
        raise BadParameter(
            faults=[
                fault(f"Вместе с --recipe нельзя: {flags}.", f"Not together with --recipe: {flags}.",
                      "Исправьте рецепт в файле.", "Change the recipe in its file.", "--recipe")
            ]
        )  # fmt: skip
    return {"": read_recipe_file(given["--recipe"])}


def _flag_recipes(given: Mapping[str, Any], weights: Sequence[float | None]) -> dict[str, MergeRecipe]:
    method = given.get("--method", ALL)
    known = methods().values()
    names = [spec.name for spec in known if spec.guide] if method == ALL else [get_method(method).name]
    belonging = {declared.flag for name in names for declared in get_method(name).parameters}
    faults = _foreign_flags(given, belonging, method)
    parts = _parts(given, names, faults)
    recipes = {}
    for name in names:
        parameters: dict[str, Any] = {}
        for declared in get_method(name).parameters:
            if declared.flag in given:
                try:
                    parameters[declared.key] = declared.parse(given[declared.flag])
                except BadParameter as error:
                    faults.extend(error.faults)
            elif declared.key == "weights" and any(weight is not None for weight in weights):
                parameters["weights"] = [1.0 if weight is None else weight for weight in weights]
        own = {component: {key: value for key, value in settings.items() if get_method(name).parameter(key)}
               for component, settings in parts.items()}  # fmt: skip
        try:
            recipes[name if method == ALL else ""] = MergeRecipe.build(
                name, parameters, parts={component: settings for component, settings in own.items() if settings}
            )
        except BadParameter as error:
            faults.extend(error.faults)
    if faults:
        raise BadParameter(faults=faults)
    return recipes


def _foreign_flags(given: Mapping[str, Any], belonging: set[str], method: str) -> list[Fault]:
    faults = []
    for flag in parameter_flags():
        if flag in given and flag not in belonging:
            owners = ", ".join(spec.name for spec in methods().values() for own in spec.parameters if own.flag == flag)
            faults.append(
                fault(f"{flag} не относится к методу {method}.", f"{flag} does not belong to {method}.",
                      f"Этот ключ есть у: {owners}.", f"The flag belongs to: {owners}.", flag)
            )  # fmt: skip
    return faults


def _parts(given: Mapping[str, Any], names: Sequence[str], faults: list[Fault]) -> dict[str, dict[str, Any]]:
    parts: dict[str, dict[str, Any]] = {}
    for text in given.get("--part", ()):
        place, found, values = text.partition("=")
        component, dot, key = place.partition(".")
        key = key.replace("-", "_")
        declared = next((own for name in names if (own := get_method(name).parameter(key))), None)
        if not found or not dot or component not in COMPONENTS or declared is None:
            known = ", ".join(COMPONENTS)
            faults.append(
                fault(f"--part: «{text}» непонятно.", f"--part: “{text}” is unclear.",
                      f"Пример: --part encoder.direct_alpha=0.2,0.8; части: {known}.",
                      f"For example: --part encoder.direct_alpha=0.2,0.8; parts: {known}.", "--part")
            )  # fmt: skip
            continue
        try:
            parts.setdefault(component, {})[key] = parse_curve(declared, values)
        except BadParameter as error:
            faults.extend(each.prefixed(component, key) for each in error.faults)
    return parts
