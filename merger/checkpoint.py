"""A Whisper checkpoint on disk: opened by its headers, its weights read only when they are merged.

A folder holds `config.json` and either `model.safetensors` or `model.safetensors.index.json` with its shards. A weights
file that is named itself is the one that is opened. Pickled weights are refused, whatever their name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from merger.bilingual import Text
from merger.errors import (
    CorruptFile,
    MissingFile,
    MissingShard,
    NotSafetensors,
    PathNotAllowed,
    UnreadableFile,
    UnsafeFormat,
    not_opened,
)
from merger.hashing import file_sha256
from merger.hub import PICKLES, HubRules, fetch_model, fetch_small_files
from merger.layout import EMBEDDING, TIED_HEAD
from merger.safetensors_header import TensorEntry, read_header

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
MAX_JSON_BYTES = 64 << 20
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
# Fields of a config that count something.
WHOLE_NUMBERS = (
    "d_model", "encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads",
    "encoder_ffn_dim", "decoder_ffn_dim", "num_mel_bins", "vocab_size", "max_source_positions", "max_target_positions",
)  # fmt: skip

# Everything beside the weights that transformers reads for Whisper, and why each is needed.
SIDECARS = {
    "config.json": Text("устройство модели", "the architecture"),
    "generation_config.json": Text("языки, задачи и головы выравнивания", "languages, tasks and alignment heads"),
    "preprocessor_config.json": Text("признаки звука", "the audio features"),
    "processor_config.json": Text("признаки звука и словарь вместе", "features and tokenizer together"),
    "tokenizer.json": Text("словарь", "the tokenizer"),
    "tokenizer_config.json": Text("настройки словаря", "the tokenizer's settings"),
    "vocab.json": Text("словарь", "the vocabulary"),
    "merges.txt": Text("слияния BPE", "the BPE merges"),
    "normalizer.json": Text("английская нормализация", "the English normaliser"),
    "added_tokens.json": Text("добавленные токены", "added tokens"),
    "special_tokens_map.json": Text("служебные токены", "special tokens"),
    "chat_template.jinja": Text("шаблон", "a template"),
}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model whose headers were checked. `tensors` are in the order of the files' bytes.

    `location` is what the user named (path or Hub id), `hub_id` and `revision` are set for models of the Hub.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    tensors: dict[str, TensorEntry]
    sidecars: dict[str, Path]
    location: str = ""
    hub_id: str | None = None
    revision: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def dtype(self) -> str:
        """The dtype most elements have: `F16`, `BF16` or `F32`."""
        sizes: Counter[str] = Counter()
        for entry in self.tensors.values():
            sizes[entry.dtype] += entry.size
        return sizes.most_common(1)[0][0]

    @property
    def parameters(self) -> int:
        """Number of elements; a stored tied head is not counted twice."""
        return sum(entry.size for entry in self.tensors.values() if entry.name != TIED_HEAD or self.has_own_head)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(entry.nbytes for entry in self.tensors.values())

    @property
    def files(self) -> tuple[Path, ...]:
        """The weight files, in order of their names."""
        return tuple(sorted({entry.file for entry in self.tensors.values()}))

    @cached_property
    def has_own_head(self) -> bool:
        """Whether the stored output head differs from the token embedding (reads both, only if a head is stored)."""
        head, embedding = self.tensors.get(TIED_HEAD), self.tensors.get(EMBEDDING)
        if head is None:
            return False
        if embedding is None or (head.shape, head.dtype) != (embedding.shape, embedding.dtype):
            return True
        with head.file.open("rb") as one, embedding.file.open("rb") as other:
            one.seek(head.offset)
            other.seek(embedding.offset)
            left = head.nbytes
            while left:
                step = min(left, 1 << 22)
                if one.read(step) != other.read(step):
                    return True
                left -= step
        return False

    def weights(self) -> dict[str, TensorEntry]:
        """The tensors that count: all, without a stored head that repeats the embedding."""
        return {name: entry for name, entry in self.tensors.items() if name != TIED_HEAD or self.has_own_head}

    def file_hashes(self) -> dict[str, str]:
        """SHA-256 (hex) of every weight file by its name."""
        return {file.name: file_sha256(file) for file in self.files}

    def fingerprint(self) -> str:
        """SHA-256 (hex) of config and weights; the same model in another folder has the same fingerprint."""
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for name, file_hash in sorted(self.file_hashes().items()):
            digest.update(f"{name}:{file_hash}".encode())
        return digest.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model folder. Raises MissingFile, UnreadableFile, CorruptFile."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise CorruptFile(file=path.name, detail=Text("слишком велик", "too large"))
        parsed = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        detail = SIDECARS.get(path.name, Text("файл модели", "a model file"))
        raise not_opened(error)(file=path.name, detail=detail) from error
    except (ValueError, RecursionError):
        raise CorruptFile(file=path.name, detail=Text("это не JSON", "it is not JSON")) from None
    if not isinstance(parsed, dict):
        raise CorruptFile(file=path.name, detail=Text("это не объект JSON", "it is no JSON object"))
    return parsed


def _read_config(folder: Path) -> dict[str, Any]:
    """The config of a model folder. Raises MissingFile, CorruptFile."""
    config = read_json(folder / "config.json")
    for key in WHOLE_NUMBERS:
        value = config.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            detail = Text(f"{key} — не целое число", f"{key} is not a whole number")
            raise CorruptFile(file="config.json", detail=detail)
    return config


def is_hub_id(given: str) -> bool:
    """Whether a name is a Hub id and not a folder that is there."""
    return bool(HUB_ID.fullmatch(given)) and not Path(given).expanduser().exists()


def open_checkpoint(
    path_or_hub_id: str | os.PathLike[str],
    *,
    allowed_roots: Iterable[str | os.PathLike[str]] | None = None,
    name: str | None = None,
    hub: HubRules | None = None,
) -> Checkpoint:
    """Open a model folder, a safetensors file in it, or a Hub id; reads headers and configs, no weights.

    With `allowed_roots` only folders below one of them may be opened (Hub ids always may). Raises ModelFileError
    subclasses, PathNotAllowed, Offline.
    """
    given = os.fspath(path_or_hub_id)
    if is_hub_id(given):
        folder = fetch_model(given, hub)
        return open_folder(folder, location=given, name=name, hub_id=given, revision=folder.name)
    path, weights = _local_place(given, None if allowed_roots is None else list(allowed_roots))
    return open_folder(path, location=given, name=name, weights=weights)


def peek_config(
    path_or_hub_id: str | os.PathLike[str], *, allowed_roots: Iterable[str | os.PathLike[str]] | None = None
) -> tuple[str, dict[str, Any]]:
    """Name and config of a model; of a Hub id only the small files are fetched. Raises as `open_checkpoint` does."""
    given = os.fspath(path_or_hub_id)
    if is_hub_id(given):
        return given.split("/")[1], _read_config(fetch_small_files(given))
    path, _ = _local_place(given, None if allowed_roots is None else list(allowed_roots))
    return _printable(path.resolve().name), _read_config(path)


def _local_place(given: str, allowed_roots: list[str | os.PathLike[str]] | None) -> tuple[Path, str | None]:
    """The folder of a model, and the name of its weights file where one was given."""
    try:
        return _readable_place(given, allowed_roots)
    except PermissionError as error:
        raise UnreadableFile(file=given, detail=Text("папка модели", "the model folder")) from error


def _readable_place(given: str, allowed_roots: list[str | os.PathLike[str]] | None) -> tuple[Path, str | None]:
    path = Path(given).expanduser()
    weights = None
    if allowed_roots is not None:
        check_allowed(path, allowed_roots, given)
    if path.is_file():
        if any(path.match(pattern) for pattern in PICKLES):
            raise UnsafeFormat(file=path.name)
        if path.suffix != ".safetensors":
            detail = Text("нужны веса в .safetensors или папка модели", "name .safetensors weights or a model folder")
            raise NotSafetensors(file=path.name, detail=detail)
        path, weights = path.parent, _unusual(path)
    if not path.is_dir():
        raise MissingFile(file=given, detail=Text("папка модели", "the model folder"))
    if allowed_roots is not None:
        for file in path.iterdir():
            # A link inside an allowed folder must not lead out of all of them.
            if file.is_symlink():
                check_allowed(file, allowed_roots, given)
    return path, weights


def _unusual(file: Path) -> str | None:
    """The name of a weights file, unless its folder is opened by it anyway: alone, or with the index that names it."""
    if (file.parent / SINGLE_FILE).exists():
        usual = {SINGLE_FILE}
    else:
        usual = set(_weight_map(file.parent).values()) if (file.parent / INDEX_FILE).exists() else set()
    return None if file.name in usual else file.name


def check_allowed(path: Path, allowed_roots: Iterable[str | os.PathLike[str]], given: str) -> None:
    """Raises PathNotAllowed unless `path`, symbolic links followed, lies in one of the roots."""
    try:
        real = path.resolve()
    except (OSError, ValueError, RuntimeError):  # a loop of links, a null byte, a name that is too long
        raise PathNotAllowed(path=given) from None
    if not any(real.is_relative_to(Path(root).expanduser().resolve()) for root in allowed_roots):
        raise PathNotAllowed(path=given)


def open_folder(
    folder: Path,
    *,
    location: str,
    name: str | None = None,
    hub_id: str | None = None,
    revision: str | None = None,
    weights: str | None = None,
) -> Checkpoint:
    """Open a folder that is there; `weights` names the file to read in it. Raises ModelFileError subclasses."""
    config = _read_config(folder)
    tensors, metadata = _read_tensors(folder, weights)
    sidecars = {file: folder / file for file in SIDECARS if (folder / file).is_file()}
    shown = name or (hub_id or "").split("/")[-1] or _printable(folder.resolve().name)
    if name is None and weights is not None:
        shown = f"{shown}/{weights}"  # the folder's name alone means its usual weights
    return Checkpoint(shown, folder, config, tensors, sidecars, location, hub_id, revision, metadata)


def _printable(name: str) -> str:
    """A folder's name as records, cards and terminals can hold it: it may be no Unicode (an old disk's Cyrillic) or
    hold a line break."""
    return "".join(c if c.isprintable() else "\ufffd" for c in os.fsencode(name).decode(errors="replace"))


def _read_tensors(folder: Path, weights: str | None) -> tuple[dict[str, TensorEntry], dict[str, str]]:
    """Tensors and metadata of the named file, or of the folder's usual ones."""
    single = folder / (weights or SINGLE_FILE)
    if os.path.lexists(single):
        header = read_header(single)
        return header.tensors, header.metadata
    if (folder / INDEX_FILE).exists():
        return _read_shards(folder), {}
    pickled = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if pickled:
        raise UnsafeFormat(file=pickled[0])
    raise MissingFile(file=SINGLE_FILE, detail=Text("веса модели", "the weights"))


def _weight_map(folder: Path) -> dict[str, str]:
    weight_map = read_json(folder / INDEX_FILE).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise CorruptFile(file=INDEX_FILE, detail=Text("нет weight_map", "there is no weight_map"))
    return weight_map


def _read_shards(folder: Path) -> dict[str, TensorEntry]:
    weight_map = _weight_map(folder)
    shards = sorted(set(weight_map.values()))
    for shard in shards:
        if "/" in shard or "\\" in shard or ".." in shard or not shard.endswith(".safetensors"):
            detail = Text(f"недопустимое имя части «{shard}»", f"the shard name “{shard}” is not allowed")
            raise CorruptFile(file=INDEX_FILE, detail=detail)
    tensors: dict[str, TensorEntry] = {}
    for shard in shards:
        if not (folder / shard).is_file():
            raise MissingShard(file=shard, index=INDEX_FILE)
        for name, entry in read_header(folder / shard).tensors.items():
            if weight_map.get(name) != shard:
                detail = Text(f"«{name}» не там, где сказано", f"“{name}” is not where it is said to be")
                raise CorruptFile(file=INDEX_FILE, detail=detail, tensor=name)
            tensors[name] = entry
    lost = sorted(set(weight_map) - set(tensors))
    if lost:
        detail = Text(f"нет тензора «{lost[0]}»", f"the tensor “{lost[0]}” is missing")
        raise CorruptFile(file=INDEX_FILE, detail=detail, tensor=lost[0])
    return tensors
