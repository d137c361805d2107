"""Looking at a result: right after it was written, later, and results of earlier versions."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from merger.checkpoint import open_checkpoint
from merger.commands import main
from merger.digests import PIECES, PieceDigest
from merger.disk import Progress, merge_outputs, merge_to_folder
from merger.errors import BadRecipe, Cancelled, CorruptFile, MissingFile, OutputOccupied, UnknownWeights
from merger.output import OutputFile
from merger.provenance import METADATA_KEY
from merger.recipe import MergeRecipe
from merger.safetensors_header import read_header
from merger.verify import _check_recipe, verify_folder
from tests.conftest import TinyPair
from tests.merger.merging import HALF, opened, tree


def test_verify_finds_what_changed(tiny_pair: TinyPair, tmp_path: Path) -> None:
    out = tmp_path / "out"
    merge_to_folder(HALF, opened(tiny_pair), out)
    assert verify_folder(out).tensors == len(open_checkpoint(out).tensors)
    entry = open_checkpoint(out).tensors["model.encoder.layers.1.fc2.weight"]
    whole = (out / "model.safetensors").read_bytes()
    (out / "model.safetensors").write_bytes(
        whole[: entry.offset + 5] + bytes([whole[entry.offset + 5] ^ 1]) + whole[entry.offset + 6 :]
    )
    with pytest.raises(CorruptFile) as caught:
        verify_folder(out)
    assert caught.value.facts["tensor"] == entry.name
    (out / "model.safetensors").write_bytes(whole)
    recipe = out / "recipe.json"
    recipe.write_text(recipe.read_text().replace("0.5", "0.4"))
    with pytest.raises(CorruptFile, match=r"recipe.json"):
        verify_folder(out)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_lost_file_of_a_result_is_told_as_that(name: str, tiny_pair: TinyPair, tmp_path: Path) -> None:
    merge_to_folder(HALF, opened(tiny_pair), tmp_path / "out")
    (tmp_path / "out" / name).unlink()
    with pytest.raises(MissingFile) as caught:
        verify_folder(tmp_path / "out")
    assert name in caught.value.sentence("ru") and "a file of the result" in caught.value.sentence("en")
    assert "config.json" not in caught.value.remedy("ru") + caught.value.remedy("en")
    assert "повторите слияние" in caught.value.remedy("ru") and "repeat the merge" in caught.value.remedy("en")


def spoil_a_byte(monkeypatch: pytest.MonkeyPatch, offset: int) -> None:
    """A disk that keeps another bit than it was given, in every file: memory knows nothing of it."""
    faithful = OutputFile._put

    def faulty(self: OutputFile, window: Any) -> None:
        faithful(self, window)
        if window.start <= offset < window.start + window.nbytes:
            window.memory[offset - window.start] ^= 1
            faithful(self, window)
            window.memory[offset - window.start] ^= 1

    monkeypatch.setattr(OutputFile, "_put", faulty)


class TestReadBack:
    """`--verify full` finds what only the disk knows; without it `verify` finds it later."""

    def test_a_disk_that_lies_is_found_by_full_verification(
        self, tiny_pair: TinyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        merge_to_folder(HALF, opened(tiny_pair), tmp_path / "good", verify="full")
        entry = open_checkpoint(tmp_path / "good").tensors["model.encoder.layers.1.fc1.weight"]
        spoil_a_byte(monkeypatch, entry.offset + 3)
        with pytest.raises(CorruptFile) as caught:
            merge_to_folder(HALF, opened(tiny_pair), tmp_path / "full", verify="full")
        assert caught.value.facts["tensor"] == entry.name
        assert [path.name for path in tmp_path.iterdir()] == ["good"]
        merge_to_folder(HALF, opened(tiny_pair), tmp_path / "written")
        with pytest.raises(CorruptFile):
            verify_folder(tmp_path / "written")

    def test_it_changes_no_byte_tells_its_progress_and_can_be_stopped(
        self, tiny_pair: TinyPair, tmp_path: Path
    ) -> None:
        told: list[Progress] = []
        recipes = {name: MergeRecipe.build(name) for name in ("direct", "slerp")}
        outputs = {tmp_path / "full" / name: recipe for name, recipe in recipes.items()}
        merge_outputs(outputs, opened(tiny_pair), verify="full", on_progress=told.append)
        merge_outputs({tmp_path / "plain" / name: recipe for name, recipe in recipes.items()}, opened(tiny_pair))
        assert tree(tmp_path / "full") == tree(tmp_path / "plain")
        done = [each.done_bytes for each in told if each.stage == "verifying"]
        assert done == sorted(done) and done[0] == 0 and done[-1] == told[-1].total_bytes
        reading: list[str] = []
        with pytest.raises(Cancelled):
            merge_to_folder(
                HALF, opened(tiny_pair), tmp_path / "stopped", verify="full",
                on_progress=lambda now: reading.append(now.stage), cancelled=lambda: reading.count("verifying") > 2,
            )  # fmt: skip
        assert not (tmp_path / "stopped").exists()

    def test_the_flag(self, tiny_pair: TinyPair, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["--model-a", str(tiny_pair.a), "--model-b", str(tiny_pair.b), "--output-dir", str(tmp_path / "out")]
        assert main([*words, "--method", "direct", "--verify", "full"]) == 0
        assert main([*words, "--method", "direct", "--verify", "twice"]) == 2
        assert "--verify" in capsys.readouterr().err


def as_format_one(folder: Path) -> None:
    """Turn a result into what the first version wrote: its format, its checksums, no shard size."""
    record = json.loads((folder / "recipe.json").read_text())
    record["format"] = "whisper-merge/1"
    del record["max_shard_bytes"]
    file = folder / "model.safetensors"
    entries, raw = read_header(file), file.read_bytes()
    header = json.loads(raw[8 : entries.data_start])
    header["__metadata__"][METADATA_KEY] = json.dumps(record, sort_keys=True, separators=(",", ":"))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start = len(text).to_bytes(8, "little") + text
    file.write_bytes(start + raw[entries.data_start :])
    (folder / "recipe.json").write_text(json.dumps(record))
    tensors = {}
    for name, entry in entries.tensors.items():
        digest = PieceDigest()
        digest.update(np.frombuffer(raw, np.uint8, entry.nbytes, entry.offset))
        tensors[name] = digest.hexdigest()
    checksums = json.loads((folder / "checksums.json").read_text())
    checksums["format"] = "whisper-merge/1"
    checksums["files"]["recipe.json"] = hashlib.sha256((folder / "recipe.json").read_bytes()).hexdigest()
    checksums["weights"] = {"file": file.name, "header": hashlib.sha256(start).hexdigest(), "tensors": tensors,
                            "tensor_digest": PIECES}  # fmt: skip
    (folder / "checksums.json").write_text(json.dumps(checksums))


def test_results_of_the_first_format_are_still_verified_and_replaced(tiny_pair: TinyPair, tmp_path: Path) -> None:
    out = tmp_path / "out"
    merge_to_folder(HALF, opened(tiny_pair), out)
    now = tree(out)
    as_format_one(out)
    assert verify_folder(out).tensors == len(open_checkpoint(tiny_pair.a).tensors)
    broken = tmp_path / "broken"
    shutil.copytree(out, broken)
    with (broken / "model.safetensors").open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([last[0] ^ 1]))
    with pytest.raises(CorruptFile):
        verify_folder(broken)
    merge_to_folder(HALF, opened(tiny_pair), out)  # our own result, whatever its format: it gives way
    assert tree(out) == now


def test_checksums_of_an_unknown_kind_are_said_to_be_that(tiny_pair: TinyPair, tmp_path: Path) -> None:
    merge_to_folder(HALF, opened(tiny_pair), tmp_path / "out")
    file = tmp_path / "out/checksums.json"
    checksums = json.loads(file.read_text())
    checksums["weights"]["tensor_digest"] = "crc32"
    file.write_text(json.dumps(checksums))
    with pytest.raises(CorruptFile, match="unknown kind"):
        verify_folder(tmp_path / "out")


ODD_CHECKSUMS: list[dict[str, Any]] = [
    {"files": None},
    {"files": {"config.json": 1}},
    {"files": ["config.json"]},
    {"weights": None},
    {"weights": []},
    {"weights": {}},
    {"weights": {"headers": {}, "tensors": {}}},
    {"weights": {"headers": {"model.safetensors": "0"}, "tensors": {"x": 0}}},
    {"format": "whisper-merge/1"},
    {"format": ["whisper-merge/2"]},
    {"format": {}},
]


@pytest.mark.parametrize("odd", ODD_CHECKSUMS, ids=str)
def test_odd_checksums_are_told_and_make_no_folder_ours(
    odd: dict[str, Any], tiny_pair: TinyPair, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    merge_to_folder(HALF, opened(tiny_pair), out)
    checksums = json.loads((out / "checksums.json").read_text())
    if odd == {"format": "whisper-merge/1"}:
        del checksums["weights"]["headers"]
    (out / "checksums.json").write_text(json.dumps({**checksums, **odd}))
    before = tree(out)
    with pytest.raises(CorruptFile, match=r"checksums\.json"):
        verify_folder(out)
    with pytest.raises(OutputOccupied):
        merge_to_folder(HALF, opened(tiny_pair), out)
    (out / "checksums.json").write_text('{"format": "whisper-merge/2"}')
    assert main(["verify", str(out)]) == 1
    (out / "checksums.json").write_bytes(before["checksums.json"])
    assert tree(out) == before


@pytest.mark.parametrize("more", [["--json"], ["--log", "log.txt"]])
def test_half_a_surrogate_pair_in_the_checksums_is_told_without_a_trace(
    more: list[str], tiny_pair: TinyPair, tmp_path: Path
) -> None:
    merge_to_folder(HALF, opened(tiny_pair), tmp_path / "out")
    file = tmp_path / "out/checksums.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "files": {"\ud800": "0"}}))
    command = [sys.executable, "-m", "merger", "verify", str(tmp_path / "out"), "--lang", "en", *more]
    where = {"PYTHONPATH": str(Path(__file__).parents[2]), "WHISPER_MERGE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **where}, capture_output=True, encoding="utf-8", check=False
    )
    told = r"MISSING_FILE: Not found: “\ud800” (a file of the result)."
    assert done.returncode == 1 and told in done.stderr and done.stderr.count("\n") == 1
    log = tmp_path / ("log.txt" if "--log" in more else "cache/errors.log")
    assert told in log.read_text(encoding="utf-8")
    if "--json" in more:
        assert "\ud800" in json.loads(done.stdout)["error"]["sentence"]


@pytest.mark.parametrize("change", [{"performed": None}, {"performed": "ties"}, {"recipe": None}, {"recipe": ...}])
def test_an_odd_record_is_told(change: dict[str, Any], tiny_pair: TinyPair, tmp_path: Path) -> None:
    merge_to_folder(HALF, opened(tiny_pair), tmp_path / "out")
    file = tmp_path / "out/recipe.json"
    record = {**json.loads(file.read_text()), **change}
    text = json.dumps({key: value for key, value in record.items() if value is not ...})
    file.write_text(text)
    with pytest.raises((CorruptFile, BadRecipe)):
        _check_recipe(tmp_path / "out", {METADATA_KEY: text})  # beside and inside the weights it says the same


@pytest.mark.parametrize("shards", [None, 60_000])
def test_weights_that_the_record_does_not_know_are_named(
    shards: int | None, tiny_pair: TinyPair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    merge_to_folder(HALF, opened(tiny_pair), out, max_shard_bytes=shards)
    (out / "notes.txt").write_text("mine")
    assert verify_folder(out).tensors
    for name in ("pytorch_model.bin", "model.fp32.safetensors"):
        shutil.copy(tiny_pair.a / "model.safetensors", out / name)
    with pytest.raises(UnknownWeights) as caught:
        verify_folder(out)
    assert caught.value.facts == {"file": "out", "files": ["model.fp32.safetensors", "pytorch_model.bin"]}
    capsys.readouterr()
    assert main(["verify", str(out), "--lang=ru"]) == 1
    assert "UNKNOWN_WEIGHTS: В папке «out» есть файлы весов" in (told := capsys.readouterr().err)
    assert "model.fp32.safetensors; pytorch_model.bin" in told
