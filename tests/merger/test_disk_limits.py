"""What a merge to a folder refuses, replaces and falls back to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import merger.arithmetic
from merger.checkpoint import open_checkpoint
from merger.disk import Progress, merge_to_folder
from merger.errors import (
    BadRecipe,
    Cancelled,
    IncompatibleModels,
    NonfiniteResult,
    NonfiniteWeights,
    OutputIsInput,
    OutputNotWritable,
    OutputOccupied,
)
from merger.recipe import MergeRecipe
from merger.registry import methods
from merger.verify import verify_folder
from tests.conftest import TinyPair
from tests.factories import make_whisper_folder
from tests.merger.merging import FILES, HALF, opened, tree


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

    @pytest.mark.parametrize("given", ["", ".", "whole path"])
    def test_current_folder_is_refused_as_what_it_is(
        self, given: str, tiny_pair: TinyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(OutputNotWritable) as caught:
            merge_to_folder(HALF, opened(tiny_pair), tmp_path if given == "whole path" else given)
        assert "current folder" in caught.value.sentence("en") and "“”" not in caught.value.sentence("en")
        assert "текущая папка" in caught.value.sentence("ru")
        assert list(tmp_path.iterdir()) == []

    def test_why_a_place_cannot_be_written_is_said_in_the_language(self, tiny_pair: TinyPair, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        for target, ru, en in (
            (tmp_path / "file" / "out", "на этом месте стоит файл", "a file is in the way"),
            (tmp_path / "file" / "in" / "out", "на пути стоит файл", "a file stands in the path"),
            (tmp_path / ("x" * 300), "имя слишком длинное", "the name is too long"),
        ):
            with pytest.raises(OutputNotWritable) as caught:
                merge_to_folder(HALF, opened(tiny_pair), target)
            assert ru in caught.value.sentence("ru") and en in caught.value.sentence("en")

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


@pytest.mark.parametrize("count", [1, 7])
def test_a_result_that_overflows_is_told_as_that(count: int, tiny_pair: TinyPair, tmp_path: Path) -> None:
    folders = [tmp_path / key for key in "ab"]
    names = sorted(open_checkpoint(tiny_pair.a).tensors)[:count]
    for folder, source in zip(folders, (tiny_pair.a, tiny_pair.b), strict=True):
        shutil.copytree(source, folder)
        tensors = load_file(folder / "model.safetensors")
        for name in names:
            tensors[name][..., 0] = 60000.0
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    recipe = MergeRecipe.build("task-arithmetic", {"scale": 2.0})
    sources = opened(TinyPair(tiny_pair.base, *folders), base=True)
    with pytest.raises(NonfiniteResult) as caught:
        merge_to_folder(recipe, sources, tmp_path / "out")
    told = {lang: caught.value.sentence(lang) for lang in ("ru", "en")}
    assert told["ru"].startswith("Результат метода task-arithmetic") and "бесконечность" in told["ru"]
    assert told["en"].startswith("The result of task-arithmetic")
    shown = caught.value.facts["tensors"]
    assert len(shown) == min(count, 6) and set(shown) <= {*names, "…"}
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
