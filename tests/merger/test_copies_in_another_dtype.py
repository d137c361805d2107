"""A mixture that is one of its sources, written in another dtype: that source, rounded once."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.checkpoints import make_checkpoint
from merger.checkpoint import open_checkpoint
from merger.disk import merge_to_folder
from merger.recipe import MergeRecipe

torch = pytest.importorskip("torch")
DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
COPIES = [
    (MergeRecipe.build("swap"), {"encoder": "a", "decoder": "b"}),
    (MergeRecipe.build("direct", {"direct_alpha": 0.0}), {"encoder": "b", "decoder": "b"}),
    (MergeRecipe.build("slerp", {"slerp_t": 0.0}), {"encoder": "a", "decoder": "a"}),
]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("recipe", "parents"), COPIES, ids=[recipe.method for recipe, _ in COPIES])
def test_a_copy_in_another_dtype(
    recipe: MergeRecipe, parents: dict[str, str], dtype: str, plain: bool, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from safetensors.torch import load_file

    if plain:
        monkeypatch.setattr("merger.native.native_arithmetic", lambda: None)
    folders = {key: make_checkpoint(tmp_path / key, "nano", seed) for seed, key in enumerate("ab")}
    report = merge_to_folder(
        recipe, {key: open_checkpoint(folder) for key, folder in folders.items()}, tmp_path / "out", dtype=dtype,
        device="cpu",
    )  # fmt: skip
    assert report.performed == recipe.method
    sources = {key: load_file(folder / "model.safetensors") for key, folder in folders.items()}
    for name, found in load_file(tmp_path / "out" / "model.safetensors").items():
        part = "encoder" if name.startswith("model.encoder.") else "decoder"
        assert torch.equal(found, sources[parents[part]][name].to(DTYPES[dtype])), name
