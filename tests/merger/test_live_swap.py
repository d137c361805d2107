"""A and B exchanged where they lie: the same bits as a pair that is loaded the other way round."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from merger.checkpoint import open_checkpoint
from merger.live import LiveMerge
from merger.live import live_merge as module
from merger.recipe import MergeRecipe
from merger.registry import methods
from tests.conftest import TinyPair


@pytest.mark.parametrize("resident", [True, False])
def test_every_method_gives_the_bits_of_a_pair_loaded_the_other_way_round(
    tiny_pair: TinyPair, resident: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, base = (open_checkpoint(folder) for folder in (tiny_pair.a, tiny_pair.b, tiny_pair.base))
    swapped = LiveMerge(a, b, base, device="cpu", resident=resident)
    swapped.apply(MergeRecipe.build("ties"))
    fresh = LiveMerge(b, a, base, device="cpu", resident=resident)
    monkeypatch.setattr(module, "load_flat", None)  # nothing is read from now on
    generation = swapped.generation
    assert swapped.swap() and swapped.generation > generation
    assert swapped.checkpoints == {"a": b, "b": a, "base": base}
    for name in methods():
        recipe = MergeRecipe.build(name)
        for live in (swapped, fresh):
            live.apply(recipe)
        for side in ("merged", "a", "b"):
            with swapped.lend(side) as mine, fresh.lend(side) as theirs:  # type: ignore[arg-type]
                other = theirs.state_dict()
                for key, tensor in mine.state_dict().items():
                    assert torch.equal(tensor, other[key]), (name, side, key)


def test_models_of_different_dtypes_are_loaded_again(tiny_pair: TinyPair, tmp_path: Path) -> None:
    import shutil

    wide = tmp_path / "wide"
    shutil.copytree(tiny_pair.b, wide)
    tensors = {name: tensor.float() for name, tensor in load_file(wide / "model.safetensors").items()}
    save_file(tensors, wide / "model.safetensors", metadata={"format": "pt"})
    live = LiveMerge(open_checkpoint(tiny_pair.a), open_checkpoint(wide), device="cpu")
    before = live.checkpoints
    assert not live.swap() and live.checkpoints is before
