"""The recipes that a command line asks for: stored in a file, or made of the method's flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from merger.curves import parse_curve
from merger.errors import BadParameter, Fault
from merger.flags import fault, parameter_flags
from merger.layout import COMPONENTS
from merger.recipe import MergeRecipe
from merger.recipe_file import StoredRecipe, read_recipe_file
from merger.registry import get_method, methods

ALL = "all"
WEIGHTS_FLAG = "--weights"


def stored_recipe(given: Mapping[str, Any], weights: Sequence[float | None]) -> StoredRecipe:
    """The recipe in the file of `--recipe`. Raises BadParameter for flags that do not go with it, BadRecipe."""
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


def flag_recipes(given: Mapping[str, Any], weights: Sequence[float | None]) -> dict[str, MergeRecipe]:
    """The recipes that the flags ask for, by subfolder. Raises BadParameter with all faults."""
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
