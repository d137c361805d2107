"""Merging to a folder: complete, exact, deterministic, and never half there."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from merger.arithmetic import Arithmetic
from merger.checkpoint import open_checkpoint
from merger.disk import merge_outputs, merge_to_folder
from merger.layout import place_of
from merger.recipe import MergeRecipe
from merger.registry import methods
from merger.verify import verify_folder
from tests.conftest import TinyPair
from tests.factories import make_whisper_folder
from tests.merger.merging import FILES, HALF, opened, tree


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
    from merger.recipe_file import read_recipe_file

    recipe = MergeRecipe.build("slerp", {"slerp_t": 1 / 3})
    merge_to_folder(recipe, opened(tiny_pair), tmp_path / "one")
    merge_to_folder(read_recipe_file(tmp_path / "one/recipe.json").recipe, opened(tiny_pair), tmp_path / "two")
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
