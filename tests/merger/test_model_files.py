"""Broken, foreign and hostile model files: the right error code each time, or provably the same tensors."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from merger.checkpoint import INDEX_FILE, open_checkpoint
from merger.compatibility import compare
from merger.disk import merge_to_folder
from merger.errors import (
    CorruptFile,
    IncompatibleModels,
    IncompleteFile,
    MissingFile,
    MissingShard,
    NonfiniteWeights,
    NotSafetensors,
    PathNotAllowed,
    UnsafeFormat,
)
from merger.recipe import MergeRecipe
from merger.safetensors_header import MAX_HEADER_BYTES, read_header
from tests.conftest import TinyPair
from tests.factories import make_whisper_folder
from tests.merger.spoiling import WEIGHTS, assembled


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", NotSafetensors),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", NotSafetensors),
        (b"PK\x03\x04" + b"\x00" * 100, UnsafeFormat),
        (b"\x80\x02}q\x00." + b"\x00" * 100, UnsafeFormat),
        (b"", IncompleteFile),
        (b"\x10\x00", IncompleteFile),
        (struct.pack("<Q", 1 << 40) + b"{}", NotSafetensors),
        (struct.pack("<Q", MAX_HEADER_BYTES) + b"{}", IncompleteFile),
        (struct.pack("<Q", 8) + b"nonsense", NotSafetensors),
        (struct.pack("<Q", 8) + b"{nonsens", CorruptFile),
    ],
)
def test_what_lies_under_a_safetensors_name(content: bytes, error: type, folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(error):
        open_checkpoint(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "whisper.pt"])
def test_pickled_weights_are_refused_with_a_way_out(name: str, folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / name)
    for path in (folder, folder / name):
        with pytest.raises(UnsafeFormat) as caught:
            open_checkpoint(path)
        assert "safetensors" in caught.value.remedy("ru") and name in caught.value.sentence("en")


def test_missing_folder_config_and_weights(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        open_checkpoint(tmp_path / "nowhere")
    (folder / WEIGHTS).rename(tmp_path / "aside")
    with pytest.raises(MissingFile, match=WEIGHTS):
        open_checkpoint(folder)
    (folder / "config.json").unlink()
    with pytest.raises(MissingFile, match=r"config\.json"):
        open_checkpoint(folder)


def test_a_named_weights_file_is_the_one_that_is_opened(folder: Path, tiny_pair: TinyPair) -> None:
    shutil.copy(tiny_pair.b / WEIGHTS, folder / "other.safetensors")
    named = open_checkpoint(folder / "other.safetensors")
    assert named.file_hashes() == {"other.safetensors": open_checkpoint(tiny_pair.b).file_hashes()[WEIGHTS]}
    assert named.name == "model/other.safetensors" and "tokenizer.json" in named.sidecars
    for usual in (folder, folder / WEIGHTS):
        opened = open_checkpoint(usual)
        assert opened.name == "model" and opened.file_hashes() == open_checkpoint(tiny_pair.a).file_hashes()


@pytest.mark.parametrize("value", ["six", 2.5, True, [2]])
def test_numbers_of_a_config_have_to_be_numbers(value: Any, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "encoder_layers": value}))
    with pytest.raises(CorruptFile, match=r"config\.json.*encoder_layers is not a whole number"):
        open_checkpoint(folder)


class TestShards:
    """An index and its files."""

    @pytest.fixture
    def sharded(self, tmp_path: Path) -> Path:
        return make_whisper_folder(tmp_path / "sharded", 5, max_shard_size="60KB")

    def index(self, folder: Path, **changes: Any) -> None:
        file = folder / INDEX_FILE
        weight_map = json.loads(file.read_text())["weight_map"]
        file.write_text(json.dumps({"weight_map": {**weight_map, **changes}}))

    def test_missing_shard(self, sharded: Path) -> None:
        lost = sorted(sharded.glob("*.safetensors"))[1]
        lost.unlink()
        with pytest.raises(MissingShard, match=lost.name):
            open_checkpoint(sharded)

    @pytest.mark.parametrize("name", ["../a.safetensors", "/etc/passwd", "a/b.safetensors", "x\\y.safetensors", "x.pt"])
    def test_shard_names_stay_in_their_folder(self, name: str, sharded: Path) -> None:
        self.index(sharded, **{"model.encoder.conv1.bias": name})
        with pytest.raises(CorruptFile, match="not allowed"):
            open_checkpoint(sharded)

    def test_index_and_shards_have_to_agree(self, sharded: Path) -> None:
        self.index(sharded, **{"model.encoder.ghost": sorted(sharded.glob("*.safetensors"))[0].name})
        with pytest.raises(CorruptFile, match="ghost"):
            open_checkpoint(sharded)

    def test_a_named_shard_stands_for_its_index_unless_the_folder_is_opened_without_it(
        self, sharded: Path, folder: Path
    ) -> None:
        shard = sorted(sharded.glob("*.safetensors"))[0]
        assert open_checkpoint(shard).file_hashes() == open_checkpoint(sharded).file_hashes()
        assert open_checkpoint(shard).name == "sharded"
        shutil.copy(folder / WEIGHTS, sharded)
        assert list(open_checkpoint(sharded).file_hashes()) == [WEIGHTS]
        assert list(open_checkpoint(shard).file_hashes()) == [shard.name]

    def test_tensors_of_all_shards(self, sharded: Path) -> None:
        loaded = {name for shard in sharded.glob("*.safetensors") for name in load_file(shard)}
        assert set(open_checkpoint(sharded).tensors) == loaded


def test_too_many_tensors_are_refused(tmp_path: Path) -> None:
    header = {f"t{i}": {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]} for i in range(20_001)}
    (tmp_path / WEIGHTS).write_bytes(assembled(header, b""))
    with pytest.raises(CorruptFile, match="20000"):
        read_header(tmp_path / WEIGHTS)


def test_paths_outside_the_roots_are_refused(folder: Path, tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "link").symlink_to(folder)
    for path in (folder, allowed / "link", allowed / ".." / "model"):
        with pytest.raises(PathNotAllowed):
            open_checkpoint(path, allowed_roots=[allowed])
    shutil.copytree(folder, allowed / "inside")
    assert open_checkpoint(allowed / "inside", allowed_roots=[allowed]).name == "inside"
    (allowed / "inside" / WEIGHTS).unlink()
    (allowed / "inside" / WEIGHTS).symlink_to(folder / WEIGHTS)
    with pytest.raises(PathNotAllowed):
        open_checkpoint(allowed / "inside", allowed_roots=[allowed])


def test_all_mismatches_are_reported_at_once(tiny_pair: TinyPair, tmp_path: Path) -> None:
    other = make_whisper_folder(tmp_path / "other", 4, d_model=32, decoder_layers=1, num_mel_bins=128)
    verdict = compare(open_checkpoint(tiny_pair.a), open_checkpoint(other))
    assert not verdict.ok
    told = " ".join(mismatch.sentence.en for mismatch in verdict.mismatches)
    for words in ("model width: 16 in “a”, 32 in “other”", "decoder layers: 2", "mel bins: 80"):
        assert words in told
    assert all(mismatch.remedy.ru and mismatch.remedy.en for mismatch in verdict.mismatches)


def test_tensors_and_shapes_that_differ_are_named(folder: Path, tiny_pair: TinyPair) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors["model.encoder.extra"] = tensors.pop("model.encoder.conv1.bias")
    tensors["model.encoder.conv2.bias"] = tensors["model.encoder.conv2.bias"][:-1].copy()
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(IncompatibleModels) as caught:
        compare(open_checkpoint(tiny_pair.b), open_checkpoint(folder)).raise_if_incompatible()
    told = caught.value.sentence("en")
    assert "model.encoder.extra" in told and "model.encoder.conv1.bias" in told and "[16] / [15]" in told


def test_tokenizers_that_differ_are_listed(folder: Path, tiny_pair: TinyPair) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    first = next(token for token, index in vocabulary.items() if index == 40)
    vocabulary["другой"] = vocabulary.pop(first)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    verdict = compare(open_checkpoint(tiny_pair.b), open_checkpoint(folder))
    assert verdict.ok
    [warning] = verdict.warnings
    assert "1 ids: 40 (" in warning.en and "40:" in warning.en and "другой" in warning.en


@pytest.mark.parametrize(
    ("ids", "listed"),
    [
        ([40, 45, 46, 47, 48, 49, 50, 60, 61], "9 ids: 40, 45–50, 60–61 (40:"),
        (range(1, 104, 2), f"52 ids: {', '.join(map(str, range(1, 100, 2)))}, … (1:"),
    ],
)
def test_every_id_that_differs_is_listed(ids: Sequence[int], listed: str, folder: Path, tiny_pair: TinyPair) -> None:
    vocabularies = {place: {f"token {index}": index for index in range(110)} for place in "ab"}
    vocabularies["b"] |= {f"other {index}": index for index in ids}
    for index in ids:
        del vocabularies["b"][f"token {index}"]
    models = []
    for place, vocabulary in vocabularies.items():
        shutil.copytree(tiny_pair.a, folder / place)
        (folder / place / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
        models.append(open_checkpoint(folder / place))
    [warning] = compare(*models).warnings
    assert listed in warning.en and listed.replace("ids", "токенах") in warning.ru


def test_a_tokenizer_with_ids_that_are_no_numbers_is_not_compared(folder: Path, tiny_pair: TinyPair) -> None:
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0, "b": "1", "c": [2]}}}))
    assert compare(open_checkpoint(tiny_pair.b), open_checkpoint(folder)).ok


def test_anything_but_whisper_is_refused(folder: Path, tiny_pair: TinyPair) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "wav2vec2"}))
    model = open_checkpoint(folder)
    with pytest.raises(IncompatibleModels, match="wav2vec2"):
        compare(model, model).raise_if_incompatible()


def test_a_file_that_shrinks_during_the_merge_is_noticed(folder: Path, tiny_pair: TinyPair, tmp_path: Path) -> None:
    opened = open_checkpoint(folder)
    os.truncate(folder / WEIGHTS, 100_000)
    with pytest.raises(IncompleteFile):
        merge_to_folder(MergeRecipe.build("direct"), {"a": open_checkpoint(tiny_pair.b), "b": opened}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_model_taken_twice_is_said(tiny_pair: TinyPair, folder: Path) -> None:
    once, again = open_checkpoint(tiny_pair.a), open_checkpoint(tiny_pair.a)
    assert any("taken twice" in warning.en for warning in compare(once, again).warnings)
    assert not any("taken twice" in warning.en for warning in compare(once, open_checkpoint(folder)).warnings)


def test_nonfinite_weights_are_listed_up_to_five(folder: Path, tiny_pair: TinyPair, tmp_path: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    for tensor in tensors.values():
        tensor.reshape(-1)[0] = float("nan")
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(NonfiniteWeights) as caught:
        sources = {"a": open_checkpoint(tiny_pair.b), "b": open_checkpoint(folder)}
        merge_to_folder(MergeRecipe.build("direct"), sources, tmp_path / "out")
    assert 1 <= len(caught.value.facts["tensors"]) <= 6


def test_a_folder_of_any_name_has_a_name_of_one_line(tiny_pair: TinyPair, tmp_path: Path) -> None:
    for name, shown in (("мо дель", "мо дель"), ("a\nlicense: mit", "a\ufffdlicense: mit")):
        shutil.copytree(tiny_pair.a, tmp_path / name)
        assert open_checkpoint(tmp_path / name).name == shown
