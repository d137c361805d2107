"""What tests of merging to a folder share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from merger.checkpoint import open_checkpoint
from merger.recipe import MergeRecipe
from tests.conftest import TinyPair

HALF = MergeRecipe.build("direct")
FILES = {"model.safetensors", "config.json", "generation_config.json", "processor_config.json", "tokenizer.json",
         "tokenizer_config.json", "vocab.json", "merges.txt", "recipe.json", "checksums.json", "README.md"}  # fmt: skip


def opened(pair: TinyPair, base: bool = False) -> dict[str, Any]:
    sources = {"a": open_checkpoint(pair.a), "b": open_checkpoint(pair.b)}
    return {**sources, "base": open_checkpoint(pair.base)} if base else sources


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
