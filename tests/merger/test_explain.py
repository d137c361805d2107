"""What `explain` says about two models, against figures computed directly."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from merger.bilingual import number, percent
from merger.checkpoint import open_checkpoint
from merger.commands import main
from merger.errors import Cancelled, NonfiniteWeights
from merger.explain import explain
from merger.explain_table import explanation_table
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


def test_a_block_as_a_whole(found: dict, tiny_pair: TinyPair) -> None:
    a, b, base = (wide(folder) for folder in (tiny_pair.a, tiny_pair.b, tiny_pair.base))
    names = [name for name in a if name.startswith("model.decoder.layers.1.")]
    x, y, s = (np.concatenate([model[name] for name in names]) for model in (a, b, base))
    rows = found["heat_maps"]["decoder"]["rows"]
    assert len(rows) == 2
    assert rows[1]["elements"] == x.size
    assert rows[1]["distance"] == pytest.approx(np.linalg.norm(x - y) / np.linalg.norm(x), rel=1e-9)
    assert rows[1]["cosine"] == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-12)
    assert rows[1]["sign_conflicts"] == pytest.approx(((x - s) * (y - s) < 0).mean())


@pytest.mark.parametrize(
    ("lang", "heads"),
    [
        ("ru", ["блок", "расстояние", "косинус", "угол, рад", "спорят знаки"]),
        ("en", ["block", "distance", "cosine", "angle, rad", "sign conflicts"]),
    ],
)
def test_table_has_every_figure_of_components_and_blocks(lang: str, heads: list[str], tiny_pair: TinyPair) -> None:
    models = [open_checkpoint(folder) for folder in (tiny_pair.a, tiny_pair.b, tiny_pair.base)]
    explained = explain(*models)
    lines = explanation_table(explained, lang).splitlines()
    data = explained.to_json(lang)

    def figures(told: dict) -> list[str]:
        shares = {key: percent(round(told[key], 5), lang) for key in ("distance", "sign_conflicts")}
        plain = {key: number(round(told[key], 5), lang) for key in ("cosine", "angle")}
        return [shares["distance"], plain["cosine"], plain["angle"], shares["sign_conflicts"]]

    def cells(line: str) -> list[str]:
        return re.split("  +", line.strip())

    assert cells(lines[2]) == heads[1:]
    assert cells(lines[3])[1:] == figures(data["components"]["encoder"])
    assert [cells(line)[:5] for line in lines if line.strip().startswith(heads[0])] == [heads, heads]
    blocks = [cells(line)[:5] for line in lines if re.match(r" +\d+ ", line)]
    assert blocks == [
        [str(block), *figures(row)]
        for stack in ("encoder", "decoder")
        for block, row in enumerate(data["heat_maps"][stack]["rows"])
    ]


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


def test_saving_onto_a_folder_is_refused(
    tiny_pair: TinyPair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(tiny_pair.a), str(tiny_pair.b), "--save", str(tmp_path), "--lang", "en"]) == 1
    assert "OUTPUT_NOT_WRITABLE" in (told := capsys.readouterr().err) and "it is a folder" in told


@pytest.mark.parametrize("role", ["a", "b", "base"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused_by_name(
    role: str, value: float, tiny_pair: TinyPair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"a": tiny_pair.a, "b": tiny_pair.b, "base": tiny_pair.base}
    shutil.copytree(places[role], tmp_path / "spoilt")
    places[role] = tmp_path / "spoilt"
    tensors = load_file(places[role] / "model.safetensors")
    tensors["model.encoder.layers.1.fc1.weight"].reshape(-1)[7] = value
    save_file(tensors, places[role] / "model.safetensors")
    with pytest.raises(NonfiniteWeights) as caught:
        explain(*(open_checkpoint(folder) for folder in places.values()))
    assert caught.value.facts == {"file": "spoilt", "tensors": ["model.encoder.layers.1.fc1.weight"]}
    words = ["explain", str(places["a"]), str(places["b"]), "--base", str(places["base"])]
    for more in ([], ["--json"]):
        assert main([*words, *more]) == 1
        assert "NONFINITE_WEIGHTS" in capsys.readouterr().err
