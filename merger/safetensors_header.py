"""The header of a safetensors file, checked before anything else touches the file.

A file is: 8 bytes (little-endian length of the header), the header (JSON), the tensors' bytes. The checks are stricter
than the format's own reader: a header of at most 8 MB, at most 20,000 tensors, no repeated key, known dtypes, shapes
that match their byte counts, and offsets that cover the rest of the file exactly, without gap or overlap.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from merger.bilingual import Text
from merger.errors import CorruptFile, IncompleteFile, NotSafetensors, UnsafeFormat, not_opened

MAX_HEADER_BYTES = 8 << 20
MAX_TENSORS = 20_000
ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of a file: `offset` counts from the start of the file, in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int
    nbytes: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class Header:
    """A checked header: tensors in the order of their bytes, the metadata, and where the bytes begin and end."""

    tensors: dict[str, TensorEntry]
    metadata: dict[str, str]
    data_start: int
    file_bytes: int


def read_header(path: Path) -> Header:
    """Read and check a header; reads no weights.

    Raises MissingFile, NotSafetensors, UnsafeFormat, IncompleteFile, CorruptFile.
    """
    try:
        with path.open("rb") as stream:
            file_bytes = stream.seek(0, 2)
            stream.seek(0)
            start = stream.read(512)
            _sniff(path, start)
            length = int.from_bytes(start[:8], "little")
            if length > MAX_HEADER_BYTES:
                detail = Text(f"заголовок в {length} байт", f"a header of {length} bytes")
                raise NotSafetensors(file=path.name, detail=detail)
            if file_bytes < 8 + length:
                raise IncompleteFile(file=path.name, expected=8 + length, found=file_bytes)
            stream.seek(8)
            raw = stream.read(length)
    except OSError as error:
        raise not_opened(error)(file=path.name, detail=Text("файл весов", "the weights")) from error
    entries, metadata = _parse(path, raw)
    tensors = _check_cover(path, entries, 8 + length, file_bytes)
    return Header(tensors, metadata, 8 + length, file_bytes)


def _sniff(path: Path, start: bytes) -> None:
    """Recognise what commonly lies under a safetensors name without being one."""
    if start.startswith(b"version https://git-lfs"):
        raise NotSafetensors(
            file=path.name, detail=Text("это указатель Git LFS, а не сам файл", "it is a Git LFS pointer, not the file")
        )
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise UnsafeFormat(file=path.name)
    if start.lstrip()[:1] == b"<":
        raise NotSafetensors(file=path.name, detail=Text("это веб-страница", "it is a web page"))
    if len(start) < 8:
        raise IncompleteFile(file=path.name, expected=8, found=len(start))
    if start[8:9] != b"{":
        raise NotSafetensors(file=path.name, detail=Text("нет заголовка JSON", "it has no JSON header"))


def _corrupt(path: Path, ru: str, en: str, tensor: str | None = None) -> CorruptFile:
    return CorruptFile(file=path.name, detail=Text(ru, en), tensor=tensor)


class _Repeated(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise _Repeated(next(key for key in keys if keys.count(key) > 1))
    return dict(pairs)


def _parse(path: Path, raw: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        entries = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
    except _Repeated as error:
        name = str(error)
        raise _corrupt(path, f"имя «{name}» повторяется", f"the name “{name}” is repeated", name) from None
    except (ValueError, RecursionError):
        raise _corrupt(path, "заголовок — не JSON", "the header is not JSON") from None
    if not isinstance(entries, dict):
        raise _corrupt(path, "заголовок — не объект JSON", "the header is no JSON object")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _corrupt(path, "метаданные — не строки", "the metadata are not strings")
    if len(entries) > MAX_TENSORS:
        raise _corrupt(path, f"больше {MAX_TENSORS} тензоров", f"more than {MAX_TENSORS} tensors")
    return entries, metadata


def _whole_numbers(value: Any, count: int | None = None) -> bool:
    return (
        isinstance(value, list)
        and (count is None or len(value) == count)
        and all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 1 << 62 for item in value)
    )


def _check_cover(path: Path, entries: dict[str, Any], data_start: int, file_bytes: int) -> dict[str, TensorEntry]:
    tensors = []
    for name, entry in entries.items():
        good = (
            isinstance(entry, dict)
            and set(entry) == {"dtype", "shape", "data_offsets"}
            and isinstance(entry["dtype"], str)
            and entry["dtype"] in ITEM_BYTES
            and _whole_numbers(entry["shape"])
            and len(entry["shape"]) <= 8
            and _whole_numbers(entry["data_offsets"], 2)
        )
        if not good:
            raise _corrupt(path, f"описание тензора «{name}» неверно", f"the entry of “{name}” is wrong", name)
        begin, end = entry["data_offsets"]
        if end - begin != prod(entry["shape"]) * ITEM_BYTES[entry["dtype"]]:
            raise _corrupt(path, f"размер тензора «{name}» неверен", f"the size of “{name}” is wrong", name)
        shape = tuple(entry["shape"])
        tensors.append(TensorEntry(name, entry["dtype"], shape, path, data_start + begin, end - begin))
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.nbytes))
    reached = data_start
    for tensor in tensors:
        if tensor.offset != reached:
            name = tensor.name
            raise _corrupt(path, f"разрыв или наложение у «{name}»", f"a gap or an overlap at “{name}”", name)
        reached += tensor.nbytes
    if file_bytes < reached:
        raise IncompleteFile(file=path.name, expected=reached, found=file_bytes)
    if file_bytes > reached:
        extra = file_bytes - reached
        raise _corrupt(path, f"в конце {extra} лишних байт", f"{extra} bytes too many at its end")
    return {tensor.name: tensor for tensor in tensors}
