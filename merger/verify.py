"""Look at a result folder: is it whole, and is it what its recipe says?"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from merger.arithmetic import Arithmetic, choose_arithmetic
from merger.bilingual import Text
from merger.checkpoint import INDEX_FILE, SINGLE_FILE, open_folder, read_json
from merger.digests import TensorDigest, digest_of_kind
from merger.dtypes import WIDTH
from merger.errors import CorruptFile, MissingFile, NonfiniteWeights, UnknownWeights, WhisperMergeError
from merger.hub import PICKLES, WEIGHTS
from merger.plan import OutputPlan
from merger.provenance import CHECKSUMS_FILE, METADATA_KEY, READABLE_FORMATS, RECIPE_FILE
from merger.recipe import MergeRecipe
from merger.safetensors_header import TensorEntry, read_header

READ_BYTES = 4 << 20
READERS = 2  # one waits for the disk while the other hashes


@dataclass(frozen=True)
class Checksums:
    """What `checksums.json` holds: digests by the names of files, of weight files (their headers) and of tensors."""

    files: dict[str, str]
    headers: dict[str, str]
    tensors: dict[str, str]
    kind: object  # of the tensors' digests


def read_checksums(folder: Path) -> Checksums:
    """The checksums of a result. Raises MissingFile, and CorruptFile if they are none of ours or not understood."""
    content = read_json(folder / CHECKSUMS_FILE)
    if not any(content.get("format") == known for known in READABLE_FORMATS):
        detail = Text("это не результат этой программы", "this is no result of this program")
        raise CorruptFile(file=CHECKSUMS_FILE, detail=detail)
    weights = content.get("weights")
    if not isinstance(weights, dict):
        weights = {}
    headers = weights["headers"] if "headers" in weights else {SINGLE_FILE: weights.get("header")}  # format 1: one file
    files, tensors = content.get("files"), weights.get("tensors")
    return Checksums(_digests(files), _digests(headers), _digests(tensors), weights.get("tensor_digest"))


def _digests(table: Any) -> dict[str, str]:
    if not isinstance(table, dict) or not table or not all(isinstance(digest, str) for digest in table.values()):
        detail = Text("контрольные суммы записаны не так", "the checksums are not what they should be")
        raise CorruptFile(file=CHECKSUMS_FILE, detail=detail)
    return table


def _own_checksums(folder: Path) -> Checksums | None:
    """The checksums of a folder that this program wrote; None of any other."""
    try:
        return read_checksums(folder)
    except WhisperMergeError:
        return None


def foreign_files(folder: Path) -> list[str]:
    """Names in a folder that no merge of ours wrote; empty if the folder is absent, empty or our own result."""
    if not folder.exists():
        return []
    own = _own_checksums(folder)
    ours = {CHECKSUMS_FILE, *own.files, *own.headers} if own else set()
    return sorted(
        child.name
        for child in folder.iterdir()
        if not (child.name in ours or (child.is_dir() and _own_checksums(child)))
    )


def check_written(folder: Path, plan: OutputPlan) -> None:
    """Reopen what was just written: headers, every key, dtype, shape and place, index, recipe and sidecars.

    Raises CorruptFile, IncompleteFile. The weights themselves were checked for NaN and hashed in the buffers that went
    to the disk; `verify_folder` reads them again.
    """
    for file, tensors in plan.files.items():
        header = read_header(folder / file)
        found = [(entry.name, entry.dtype, entry.shape, entry.offset - header.data_start)
                 for entry in header.tensors.values()]  # fmt: skip
        if sorted(found) != sorted((tensor.name, tensor.dtype, tensor.shape, tensor.offset) for tensor in tensors):
            raise CorruptFile(file=file, detail=Text("записано не то, что задумано", "it is not what was planned"))
        _check_recipe(folder, header.metadata)
    open_folder(folder, location=str(folder))


def _check_recipe(folder: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """The record of `recipe.json`, which has to equal the one inside the weights and to hold a valid recipe."""
    record = read_json(folder / RECIPE_FILE)
    try:
        inside = json.loads(metadata.get(METADATA_KEY, "null"))
    except (ValueError, RecursionError):
        inside = None
    if inside != record:
        detail = Text("рецепт в нём и в весах не совпадает", "it differs from the recipe inside the weights")
        raise CorruptFile(file=RECIPE_FILE, detail=detail)
    recipe = MergeRecipe.from_json(record.get("recipe", {}))
    if (recipe.digest, recipe.method) != (record.get("digest"), record.get("performed")):
        detail = Text("отпечаток или метод рецепта неверен", "the digest or the method of the recipe is wrong")
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
    """Read a result from end to end: headers, every tensor's digest and finiteness, every file, the recipe.

    `on_progress(bytes read, bytes in all)`; what it raises stops the reading. Raises MissingFile, UnknownWeights,
    CorruptFile (with the tensor), NonfiniteWeights, …
    """
    path = Path(folder)
    _require_result(path)
    checksums = read_checksums(path)
    _check_unknown(path, checksums)
    _check_files(path, checksums.files)
    record = read_json(path / RECIPE_FILE)
    tensors: dict[str, TensorEntry] = {}
    for name, expected in checksums.headers.items():
        header = read_header(_present(path, name))
        _check_header(path / name, expected, header.data_start)
        record = _check_recipe(path, header.metadata)
        tensors |= header.tensors
    if set(tensors) != set(checksums.tensors):
        raise CorruptFile(file=_name(checksums), detail=Text("набор тензоров не тот", "it holds other tensors"))
    _check_tensors(path, tensors, checksums, on_progress)
    total = sum(entry.nbytes for entry in tensors.values())
    return Verification(path, record, len(tensors), total, len(checksums.files))


def _require_result(folder: Path) -> None:
    """Raises MissingFile where there is no folder, or none that a merge has made."""
    if not folder.is_dir():
        advice = Text("Проверьте путь.", "Check the path.")
        raise MissingFile(file=str(folder), detail=Text("папка результата", "the folder of a result"), advice=advice)
    if not (folder / CHECKSUMS_FILE).is_file():
        raise MissingFile(
            file=CHECKSUMS_FILE,
            detail=Text(f"по нему сверяют папку «{folder.name}»", f"the folder “{folder.name}” is checked against it"),
            advice=Text("Проверить можно папку, которую сделала эта программа.", "Name a folder that a merge made."),
        )


def _check_unknown(folder: Path, checksums: Checksums) -> None:
    """Raises UnknownWeights: what is verified has to be what is loaded."""
    names = {file.name for pattern in (*WEIGHTS, *PICKLES) for file in folder.glob(pattern)}
    unknown = sorted(names - checksums.headers.keys() - checksums.files.keys())
    if unknown:
        raise UnknownWeights(file=folder.resolve().name, files=unknown)


def _name(checksums: Checksums) -> str:
    """What to call the weights as a whole."""
    files = list(checksums.headers)
    return files[0] if len(files) == 1 else INDEX_FILE


def _present(folder: Path, name: str) -> Path:
    """A file that the record names. Raises MissingFile."""
    if "/" in name or not (folder / name).is_file():
        advice = Text(
            "Скопируйте папку заново или повторите слияние: её файл потерян.",
            "Copy the folder again or repeat the merge: a file of it is lost.",
        )
        raise MissingFile(file=name, detail=Text("файл результата", "a file of the result"), advice=advice)
    return folder / name


def _check_files(folder: Path, files: Mapping[str, str]) -> None:
    for name, expected in files.items():
        file = _present(folder, name)
        if hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise CorruptFile(file=name, detail=Text("файл изменился", "the file has changed"))


def _check_header(file: Path, expected: str, length: int) -> None:
    with file.open("rb") as stream:
        found = hashlib.sha256(stream.read(length)).hexdigest()
    if found != expected:
        raise CorruptFile(file=file.name, detail=Text("заголовок изменился", "the header has changed"))


def _check_tensors(
    folder: Path,
    tensors: Mapping[str, TensorEntry],
    checksums: Checksums,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    """Digest and finiteness of every tensor, read from the disk."""
    entries = list(tensors.values())
    total, done, broken = sum(entry.nbytes for entry in entries), 0, list[str]()
    for file in {entry.file for entry in entries}:
        _forget_pages(file)
    arithmetic = choose_arithmetic("cpu")

    def read(entry: TensorEntry) -> tuple[str, bool]:
        digest = digest_of_kind(checksums.kind)
        if digest is None:
            detail = Text("контрольная сумма неизвестного вида", "a checksum of an unknown kind")
            raise CorruptFile(file=CHECKSUMS_FILE, detail=detail)
        return _read_tensor(entry, digest, arithmetic)

    with ThreadPoolExecutor(READERS) as pool:
        try:
            for entry, (digest, finite) in zip(entries, pool.map(read, entries), strict=True):
                done += entry.nbytes
                if on_progress is not None:
                    on_progress(done, total)
                if digest != checksums.tensors[entry.name]:
                    detail = Text(f"тензор «{entry.name}» изменился", f"the tensor “{entry.name}” has changed")
                    raise CorruptFile(file=entry.file.name, detail=detail, tensor=entry.name)
                if not finite:
                    broken.append(entry.name)
        finally:
            pool.shutdown(cancel_futures=True)
    if broken:
        raise NonfiniteWeights(file=folder.name, tensors=broken[:5])


def _forget_pages(file: Path) -> None:
    """Ask the kernel to drop what it caches of a file: what is verified is the disk, not the memory."""
    if hasattr(os, "posix_fadvise"):
        with file.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _read_tensor(entry: TensorEntry, digest: TensorDigest, arithmetic: Arithmetic) -> tuple[str, bool]:
    finite = True
    for block in _blocks(entry):
        digest.update(block)
        if entry.dtype in WIDTH:
            finite = finite and arithmetic.finite(block, entry.dtype)
    return digest.hexdigest(), finite


def _blocks(entry: TensorEntry) -> Iterator[np.ndarray]:
    memory = np.empty(min(entry.nbytes, READ_BYTES), np.uint8)
    with entry.file.open("rb") as stream:  # buffered: a read gives all that was asked for, unless the file ends
        stream.seek(entry.offset)
        for start in range(0, entry.nbytes, READ_BYTES):
            block = memory[: min(entry.nbytes - start, READ_BYTES)]
            if stream.readinto(block.data) != len(block):
                detail = Text("он стал короче, пока его читали", "it became shorter while it was read")
                raise CorruptFile(file=entry.file.name, detail=detail)
            yield block
