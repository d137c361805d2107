"""Merging to a folder: complete, exact, deterministic, and never half there."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import merger.arithmetic
from merger.arithmetic import Arithmetic
from merger.checkpoint import open_checkpoint
from merger.disk import Progress, merge_outputs, merge_to_folder
from merger.errors import (
    BadRecipe,
    Cancelled,
    CorruptFile,
    IncompatibleModels,
    NonfiniteWeights,
    OutputIsInput,
    OutputOccupied,
)
from merger.layout import place_of
from merger.recipe import MergeRecipe
from merger.registry import methods
from merger.verify import verify_folder
from tests.conftest import TinyPair
from tests.factories import make_whisper_folder

HALF = MergeRecipe.build("direct")
FILES = {"model.safetensors", "config.json", "generation_config.json", "processor_config.json", "tokenizer.json",
         "tokenizer_config.json", "vocab.json", "merges.txt", "recipe.json", "checksums.json", "README.md"}  # fmt: skip


def opened(pair: TinyPair, base: bool = False) -> dict[str, Any]:
    sources = {"a": open_checkpoint(pair.a), "b": open_checkpoint(pair.b)}
    return {**sources, "base": open_checkpoint(pair.base)} if base else sources


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def plain_merge(recipe: MergeRecipe, a: Path, b: Path, base: Path, name: str) -> torch.Tensor:
    """One tensor merged by the method's plain form on torch: what the engine has to write."""
    models = [load_file(folder / "model.safetensors") for folder in (a, b, base)]
    wide = [model[name].float() for model in models]
    place = place_of(name, tuple(wide[0].shape), open_checkpoint(a).config)
    return recipe.spec.merge(wide[:2], wide[2], place, **recipe.parameters_at(place)).to(models[0][name].dtype)


@pytest.mark.parametrize("method", methods())
def test_every_method_writes_what_its_plain_form_gives(method: str, tiny_pair: TinyPair, tmp_path: Path) -> None:
    recipe = MergeRecipe.build(method)
    report = merge_to_folder(recipe, opened(tiny_pair, base=True), tmp_path / "out")
    assert report.performed == method and not report.folder.is_relative_to(tiny_pair.a)
    merged = load_file(tmp_path / "out/model.safetensors")
    for name in ("model.encoder.layers.1.fc1.weight", "model.decoder.embed_tokens.weight",
                 "model.decoder.layers.0.encoder_attn.k_proj.weight", "model.encoder.conv1.bias"):  # fmt: skip
        plain = plain_merge(recipe, tiny_pair.a, tiny_pair.b, tiny_pair.base, name)
        difference = (merged[name].view(torch.int16).int() - plain.view(torch.int16).int()).abs()
        assert difference.max() <= 1  # one unit in the last place of the output: torch sums in its own order
        assert (difference > 0).float().mean() < 0.01


def test_result_is_complete_and_loads_without_a_warning(
    tiny_pair: TinyPair, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers import WhisperForConditionalGeneration, WhisperProcessor
    from transformers.utils import logging

    merge_to_folder(HALF, opened(tiny_pair), tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == FILES
    logging.set_verbosity_warning()
    logging.disable_progress_bar()
    capfd.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = WhisperForConditionalGeneration.from_pretrained(tmp_path / "out", dtype="auto")
        processor = WhisperProcessor.from_pretrained(tmp_path / "out")
    shown = capfd.readouterr()
    assert shown.err == shown.out == ""
    assert model.dtype == torch.float16
    assert model.proj_out.weight.data_ptr() == model.model.decoder.embed_tokens.weight.data_ptr()
    assert model.generation_config.lang_to_id == {"<|en|>": 258, "<|ru|>": 259}
    assert processor.tokenizer.decode(processor.tokenizer.encode("Привет", add_special_tokens=False)) == "Привет"
    features = processor(np.zeros(16000, np.float32), sampling_rate=16000, return_tensors="pt").input_features
    tokens = model.float().generate(features, language="russian", task="transcribe", max_new_tokens=3)
    assert tokens.shape[0] == 1


def test_recipe_travels_in_the_weights_and_beside_them(tiny_pair: TinyPair, tmp_path: Path) -> None:
    recipe = MergeRecipe.build("ties", {"ties_density": 0.85}, parts={"encoder": {"ties_density": [0.9, 0.7]}})
    merge_to_folder(recipe, opened(tiny_pair), tmp_path / "out")
    record = json.loads((tmp_path / "out/recipe.json").read_text())
    inside = open_checkpoint(tmp_path / "out").metadata
    assert inside["format"] == "pt"
    assert json.loads(inside["whisper_merge"]) == record
    assert MergeRecipe.from_json(record["recipe"]) == recipe
    assert record["digest"] == recipe.digest
    assert record["sources"]["a"] == {"name": "a", "sha256": open_checkpoint(tiny_pair.a).file_hashes()}
    assert str(tmp_path) not in json.dumps(record)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_other_precisions_and_shards(dtype: str, tmp_path: Path) -> None:
    a = make_whisper_folder(tmp_path / "a", 2, dtype=dtype, max_shard_size="60KB")
    b = make_whisper_folder(tmp_path / "b", 3, dtype=dtype)
    assert len(list(a.glob("*.safetensors"))) > 1
    merge_to_folder(MergeRecipe.build("direct", {"direct_alpha": 0.3}), opened(TinyPair(a, a, b)), tmp_path / "out")
    merged, theirs = load_file(tmp_path / "out/model.safetensors"), load_file(b / "model.safetensors")
    ours = {name: tensor for shard in a.glob("*.safetensors") for name, tensor in load_file(shard).items()}
    assert merged.keys() == ours.keys()
    for name, tensor in ours.items():
        expected = (0.3 * tensor.float() + 0.7 * theirs[name].float()).to(tensor.dtype)
        expected = tensor if torch.equal(tensor, theirs[name]) else expected
        assert merged[name].dtype == getattr(torch, dtype)
        assert torch.equal(merged[name], expected), name
    verify_folder(tmp_path / "out")


def test_mixed_precisions_compute_in_float32(tiny_pair: TinyPair, tmp_path: Path) -> None:
    wide = {name: tensor.float() for name, tensor in load_file(tiny_pair.b / "model.safetensors").items()}
    shutil.copytree(tiny_pair.b, tmp_path / "b")
    save_file(wide, tmp_path / "b/model.safetensors")
    for first, second, dtype in ((tiny_pair.a, tmp_path / "b", "F16"), (tmp_path / "b", tiny_pair.a, "F32")):
        report = merge_to_folder(HALF, opened(TinyPair(first, first, second)), tmp_path / "out")
        assert open_checkpoint(tmp_path / "out").dtype == dtype
        assert any("F32" in warning.en for warning in report.warnings)
    narrow = merge_to_folder(HALF, opened(TinyPair(first, first, second)), tmp_path / "out", dtype="BF16")
    assert open_checkpoint(narrow.folder).dtype == "BF16"
    assert json.loads((narrow.folder / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize("bins", [80, 128])
def test_mel_bins_and_uneven_stacks(bins: int, tmp_path: Path) -> None:
    shape = {"num_mel_bins": bins, "encoder_layers": 4, "decoder_layers": 1}  # like turbo: deep ears, short pen
    a, b = (make_whisper_folder(tmp_path / str(seed), seed, **shape) for seed in (2, 3))
    parts = {"encoder": {"direct_alpha": [1.0, 0.0]}, "decoder": {"direct_alpha": 1.0}}
    recipe = MergeRecipe.build("direct", parts=parts)
    merge_to_folder(recipe, opened(TinyPair(a, a, b)), tmp_path / "out")
    merged, ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path / "out", a, b))
    first, last = "model.encoder.layers.0.fc1.weight", "model.encoder.layers.3.fc1.weight"
    assert torch.equal(merged[first], ours[first]) and torch.equal(merged[last], theirs[last])
    third = "model.encoder.layers.1.fc1.weight"
    expected = (2 / 3 * ours[third].float() + (1 - 2 / 3) * theirs[third].float()).half()
    assert torch.equal(merged[third], expected)
    tail = "model.decoder.layers.0.encoder_attn.q_proj.weight"
    assert torch.equal(merged[tail], ours[tail])
    assert merged["model.encoder.conv1.weight"].shape[1] == bins


def test_same_bytes_whatever_the_number_of_workers(
    tiny_pair: TinyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = {name: MergeRecipe.build(name) for name in methods()}
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(Arithmetic, "threads", threads)
        merge_outputs({tmp_path / "out" / name: each for name, each in recipes.items()}, opened(tiny_pair, base=True))
        found.append(tree(tmp_path / "out"))
    assert found[0] == found[1] == found[2]


def test_small_stretches_and_reading_twice_change_nothing(
    tiny_pair: TinyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = {name: MergeRecipe.build(name) for name in methods()}
    found = []
    for step, resident in ((1 << 19, 192 << 20), (64, 0)):
        monkeypatch.setattr(Arithmetic, "step", step)
        monkeypatch.setattr("merger.engine.RESIDENT_BYTES", resident)
        monkeypatch.setattr("merger.views.SUM_BLOCK", 64)
        merge_outputs({tmp_path / "out" / name: each for name, each in recipes.items()}, opened(tiny_pair, base=True))
        found.append(tree(tmp_path / "out"))
    assert found[0] == found[1]


def test_recipe_of_an_export_reproduces_it_byte_for_byte(tiny_pair: TinyPair, tmp_path: Path) -> None:
    from merger.recipe import read_recipe_file

    recipe = MergeRecipe.build("slerp", {"slerp_t": 1 / 3})
    merge_to_folder(recipe, opened(tiny_pair), tmp_path / "one")
    merge_to_folder(read_recipe_file(tmp_path / "one/recipe.json"), opened(tiny_pair), tmp_path / "two")
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


class TestFallback:
    """A method that runs out of memory is replaced by direct, loudly."""

    @pytest.mark.parametrize(
        ("method", "given", "alphas"),
        [
            ("slerp", {"slerp_t": 0.3}, (0.7, 0.7)),
            ("ties", {"encoder_weights": [0.9, 0.1], "decoder_weights": [0.2, 0.8]}, (0.9, 0.2)),
        ],
    )
    def test_direct_is_performed_and_said(
        self, method: str, given: dict[str, Any], alphas: tuple[float, float], tiny_pair: TinyPair, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        def fail(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr(merger.stream.StreamView, "gram", fail)
        monkeypatch.setattr(merger.stream.StreamView, "top", fail)
        report = merge_to_folder(MergeRecipe.build(method, given), opened(tiny_pair), tmp_path / "out")
        assert (report.requested, report.performed) == (method, "direct")
        assert any("out of memory" in warning.en and method in warning.en for warning in report.warnings)
        record = json.loads((tmp_path / "out/recipe.json").read_text())
        assert (record["requested"], record["performed"]) == (method, "direct")
        assert "out of memory" in record["reason"]["en"]
        assert "out of memory" in (tmp_path / "out/README.md").read_text()
        merged, a, b = (load_file(path / "model.safetensors") for path in (tmp_path / "out", tiny_pair.a, tiny_pair.b))
        for name, alpha in zip(
            ("model.encoder.layers.0.fc1.weight", "model.decoder.layers.0.fc1.weight"), alphas, strict=True
        ):
            expected = (np.float32(alpha) * a[name].float() + np.float32(1 - alpha) * b[name].float()).half()
            assert torch.equal(merged[name], expected)

    def test_incompatible_models_never_fall_back(self, tiny_pair: TinyPair, tmp_path: Path) -> None:
        other = make_whisper_folder(tmp_path / "other", 4, d_model=32)
        with pytest.raises(IncompatibleModels) as caught:
            merge_to_folder(MergeRecipe.build("slerp"), opened(TinyPair(other, tiny_pair.a, other)), tmp_path / "out")
        assert "16" in caught.value.sentence("ru") and "32" in caught.value.sentence("ru")
        assert not (tmp_path / "out").exists()


class TestOutputFolder:
    """What may be replaced, and what may not."""

    def test_output_that_is_or_overlaps_an_input_is_refused(self, tiny_pair: TinyPair, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to(tiny_pair.a)
        before = tree(tiny_pair.a.parent)
        for target in (tiny_pair.a, tiny_pair.b / "inside", tiny_pair.a.parent, link):
            with pytest.raises(OutputIsInput):
                merge_to_folder(HALF, opened(tiny_pair), target)
        assert tree(tiny_pair.a.parent) == before

    def test_foreign_files_are_never_replaced(self, tiny_pair: TinyPair, tmp_path: Path) -> None:
        out = tmp_path / "out"
        merge_to_folder(HALF, opened(tiny_pair), out)
        (out / "notes.txt").write_text("mine")
        with pytest.raises(OutputOccupied, match=r"notes\.txt"):
            merge_to_folder(HALF, opened(tiny_pair), out)
        assert (out / "notes.txt").read_text() == "mine"

    def test_own_result_is_replaced_and_subfolders_stay(self, tiny_pair: TinyPair, tmp_path: Path) -> None:
        out = tmp_path / "out"
        merge_to_folder(HALF, opened(tiny_pair), out)
        merge_to_folder(MergeRecipe.build("slerp"), opened(tiny_pair), out / "slerp")
        kept = tree(out / "slerp")
        merge_to_folder(MergeRecipe.build("direct", {"direct_alpha": 1.0}), opened(tiny_pair), out)
        assert tree(out / "slerp") == kept
        assert load_file(out / "model.safetensors").keys() == load_file(tiny_pair.a / "model.safetensors").keys()
        assert json.loads((out / "recipe.json").read_text())["recipe"]["parameters"] == {"direct_alpha": 1.0}
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_a_link_stays_a_link(self, tiny_pair: TinyPair, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        for _ in range(2):
            merge_to_folder(HALF, opened(tiny_pair), tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]
        assert verify_folder(tmp_path / "real").record["performed"] == "direct"

    def test_cancelling_leaves_nothing(self, tiny_pair: TinyPair, tmp_path: Path) -> None:
        stages: list[Progress] = []
        with pytest.raises(Cancelled):
            merge_to_folder(
                HALF, opened(tiny_pair), tmp_path / "out", on_progress=stages.append, cancelled=lambda: bool(stages)
            )
        assert list(tmp_path.iterdir()) == []


def broken_copy(folder: Path, target: Path, name: str, value: float) -> Path:
    shutil.copytree(folder, target)
    tensors = load_file(target / "model.safetensors")
    tensors[name].view(-1)[7] = value
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", methods())
def test_nonfinite_sources_are_named(method: str, value: float, tiny_pair: TinyPair, tmp_path: Path) -> None:
    name = "model.decoder.layers.0.fc1.weight"
    broken = broken_copy(tiny_pair.b, tmp_path / "broken", name, value)
    recipe = MergeRecipe.build(method)
    if method == "swap":
        recipe = MergeRecipe.build(method, {"decoder_from": "b"})
    with pytest.raises(NonfiniteWeights) as caught:
        merge_to_folder(recipe, opened(TinyPair(tiny_pair.base, tiny_pair.a, broken), base=True), tmp_path / "out")
    assert caught.value.facts["file"] == "broken"
    assert name in caught.value.sentence("ru")
    assert not (tmp_path / "out").exists()


class TestStoredHead:
    """`proj_out.weight` in the file: tied, own, or only in one of the models."""

    def with_head(self, folder: Path, target: Path, own: bool) -> Path:
        shutil.copytree(folder, target)
        tensors = load_file(target / "model.safetensors")
        head = tensors["model.decoder.embed_tokens.weight"].clone()
        head[0] += 1.0 if own else 0.0
        save_file({**tensors, "proj_out.weight": head}, target / "model.safetensors", metadata={"format": "pt"})
        return target

    def test_tied_head_is_left_out(self, tiny_pair: TinyPair, tmp_path: Path) -> None:
        tied = self.with_head(tiny_pair.a, tmp_path / "tied", own=False)
        merge_to_folder(HALF, opened(TinyPair(tied, tied, tiny_pair.b)), tmp_path / "out")
        assert "proj_out.weight" not in load_file(tmp_path / "out/model.safetensors")

    def test_head_of_one_model_alone_is_refused(self, tiny_pair: TinyPair, tmp_path: Path) -> None:
        own = self.with_head(tiny_pair.a, tmp_path / "own", own=True)
        with pytest.raises(IncompatibleModels, match="proj_out"):
            merge_to_folder(HALF, opened(TinyPair(own, own, tiny_pair.b)), tmp_path / "out")

    def test_own_heads_of_both_are_merged(self, tiny_pair: TinyPair, tmp_path: Path) -> None:
        a, b = (self.with_head(folder, tmp_path / folder.name, own=True) for folder in (tiny_pair.a, tiny_pair.b))
        merge_to_folder(HALF, opened(TinyPair(a, a, b)), tmp_path / "out")
        merged, ours, theirs = (load_file(f / "model.safetensors")["proj_out.weight"] for f in (tmp_path / "out", a, b))
        assert torch.equal(merged, (0.5 * ours.float() + 0.5 * theirs.float()).half())
        assert json.loads((tmp_path / "out/config.json").read_text())["tie_word_embeddings"] is False


def test_two_models_are_needed_and_a_base_where_the_method_says_so(tiny_pair: TinyPair, tmp_path: Path) -> None:
    sources = {**opened(tiny_pair), "c": open_checkpoint(tiny_pair.base)}
    with pytest.raises(BadRecipe, match="exactly two"):
        merge_to_folder(HALF, sources, tmp_path / "out")
    for spec in methods().values():
        if spec.needs_base:
            with pytest.raises(BadRecipe, match="base model"):
                merge_to_folder(MergeRecipe.build(spec.name), opened(tiny_pair), tmp_path / "out")


def test_sidecars_of_another_source_complete_the_donor(tiny_pair: TinyPair, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(tiny_pair.a, bare)
    (bare / "generation_config.json").unlink()
    (bare / "processor_config.json").write_text('{"feature_extractor": {"feature_size": 128}}')
    report = merge_to_folder(HALF, opened(TinyPair(bare, bare, tiny_pair.b)), tmp_path / "out")
    assert {file.name for file in report.folder.iterdir()} == FILES
    told = " ".join(warning.en for warning in report.warnings)
    assert "generation_config.json" in told and "belongs to another Whisper" in told and "“b”" in told


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
