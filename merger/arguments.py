"""What the command line of a merge asks for: sources, recipes, output. All faults are reported together."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from merger.bilingual import Text
from merger.dtypes import TORCH_NAMES
from merger.engine import BASE
from merger.errors import BadParameter, Fault
from merger.flags import fault
from merger.params import number_from
from merger.plan import Verify, parse_shard_size
from merger.recipe import MergeRecipe
from merger.recipe_arguments import flag_recipes, stored_recipe
from merger.recipe_file import StoredRecipe
from merger.recorded import ANY_SOURCES_FLAG, RecordedSources

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
            stored = stored_recipe(given, weights)
            recipes = {"": stored.recipe}
            sources = {**stored.recipe.sources, **sources}
            sources = stored.sources.arranged(sources) if stored.sources else sources
        else:
            recipes = flag_recipes(given, weights)
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
