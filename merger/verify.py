"""Look at a result folder: is it whole, and is it what its recipe says?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from merger.bilingual import Text
from merger.checkpoint import SINGLE_FILE, open_folder, read_json
from merger.digests import TensorDigest
from merger.dtypes import WIDTH, all_finite
from merger.errors import CorruptFile, MissingFile, NonfiniteWeights, WhisperMergeError
from merger.plan import OutputPlan
from merger.provenance import CHECKSUMS_FILE, FORMAT, METADATA_KEY, RECIPE_FILE
from merger.recipe import MergeRecipe
from merger.safetensors_header import TensorEntry, read_header

READ_BYTES = 4 << 20


def is_own_result(folder: Path) -> bool:
    """Whether a folder was written by this program."""
    try:
        return bool(read_json(folder / CHECKSUMS_FILE).get("format") == FORMAT)
    except WhisperMergeError:
        return False


def foreign_files(folder: Path) -> list[str]:
    """Names in a folder that no merge of ours wrote; empty if the folder is absent, empty or our own result."""
    if not folder.exists():
        return []
    ours = {CHECKSUMS_FILE, SINGLE_FILE}
    own = is_own_result(folder)
    if own:
        ours |= set(read_json(folder / CHECKSUMS_FILE).get("files", {}))
    return sorted(
        child.name
        for child in folder.iterdir()
        if not ((own and child.name in ours) or (child.is_dir() and is_own_result(child)))
    )


def check_written(folder: Path, plan: OutputPlan) -> None:
    """Reopen what was just written: header, every key, dtype, shape and place, recipe and sidecars.

    Raises CorruptFile, IncompleteFile. The weights themselves were checked for NaN and hashed on their way out;
    `verify_folder` reads them again.
    """
    header = read_header(folder / SINGLE_FILE)
    found = [
        (entry.name, entry.dtype, entry.shape, entry.offset - header.data_start) for entry in header.tensors.values()
    ]
    planned = [(tensor.name, tensor.dtype, tensor.shape, tensor.offset) for tensor in plan.tensors]
    if sorted(found) != sorted(planned):
        raise CorruptFile(file=SINGLE_FILE, detail=Text("записано не то, что задумано", "it is not what was planned"))
    _check_recipe(folder, header.metadata)
    open_folder(folder, location=str(folder))


def _check_recipe(folder: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """The record of `recipe.json`, which has to equal the one inside the weights and to hold a valid recipe."""
    record = read_json(folder / RECIPE_FILE)
    try:
        inside = json.loads(metadata.get(METADATA_KEY, "null"))
    except ValueError:
        inside = None
    if inside != record:
        detail = Text("рецепт в нём и в весах не совпадает", "it differs from the recipe inside the weights")
        raise CorruptFile(file=RECIPE_FILE, detail=detail)
    recipe = MergeRecipe.from_json(record["recipe"])
    if recipe.digest != record.get("digest"):
        detail = Text("отпечаток рецепта неверен", "the digest of the recipe is wrong")
        raise CorruptFile(file=RECIPE_FILE, detail=detail)
    return record


@dataclass(frozen=True)
class Verification:
    """A folder that was read from end to end and is whole."""

    folder: Path
    record: dict[str, Any]
    tensors: int
    nbytes: int
    files: int

    def to_json(self) -> dict[str, Any]:
        """What was verified, as JSON."""
        return {
            "folder": str(self.folder),
            "ok": True,
            "requested": self.record.get("requested"),
            "performed": self.record.get("performed"),
            "digest": self.record.get("digest"),
            "tensors": self.tensors,
            "bytes": self.nbytes,
            "files": self.files,
        }


def verify_folder(folder: str | Path, on_progress: Callable[[int, int], None] | None = None) -> Verification:
    """Read a result from end to end: header, every tensor's SHA-256 and finiteness, every file, the recipe.

    `on_progress(bytes read, bytes in all)`. Raises MissingFile, CorruptFile (with the tensor), NonfiniteWeights, …
    """
    path = Path(folder)
    checksums = read_json(path / CHECKSUMS_FILE)
    if checksums.get("format") != FORMAT:
        detail = Text("это не результат этой программы", "this is no result of this program")
        raise CorruptFile(file=CHECKSUMS_FILE, detail=detail)
    header = read_header(path / SINGLE_FILE)
    _check_files(path, checksums)
    _check_header(path, checksums, header.data_start)
    record = _check_recipe(path, header.metadata)
    expected: dict[str, str] = checksums["weights"]["tensors"]
    if set(expected) != set(header.tensors):
        detail = Text("набор тензоров не тот", "it holds other tensors")
        raise CorruptFile(file=SINGLE_FILE, detail=detail)
    total = sum(entry.nbytes for entry in header.tensors.values())
    done, broken = 0, list[str]()
    for entry in header.tensors.values():
        digest, finite = _read_tensor(entry)
        done += entry.nbytes
        if on_progress is not None:
            on_progress(done, total)
        if digest != expected[entry.name]:
            detail = Text(f"тензор «{entry.name}» изменился", f"the tensor “{entry.name}” has changed")
            raise CorruptFile(file=SINGLE_FILE, detail=detail, tensor=entry.name)
        if not finite:
            broken.append(entry.name)
    if broken:
        raise NonfiniteWeights(file=path.name, tensors=broken[:5])
    return Verification(path, record, len(header.tensors), total, len(checksums["files"]))


def _check_files(folder: Path, checksums: dict[str, Any]) -> None:
    for name, expected in checksums["files"].items():
        file = folder / name
        if "/" in name or not file.is_file():
            raise MissingFile(file=name, detail=Text("файл результата", "a file of the result"))
        if hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise CorruptFile(file=name, detail=Text("файл изменился", "the file has changed"))


def _check_header(folder: Path, checksums: dict[str, Any], length: int) -> None:
    with (folder / SINGLE_FILE).open("rb") as stream:
        found = hashlib.sha256(stream.read(length)).hexdigest()
    if found != checksums["weights"]["header"]:
        raise CorruptFile(file=SINGLE_FILE, detail=Text("заголовок изменился", "the header has changed"))


def _read_tensor(entry: TensorEntry) -> tuple[str, bool]:
    digest, finite, left = TensorDigest(), True, entry.nbytes
    with entry.file.open("rb") as stream:
        stream.seek(entry.offset)
        while left:
            block = np.frombuffer(stream.read(min(left, READ_BYTES)), np.uint8)
            digest.update(block)
            if entry.dtype in WIDTH:
                finite = finite and all_finite(block, entry.dtype)
            left -= len(block)
    return digest.hexdigest(), finite
