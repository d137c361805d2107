"""The files beside the weights: whole, of one kind, and everything that is not told by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import WhisperProcessor

from merger.checkpoint import open_checkpoint
from merger.compatibility import compare
from merger.disk import merge_to_folder
from merger.report import MergeReport
from tests.conftest import TinyPair
from tests.merger.merging import FILES, HALF

JSON_SIDECARS = ["generation_config.json", "processor_config.json", "tokenizer.json", "vocab.json",
                 "tokenizer_config.json"]  # fmt: skip


def merged(a: Path, b: Path, out: Path, donor: str = "a") -> MergeReport:
    return merge_to_folder(HALF, {"a": open_checkpoint(a), "b": open_checkpoint(b)}, out, donor=donor)


def words(report: MergeReport) -> str:
    return " ".join(warning.en for warning in report.warnings)


def test_a_vocabulary_without_its_merges_is_no_tokenizer(folder: Path, tiny_pair: TinyPair, tmp_path: Path) -> None:
    for name in ("merges.txt", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (folder / "added_tokens.json").write_text('{"<|ghost|>": 1767}')
    report = merged(folder, tiny_pair.b, tmp_path / "out")
    assert words(report) == (
        "“model” has no usable tokenizer.json / vocab.json + merges.txt."
        " Taken from “b”: merges.txt, tokenizer.json, tokenizer_config.json, vocab.json."
    )
    assert {file.name for file in report.folder.iterdir()} == FILES, "one tokenizer, not parts of two"
    assert WhisperProcessor.from_pretrained(report.folder).tokenizer.decode([220, 220])
    alone = merged(folder, folder, tmp_path / "alone")
    assert [warning.en for warning in alone.warnings] == [
        "“model” was taken twice: there is nothing to mix.",
        "None of the models has a usable tokenizer.json / vocab.json + merges.txt:"
        " WhisperProcessor will not open the result.",
    ]


def test_vocabulary_and_merges_are_enough(folder: Path, tiny_pair: TinyPair, tmp_path: Path) -> None:
    (folder / "tokenizer.json").unlink()
    report = merged(folder, tiny_pair.b, tmp_path / "out")
    assert "usable" not in words(report) and not (report.folder / "tokenizer.json").exists()
    WhisperProcessor.from_pretrained(report.folder)


@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
def test_stale_audio_features_are_left_out_and_the_good_ones_kept(
    name: str, folder: Path, tiny_pair: TinyPair, tmp_path: Path
) -> None:
    features = json.loads((folder / "processor_config.json").read_text())["feature_extractor"]
    (folder / "preprocessor_config.json").write_text(json.dumps(features))
    stale = {**features, "feature_size": 128}
    wrapped = {"feature_extractor": stale} if name == "processor_config.json" else stale
    (folder / name).write_text(json.dumps(wrapped))
    report = merged(folder, tiny_pair.b, tmp_path / "out")
    assert [warning.en for warning in report.warnings] == [
        f"The {name} of “model” belongs to another Whisper (128 bins instead of 80) and is left out."
    ]
    assert not (report.folder / name).exists()
    assert WhisperProcessor.from_pretrained(report.folder).feature_extractor.feature_size == 80


def test_a_processor_config_without_features_needs_a_preprocessor(
    folder: Path, tiny_pair: TinyPair, tmp_path: Path
) -> None:
    (folder / "processor_config.json").write_text('{"processor_class": "WhisperProcessor"}')
    report = merged(folder, tiny_pair.b, tmp_path / "out")
    assert "Taken from “b”: processor_config.json." in words(report)
    assert WhisperProcessor.from_pretrained(report.folder).feature_extractor.feature_size == 80


def test_what_the_donor_lacks_is_told_once_and_of_the_donor(folder: Path, tiny_pair: TinyPair, tmp_path: Path) -> None:
    (folder / "generation_config.json").unlink()
    taken = "“model” has no usable generation_config.json. Taken from “b”: generation_config.json."
    report = merged(folder, tiny_pair.b, tmp_path / "out")
    assert [warning.en for warning in report.warnings] == [taken]
    assert merged(folder, tiny_pair.b, tmp_path / "out", donor="b").warnings == []
    told = compare(open_checkpoint(folder), open_checkpoint(tiny_pair.b)).warnings
    assert [warning.en for warning in told] == [taken]
    nobody = merged(folder, folder, tmp_path / "out")
    assert [warning.en for warning in nobody.warnings] == [
        "“model” was taken twice: there is nothing to mix.",
        "None of the models has a usable generation_config.json: the result will not know languages and tasks.",
    ]


@pytest.mark.parametrize("name", JSON_SIDECARS)
def test_a_damaged_sidecar_is_named_and_not_taken(
    name: str, folder: Path, tiny_pair: TinyPair, tmp_path: Path
) -> None:
    (folder / name).write_text("x")
    report = merged(folder, tiny_pair.b, tmp_path / "out")
    assert f"The {name} of “model” is damaged (it is not JSON) and is left out." in words(report)
    for file in report.folder.glob("*.json"):
        json.loads(file.read_text())
    assert WhisperProcessor.from_pretrained(report.folder).tokenizer.decode([220, 220])
    assert (report.folder / "generation_config.json").is_file()


def test_the_base_is_asked_last(folder: Path, tiny_pair: TinyPair, tmp_path: Path) -> None:
    (folder / "generation_config.json").unlink()
    base = tmp_path / "ancestor"
    shutil.copytree(tiny_pair.base, base)
    settings = json.loads((base / "generation_config.json").read_text())
    (base / "generation_config.json").write_text(json.dumps({**settings, "max_length": 7}))
    sources = {"base": open_checkpoint(base), "a": open_checkpoint(folder), "b": open_checkpoint(tiny_pair.b)}
    report = merge_to_folder(HALF, sources, tmp_path / "out")
    assert "“b”" in words(report)
    theirs = (tiny_pair.b / "generation_config.json").read_bytes()
    assert (report.folder / "generation_config.json").read_bytes() == theirs
