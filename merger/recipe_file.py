"""Recipes in files: JSON or YAML, by hand or out of an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merger.bilingual import Text
from merger.dtypes import WIDTH
from merger.errors import MissingFile, UnreadableFile
from merger.recipe import MergeRecipe, parse_json, recipe_fault
from merger.recorded import RecordedSources, require_fit

MAX_RECIPE_BYTES = 1 << 20


@dataclass(frozen=True)
class StoredRecipe:
    """A recipe, and what else an export needs to be made again byte for byte; None where the file does not say."""

    recipe: MergeRecipe
    donor: str | None = None
    dtype: str | None = None
    max_shard_bytes: int | None = None
    sources: RecordedSources | None = None


def read_recipe_file(path: str | Path) -> StoredRecipe:
    """A recipe stored as JSON or YAML (by suffix), an export's `recipe.json` too. Raises BadRecipe, MissingFile."""
    file = Path(path)
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_RECIPE_BYTES + 1)
        text = raw.decode("utf-8")
    except OSError as error:
        advice = Text("Проверьте путь к рецепту.", "Check the path of the recipe.")
        detail = Text("файл рецепта", "the recipe file")
        if isinstance(error, PermissionError):
            raise UnreadableFile(file=file.name, detail=detail) from error
        if isinstance(error, IsADirectoryError):
            detail = Text("это папка, а не файл рецепта", "it is a folder, not the file of a recipe")
        raise MissingFile(file=file.name, detail=detail, advice=advice) from error
    except UnicodeDecodeError:
        raise recipe_fault("Рецепт — не текст в UTF-8.", "The recipe is not UTF-8 text.") from None
    if len(raw) > MAX_RECIPE_BYTES:
        raise recipe_fault("Файл рецепта больше 1 МБ.", "The recipe file is larger than 1 MB.")
    if file.suffix in {".yaml", ".yml"}:
        from merger.recipe_yaml import parse_yaml

        parsed = parse_yaml(text)
    else:
        parsed = parse_json(text)
    # An export wraps its recipe together with what happened; the recipe itself is inside.
    inner = parsed.get("recipe") if isinstance(parsed, Mapping) else None
    if not isinstance(inner, Mapping):
        return StoredRecipe(MergeRecipe.from_json(parsed))
    return StoredRecipe(MergeRecipe.from_json(inner), *_choices(parsed), _sources(parsed))


def _choices(record: Mapping[str, Any]) -> tuple[str | None, str | None, int | None]:
    """Donor, dtype and shard size of an export's record. Raises BadRecipe if they are of another kind or unfit."""
    donor, dtype, shard = record.get("donor"), record.get("dtype"), record.get("max_shard_bytes")
    whole = isinstance(shard, int) and not isinstance(shard, bool) and shard > 0
    known = isinstance(dtype, str) and dtype in WIDTH
    if not (donor is None or isinstance(donor, str)) or not (dtype is None or known) or not (shard is None or whole):
        raise recipe_fault(
            "Запись о результате непонятна (donor, dtype или max_shard_bytes).",
            "The record of the result is not understood (donor, dtype or max_shard_bytes).",
        )
    require_fit(donor or "")
    return donor, dtype, shard


def _sources(record: Mapping[str, Any]) -> RecordedSources | None:
    """The models of an export's record; None where no hashes tell them. Raises BadRecipe if it is not understood."""
    try:
        hashed = any(isinstance(each, Mapping) and "sha256" in each for each in record.get("sources", {}).values())
        return RecordedSources.from_json(record) if hashed else None
    except (KeyError, TypeError, AttributeError, ValueError):
        raise recipe_fault(
            "Запись об исходных моделях непонятна (sources или order).",
            "The record of the source models is not understood (sources or order).",
        ) from None
