"""What the command line of a merge asks for: sources, recipes, output. All faults are reported together."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from merger.bilingual import Text
from merger.curves import parse_curve
from merger.dtypes import TORCH_NAMES
from merger.engine import BASE
from merger.errors import BadParameter, Fault
from merger.flags import fault, parameter_flags
from merger.layout import COMPONENTS
from merger.params import number_from
from merger.plan import Verify, parse_shard_size
from merger.recipe import MergeRecipe
from merger.recipe_file import StoredRecipe, read_recipe_file
from merger.recorded import ANY_SOURCES_FLAG, RecordedSources
from merger.registry import get_method, methods

ALL = "all"
WEIGHTS_FLAG = "--weights"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")


@dataclass(frozen=True)
class MergeRequest:
    """What a command line asks for. `recipes` maps a subfolder ("" for the output folder itself) to its recipe;
    `recorded` are the models that the sources have to be, if any; `warnings` are for the reports."""

    recipes: Mapping[str, MergeRecipe]
    sources: Mapping[str, str]
    output_dir: Path
    device: str
    donor: str
    dtype: str | None
    max_shard_bytes: int | None = None
    verify: Verify = "written"
    recorded: RecordedSources | None = None
    warnings: Sequence[Text] = ()


def read_request(given: Mapping[str, Any], found: Sequence[Fault] = ()) -> MergeRequest:
    """The request behind parsed flags. Raises BadParameter with all faults (`found` included), or BadRecipe."""
    faults = list(found)
    sources, weights = _sources(given, faults)
    recipes: dict[str, MergeRecipe] = {}
    stored: StoredRecipe | None = None
    try:
        if "--recipe" in given:
            stored = _stored_recipe(given, weights)
            recipes = {"": stored.recipe}
            sources = {**stored.recipe.sources, **sources}
            sources = stored.sources.arranged(sources) if stored.sources else sources
        else:
            recipes = _flag_recipes(given, weights)
    except BadParameter as error:
        faults.extend(error.faults)
    faults += _missing(given, sources)
    dtype, max_shard_bytes = _layout(given, stored, faults)
    verify = given.get("--verify", "written")
    if verify not in {"written", "full"}:
        faults.append(
            fault(f"--verify: «{verify}» непонятно.", f"--verify: “{verify}” is unclear.",
                  "Есть: written, full.", "There are: written, full.", "--verify")
        )  # fmt: skip
    if faults:
        raise BadParameter(faults=faults)
    donor, warnings = _donor(given, stored, sources)
    output = Path(given["--output-dir"]).expanduser()
    device = given.get("--device", "auto")
    recorded = stored.sources if stored and ANY_SOURCES_FLAG not in given else None
    return MergeRequest(
        recipes, sources, output, device, donor, dtype, max_shard_bytes, cast(Verify, verify), recorded, warnings
    )


def _donor(
    given: Mapping[str, Any], stored: StoredRecipe | None, sources: Mapping[str, str]
) -> tuple[str, list[Text]]:
    """The donor: the flag's, else the recorded one, else the first model; a warning if the recorded one is lacking."""
    first = next(key for key in sources if key != BASE)
    recorded = stored.donor if stored and "--donor" not in given else None
    # Other models may have other names; of the recorded models themselves the donor is one, or the recipe is wrong.
    if recorded is None or recorded in sources or ANY_SOURCES_FLAG not in given:
        return given.get("--donor") or recorded or first, []
    warning = Text(
        f"Модели «{recorded}», чьи config и словарь записаны в рецепте, нет: взяты от «{first}».",
        f"There is no model “{recorded}”, the recipe's donor of config and tokenizer: those of “{first}” are taken.",
    )
    return first, [warning]


def _missing(given: Mapping[str, Any], sources: Mapping[str, str]) -> list[Fault]:
    """Models, the output folder and the recipe that should have been named."""
    faults = []
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
    if ANY_SOURCES_FLAG in given and "--recipe" not in given:
        faults.append(
            fault(f"{ANY_SOURCES_FLAG} без --recipe не действует.",
                  f"{ANY_SOURCES_FLAG} has no effect without --recipe.",
                  "Уберите его или добавьте --recipe ФАЙЛ.", "Remove it, or add --recipe FILE.", ANY_SOURCES_FLAG)
        )  # fmt: skip
    return faults


def _layout(
    given: Mapping[str, Any], stored: StoredRecipe | None, faults: list[Fault]
) -> tuple[str | None, int | None]:
    """Precision and shard size: what the flags say, else what a stored export says."""
    dtype, most = (stored.dtype, stored.max_shard_bytes) if stored else (None, None)
    if "--dtype" in given:
        dtype = str(given["--dtype"]).upper()
        if dtype not in TORCH_NAMES:
            names = ", ".join(TORCH_NAMES)
            faults.append(
                fault(f"--dtype: нет точности «{dtype}».", f"--dtype: there is no precision “{dtype}”.",
                      f"Есть: {names}.", f"There are: {names}.", "--dtype")
            )  # fmt: skip
    if "--max-shard-size" in given:
        try:
            most = parse_shard_size(given["--max-shard-size"])
        except BadParameter as error:
            faults.extend(error.faults)
    return dtype, most


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
        try:
            path, weight = _split_weight(rest)
        except BadParameter as error:
            faults.extend(error.faults)
            continue
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
    """`PATH:WEIGHT` in its two parts. A path that ends in `:2` itself is written `PATH:2/`. Raises BadParameter."""
    path, colon, weight = text.rpartition(":")
    if not colon or "/" in weight:
        return text, None
    try:
        return path, number_from(weight)
    except BadParameter:
        if os.path.exists(os.path.expanduser(text)):
            return text, None
    raise BadParameter(
        faults=[
            fault(f"--model: после двоеточия нужен вес, «{weight}» — не число, и папки «{text}» нет.",
                  f"--model: a weight is due after the colon; “{weight}” is no number, nor “{text}” a folder.",
                  "Пример: --model c=models/c:0.3.", "For example: --model c=models/c:0.3.", "--model")
        ]
    )  # fmt: skip


def _stored_recipe(given: Mapping[str, Any], weights: Sequence[float | None]) -> StoredRecipe:
    extra = sorted({"--method", "--part", *parameter_flags()} & set(given))
    faults = []
    if extra:
        flags = ", ".join(extra)
        faults.append(
            fault(f"Вместе с --recipe нельзя: {flags}.", f"Not together with --recipe: {flags}.",
                  "Исправьте рецепт в файле.", "Change the recipe in its file.", "--recipe")
        )  # fmt: skip
    if _weighted(weights):
        faults.append(
            fault("Вместе с --recipe нельзя указывать вес в --model: веса — в рецепте.",
                  "Not together with --recipe: a weight in --model. The recipe holds the weights.",
                  "Уберите вес после двоеточия или исправьте рецепт в файле.",
                  "Remove the weight after the colon, or change the recipe in its file.", "--model")
        )  # fmt: skip
    if faults:
        raise BadParameter(faults=faults)
    return read_recipe_file(given["--recipe"])


def _flag_recipes(given: Mapping[str, Any], weights: Sequence[float | None]) -> dict[str, MergeRecipe]:
    method = given.get("--method", ALL)
    known = methods().values()
    names = [spec.name for spec in known if spec.guide] if method == ALL else [get_method(method).name]
    belonging = {declared.flag for name in names for declared in get_method(name).parameters}
    faults = _foreign_flags(given, belonging, method)
    if _weighted(weights):
        faults += _ineffective_weights(given, belonging, method)
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
            elif declared.flag == WEIGHTS_FLAG and _weighted(weights):
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


def _weighted(weights: Sequence[float | None]) -> bool:
    return any(weight is not None for weight in weights)


def _ineffective_weights(given: Mapping[str, Any], belonging: set[str], method: str) -> list[Fault]:
    """Faults where weights in `--model` would change nothing."""
    if WEIGHTS_FLAG not in belonging:
        owners = ", ".join(spec.name for spec in methods().values() if spec.parameter("weights"))
        own = ", ".join(flag for flag in parameter_flags() if flag in belonging)
        return [
            fault(f"Вес в --model не относится к методу {method}.", f"A weight in --model does not belong to {method}.",
                  f"Уберите вес после двоеточия: ключи метода — {own}. Веса моделей есть у: {owners}.",
                  f"Remove the weight after the colon: the method's flags are {own}. Weights belong to: {owners}.",
                  "--model")
        ]  # fmt: skip
    if WEIGHTS_FLAG in given:
        return [
            fault(f"Веса указаны дважды: в --model и в {WEIGHTS_FLAG}.",
                  f"Weights are given twice: in --model and in {WEIGHTS_FLAG}.",
                  "Оставьте одно из двух.", "Keep one of the two.", WEIGHTS_FLAG)
        ]  # fmt: skip
    return []


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
