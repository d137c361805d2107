"""What `explain` says about two models, against figures computed directly."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from merger.checkpoint import open_checkpoint
from merger.commands import main
from merger.errors import Cancelled
from merger.explain import explain
from tests.conftest import TinyPair


@pytest.fixture(scope="module")
def found(tiny_pair: TinyPair) -> dict:
    models = [open_checkpoint(folder) for folder in (tiny_pair.a, tiny_pair.b, tiny_pair.base)]
    return explain(*models).to_json("en")


def wide(folder: Path) -> dict[str, np.ndarray]:
    return {name: tensor.astype(np.float64).ravel() for name, tensor in load_file(folder / "model.safetensors").items()}


def test_every_tensor_by_definition(found: dict, tiny_pair: TinyPair) -> None:
    a, b, base = (wide(folder) for folder in (tiny_pair.a, tiny_pair.b, tiny_pair.base))
    assert [entry["name"] for entry in found["tensors"]] == list(open_checkpoint(tiny_pair.a).tensors)
    for entry in found["tensors"]:
        x, y, s = (model[entry["name"]] for model in (a, b, base))
        norm = np.linalg.norm
        if norm(x) == 0:
            assert entry["distance"] is None
            continue
        assert entry["distance"] == pytest.approx(norm(x - y) / norm(x), rel=1e-9)
        assert entry["cosine"] == pytest.approx(x @ y / norm(x) / norm(y), abs=1e-12)
        assert math.cos(entry["angle"]) == pytest.approx(entry["cosine"], abs=1e-12)
        p, q = x - s, y - s
        assert entry["sign_conflicts"] == pytest.approx((p * q < 0).mean())
        if norm(p) and norm(q):
            assert entry["delta_cosine"] == pytest.approx(p @ q / norm(p) / norm(q), abs=1e-9)


def test_components_and_heat_maps_cover_the_model(found: dict, tiny_pair: TinyPair) -> None:
    assert set(found["components"]) == {"encoder", "decoder", "cross_attention", "embeddings"}
    assert sum(each["elements"] for each in found["components"].values()) == found["whole"]["elements"]
    assert found["whole"]["elements"] == open_checkpoint(tiny_pair.a).parameters
    decoder = found["heat_maps"]["decoder"]
    assert decoder["blocks"] == [0, 1]
    assert decoder["parts"] == ["self_attention", "cross_attention", "mlp", "norms"]
    assert found["heat_maps"]["encoder"]["parts"] == ["self_attention", "mlp", "norms"]
    a, b = wide(tiny_pair.a), wide(tiny_pair.b)
    names = [name for name in a if name.startswith("model.decoder.layers.1.fc")]
    ours, theirs = (np.concatenate([model[name] for name in names]) for model in (a, b))
    far = np.linalg.norm(ours - theirs) / np.linalg.norm(ours)
    assert decoder["cells"][1][2]["distance"] == pytest.approx(far, rel=1e-9)


def test_equal_models_have_no_distance(tiny_pair: TinyPair, tmp_path: Path) -> None:
    a = open_checkpoint(tiny_pair.a)
    whole = explain(a, a).to_json()["whole"]
    assert (whole["distance"], whole["angle"]) == (0.0, 0.0)
    zeroed = tmp_path / "zeroed"
    shutil.copytree(tiny_pair.a, zeroed)
    tensors = load_file(tiny_pair.a / "model.safetensors")
    save_file({name: np.zeros_like(tensor) for name, tensor in tensors.items()}, zeroed / "model.safetensors")
    whole = explain(open_checkpoint(zeroed), a).to_json()["whole"]
    assert (whole["distance"], whole["angle"]) == (None, None)


def test_cancelling_stops(tiny_pair: TinyPair) -> None:
    with pytest.raises(Cancelled):
        explain(open_checkpoint(tiny_pair.a), open_checkpoint(tiny_pair.b), cancelled=lambda: True)


def test_on_the_command_line(
    tiny_pair: TinyPair, tmp_path: Path, capsys: pytest.CaptureFixture[str], found: dict
) -> None:
    places = [str(tiny_pair.a), str(tiny_pair.b), "--base", str(tiny_pair.base)]
    assert main(["explain", *places, "--lang", "ru"]) == 0
    shown = capsys.readouterr().out
    assert "Слышит (кодировщик)" in shown and "спорят знаки" in shown
    assert main(["explain", *places, "--json", "--lang=en", "--save", str(tmp_path / "found.json")]) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert json.loads((tmp_path / "found.json").read_text()) == found
