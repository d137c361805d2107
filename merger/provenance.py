"""Where a result comes from: the record in `recipe.json` and in the weights' metadata, and the checksums.

Nothing in them depends on the hour, the machine or where the folders lie, so the same inputs and recipe give the same
bytes. The names of the models (a folder's own name, or the Hub's) are part of the record: the same weights in a renamed
folder give the same tensors, and another record, unless an export's own `recipe.json` supplies the names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merger import __version__
from merger.bilingual import Text
from merger.checkpoint import Checkpoint
from merger.digests import BLAKE3
from merger.plan import OutputPlan
from merger.recipe import MergeRecipe
from merger.recorded import RecordedSource, recorded_order

RECIPE_FILE = "recipe.json"
CHECKSUMS_FILE = "checksums.json"
CARD_FILE = "README.md"
METADATA_KEY = "whisper_merge"
FORMAT = "whisper-merge/2"
# Format 1 had one weight file, another digest of tensors and no shard size; it can still be verified.
READABLE_FORMATS = frozenset({FORMAT, "whisper-merge/1"})


@dataclass(frozen=True)
class Record:
    """What was asked for, what was done, and from what."""

    recipe: MergeRecipe
    requested: MergeRecipe
    sources: Mapping[str, Checkpoint]
    donor: str
    dtype: str | None
    max_shard_bytes: int | None = None
    reason: Text | None = None

    def to_json(self, hashes: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
        """The record; `hashes` gives the SHA-256 of every weight file of every source."""
        described = {
            key: RecordedSource(model.name, hashes[key], model.hub_id, model.revision).to_json()
            for key, model in self.sources.items()
        }
        record: dict[str, Any] = {
            "format": FORMAT,
            "program": __version__,
            "requested": self.requested.method,
            "performed": self.recipe.method,
            "recipe": _identity(self.recipe),
            "digest": self.recipe.digest,
            "sources": described,
            "donor": self.donor,
            "dtype": self.dtype,
            "max_shard_bytes": self.max_shard_bytes,
            **recorded_order(self.sources),
        }
        if self.reason is not None:
            record["requested_recipe"] = _identity(self.requested)
            record["reason"] = {"ru": self.reason.ru, "en": self.reason.en}
        return record

    def metadata(self, hashes: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """The safetensors metadata: what transformers needs, and the record."""
        return {"format": "pt", METADATA_KEY: json.dumps(self.to_json(hashes), sort_keys=True, separators=(",", ":"))}


def _identity(recipe: MergeRecipe) -> dict[str, Any]:
    return {key: value for key, value in recipe.to_json().items() if key != "sources"}


def no_hashes(sources: Mapping[str, Checkpoint]) -> dict[str, dict[str, str]]:
    """Placeholders as long as the hashes: the header's length is known before a source has been hashed."""
    return {key: {file.name: "0" * 64 for file in model.files} for key, model in sources.items()}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Readable JSON with a final newline, in a fixed order."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def write_checksums(
    folder: Path, plan: OutputPlan, headers: Mapping[str, bytes], digests: Mapping[str, str]
) -> None:
    """SHA-256 of the header of every weight file and of every other file, and each tensor's digest (see `digests`)."""
    files = sorted(file for file in folder.iterdir() if file.name not in {*plan.files, CHECKSUMS_FILE})
    checksums = {
        "format": FORMAT,
        "files": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        "weights": {
            "headers": {name: hashlib.sha256(header).hexdigest() for name, header in headers.items()},
            "tensors": {tensor.name: digests[tensor.name] for tensor in plan.tensors},
            "tensor_digest": BLAKE3,
        },
    }
    write_json(folder / CHECKSUMS_FILE, checksums)
