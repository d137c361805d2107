"""On a GPU: the same results as on the CPU within one unit in the last place of the output dtype.

The elementwise formulas are IEEE operations on both and give the same bits; a sum over a tensor (SLERP's angle, the
energies of SCE) is added up in another order, which can move a coefficient by the last bit of float64. Such a
coefficient rounds to the same float32 almost always, and where it does not the result moves by at most one unit.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.checkpoints import make_checkpoint
from merger.checkpoint import open_checkpoint
from merger.disk import merge_to_folder
from merger.errors import DeviceUnavailable
from merger.recipe import MergeRecipe
from merger.registry import methods

torch = pytest.importorskip("torch")
SOURCES = {"two": ("a", "b"), "many": ("a", "b", "c")}
# Beyond the defaults: angles of rows, one threshold for the whole model, values that differ between parts and layers.
BEYOND_DEFAULTS: dict[str, dict[str, Any]] = {
    "nuslerp by rows": {"method": "nuslerp", "parameters": {"scope": "row", "weights": [1.0, 3.0]}},
    "ties-merging over the model": {"method": "ties-merging", "parameters": {"scope": "model", "density": 0.3}},
    "slerp with parts": {
        "method": "slerp",
        "parts": {"encoder": {"slerp_t": [0.1, 0.9]}, "cross_attention": {"slerp_t": 0.3}},
    },
    "della with parts": {
        "method": "della",
        "parameters": {"seed": 3},
        "parts": {"decoder": {"density": [0.3, 0.7], "weights": [[1, 0, 1], [0.2, 0.5, 0.3]]}},
    },
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Base, A, B and C, fp16, without a processor, of a small shape."""
    return make_checkpoints(tmp_path_factory.mktemp("gpu"), "nano")


def make_checkpoints(root: Path, shape: str) -> dict[str, Path]:
    seeds = {"base": 0, "a": 1, "b": 2, "c": 3}
    return {name: make_checkpoint(root / name, shape, seed) for name, seed in seeds.items()}


def merged(recipe: MergeRecipe, checkpoints: dict[str, Path], out: Path, device: str, dtype: str) -> dict[str, Any]:
    keys = SOURCES[recipe.spec.sources]
    sources = {key: open_checkpoint(checkpoints[key]) for key in (*keys, "base")}
    report = merge_to_folder(recipe, sources, out, device=device, dtype=dtype)
    assert report.performed == recipe.method
    assert report.device.startswith(device.partition(":")[0])
    from safetensors.torch import load_file

    tensors = load_file(out / "model.safetensors")
    shutil.rmtree(out)
    return tensors


def units_apart(one: Any, other: Any) -> Any:
    """How many representable numbers lie between two tensors of the same dtype, elementwise."""
    whole = torch.int32 if one.dtype == torch.float32 else torch.int16
    patterns = [each.contiguous().view(whole).to(torch.int64) for each in (one, other)]
    top = -(1 << (31 if whole == torch.int32 else 15))
    ordered = [torch.where(each < 0, top - each, each) for each in patterns]
    return (ordered[0] - ordered[1]).abs()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
@pytest.mark.parametrize("method", methods())
@pytest.mark.usefixtures("cuda")
def test_gpu_and_cpu_agree_within_one_unit(
    method: str, dtype: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    agree_within_one_unit(MergeRecipe.build(method), dtype, checkpoints, tmp_path)


@pytest.mark.gpu
@pytest.mark.parametrize("case", BEYOND_DEFAULTS)
@pytest.mark.usefixtures("cuda")
def test_beyond_the_defaults_too(case: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    agree_within_one_unit(MergeRecipe.from_json(BEYOND_DEFAULTS[case]), "F16", checkpoints, tmp_path)


def agree_within_one_unit(recipe: MergeRecipe, dtype: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    on_cpu = merged(recipe, checkpoints, tmp_path / "cpu", "cpu", dtype)
    on_gpu = merged(recipe, checkpoints, tmp_path / "gpu", "cuda:0", dtype)
    assert on_cpu.keys() == on_gpu.keys()
    worst = max(int(units_apart(on_cpu[name], on_gpu[name]).max()) for name in on_cpu)
    different = sum(int((units_apart(on_cpu[name], on_gpu[name]) > 0).sum()) for name in on_cpu)
    print(f"{recipe.method} {dtype}: at most {worst} units apart, {different} elements differ")
    assert worst <= 1


@pytest.mark.gpu
@pytest.mark.parametrize("method", ["direct", "slerp", "ties", "ties-merging"])
@pytest.mark.usefixtures("cuda")
def test_the_shape_of_whisper_tiny_too(method: str, tmp_path: Path) -> None:
    agree_within_one_unit(MergeRecipe.build(method), "F16", make_checkpoints(tmp_path, "tiny"), tmp_path)


@pytest.fixture
def cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda")
def test_auto_takes_the_gpu_and_out_of_memory_hands_over_to_the_cpu(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = {key: open_checkpoint(checkpoints[key]) for key in ("a", "b")}
    report = merge_to_folder(MergeRecipe.build("slerp"), sources, tmp_path / "out")
    assert report.device.startswith("cuda")

    def full(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("full")

    monkeypatch.setattr("merger.arithmetic.TorchArithmetic.load", full)
    report = merge_to_folder(MergeRecipe.build("slerp"), sources, tmp_path / "out", device="cuda")
    assert (report.performed, report.device) == ("slerp", "cpu")
    assert any("ran out of memory" in warning.en for warning in report.warnings)


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "cuda:", "cuda:-1", "cpu:0"])
def test_devices_that_are_not_there_are_refused(device: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    sources = {key: open_checkpoint(checkpoints[key]) for key in ("a", "b")}
    with pytest.raises(DeviceUnavailable):
        merge_to_folder(MergeRecipe.build("direct"), sources, tmp_path / "out", device=device)
    assert not (tmp_path / "out").exists()


ON_TORCH: dict[str, dict[str, Any]] = {
    **{name: {"method": name} for name in ("direct", "slerp", "ties", "ties-merging", "nuslerp", "della", "sce")},
    **BEYOND_DEFAULTS,
}


@pytest.mark.parametrize("case", ON_TORCH)
def test_torch_on_the_cpu_agrees_within_one_unit(case: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """The arithmetic of a GPU, run by torch on the CPU: what can be tested of it everywhere."""
    from merger.arithmetic import TorchArithmetic

    recipe = MergeRecipe.from_json(ON_TORCH[case])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("merger.disk.choose_arithmetic", lambda _: TorchArithmetic("cpu"))
        on_torch = merged(recipe, checkpoints, tmp_path / "torch", "cpu", "F16")
    plain = merged(recipe, checkpoints, tmp_path / "plain", "cpu", "F16")
    assert max(int(units_apart(plain[name], on_torch[name]).max()) for name in plain) <= 1
    shares = [float((units_apart(plain[name], on_torch[name]) > 0).float().mean()) for name in plain]
    assert np.mean(shares) < 1e-4
