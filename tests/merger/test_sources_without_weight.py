"""A source that takes no part in a tensor counts for nothing there: neither its numbers nor its NaN."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from merger.checkpoint import open_checkpoint
from merger.disk import merge_to_folder
from merger.errors import NonfiniteWeights
from merger.layout import Place
from merger.recipe import MergeRecipe
from merger.registry import get_method, methods
from merger.safetensors_header import TensorEntry
from merger.stream import LOOK, SourceFiles
from tests.conftest import TinyPair

WEIGHED = [spec for spec in methods().values() if spec.parameter("weights")]
CASES = [
    *((spec.name, {"weights": [1, 0, 3] if spec.sources == "many" else [1, 0]}) for spec in WEIGHED),
    ("direct", {"direct_alpha": 1.0}),
    ("slerp", {"slerp_t": 0.0}),
    ("swap", {"encoder_from": "a", "decoder_from": "a"}),
]


@pytest.fixture
def spoilt(tiny_pair: TinyPair, tmp_path: Path) -> Path:
    """A copy of B that is NaN throughout."""
    shutil.copytree(tiny_pair.b, tmp_path / "spoilt")
    file = tmp_path / "spoilt" / "model.safetensors"
    filled = {name: torch.full_like(each, torch.nan) for name, each in load_file(file).items()}
    save_file(filled, file, {"format": "pt"})
    return tmp_path / "spoilt"


def sources(recipe: MergeRecipe, pair: TinyPair, second: Path) -> dict[str, Any]:
    """A, `second` and, where the method takes three, a third that differs from both; the base where it is needed."""
    folders = {"a": pair.a, "b": second, **({"c": pair.b} if recipe.spec.sources == "many" else {})}
    folders |= {"base": pair.base} if recipe.spec.needs_base else {}
    return {key: open_checkpoint(folder) for key, folder in folders.items()}


def tensors(recipe: MergeRecipe, pair: TinyPair, second: Path, out: Path, dtype: str | None) -> dict[str, Any]:
    merge_to_folder(recipe, sources(recipe, pair, second), out, dtype=dtype, device="cpu")
    return load_file(out / "model.safetensors")


@pytest.mark.parametrize("dtype", [None, "F32"])
@pytest.mark.parametrize(("method", "given"), CASES, ids=[name for name, _ in CASES])
def test_it_may_be_nan(
    method: str, given: dict[str, Any], dtype: str | None, tiny_pair: TinyPair, spoilt: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    read, most = SourceFiles.read, 0

    def counting(self: SourceFiles, entry: TensorEntry, start: int, buffer: np.ndarray) -> None:
        nonlocal most
        if entry.file.parent.name == "spoilt":
            most = max(most, start + len(buffer))
        read(self, entry, start, buffer)

    monkeypatch.setattr(SourceFiles, "read", counting)
    recipe = MergeRecipe.build(method, given)
    found = tensors(recipe, tiny_pair, spoilt, tmp_path / "out", dtype)
    expected = tensors(recipe, tiny_pair, tiny_pair.base, tmp_path / "expected", dtype)
    assert found.keys() == expected.keys()
    assert all(torch.isfinite(each).all() and torch.equal(each, expected[name]) for name, each in found.items())
    assert 0 < most <= 2 * LOOK  # the look at whether all sources are equal, two bytes an element


@pytest.mark.parametrize(("method", "given"), CASES, ids=[name for name, _ in CASES])
def test_the_plain_function_says_the_same(method: str, given: dict[str, Any]) -> None:
    chance = np.random.default_rng(3)
    place = Place("model.encoder.layers.0.fc1.weight", (6, 8), "encoder", "encoder", None, 0.5)
    a, b, c, base = (chance.standard_normal((6, 8)).astype(np.float32) for _ in range(4))
    spec = get_method(method)
    three = [c] if spec.sources == "many" else []
    recipe = MergeRecipe.build(method, given)
    found = spec.merge([a, np.full_like(a, np.nan), *three], base, place, **recipe.parameters)
    assert np.isfinite(found).all()
    assert (found == spec.merge([a, b, *three], base, place, **recipe.parameters)).all()


def test_weight_in_one_part_of_the_model_reads_that_part(tiny_pair: TinyPair, spoilt: Path, tmp_path: Path) -> None:
    recipe = MergeRecipe.build("linear", {"weights": [1, 0, 1]}, parts={"decoder": {"weights": [1, 1, 1]}})
    with pytest.raises(NonfiniteWeights) as caught:
        merge_to_folder(recipe, sources(recipe, tiny_pair, spoilt), tmp_path / "out")
    assert caught.value.facts["file"] == "spoilt"
    assert all(name.startswith(("model.decoder", "…")) for name in caught.value.facts["tensors"])


def test_a_threshold_over_the_whole_model_looks_at_every_source(
    tiny_pair: TinyPair, spoilt: Path, tmp_path: Path
) -> None:
    recipe = MergeRecipe.build("ties-merging", {"weights": [1, 0, 1], "scope": "model"})
    with pytest.raises(NonfiniteWeights) as caught:
        merge_to_folder(recipe, sources(recipe, tiny_pair, spoilt), tmp_path / "out")
    assert caught.value.facts["file"] == "spoilt"
