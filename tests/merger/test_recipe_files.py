"""Recipes: stored ones, bad ones, curves, their digest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from merger.commands import main
from merger.curves import parse_curve
from merger.errors import BadParameter, BadRecipe
from merger.layout import place_of
from merger.params import Slider, WeightPair
from merger.recipe import MergeRecipe
from merger.recipe_file import read_recipe_file
from merger.registry import get_method
from tests.conftest import TinyPair
from tests.merger.shell import Shell, quiet_log, shell

__all__ = ["quiet_log", "shell"]


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_stored_recipe(suffix: str, shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / f"recipe.{suffix}"
    text = {
        "json": '{"method": "direct", "parameters": {"direct_alpha": 1.0}}',
        "yaml": "method: direct\nparameters:\n  direct_alpha: 1.0\n",
    }[suffix]
    file.write_text(text)
    assert shell("--recipe", str(file))[0] == 0
    assert (shell.out / "recipe.json").exists()
    merged, a = (load_file(folder / "model.safetensors") for folder in (shell.out, shell.pair.a))
    assert all(merged[name].tobytes() == a[name].tobytes() for name in a)


def test_recipe_of_an_export_makes_the_same_bytes_again(shell: Shell, tmp_path: Path) -> None:
    first = ["--method", "linear", "--model", f"c={shell.pair.base}:0.5", "--part", "encoder.weights=1,0,0/0,0,1"]
    assert shell(*first)[0] == 0
    record = json.loads((shell.out / "recipe.json").read_text())
    assert record["recipe"]["parameters"]["weights"] == [1.0, 1.0, 0.5]
    before = {file.name: file.read_bytes() for file in shell.out.iterdir()}
    stored = tmp_path / "stored.json"
    shutil.copy(shell.out / "recipe.json", stored)
    shutil.rmtree(shell.out)
    assert shell("--recipe", str(stored), "--model", f"c={shell.pair.base}")[0] == 0
    assert {file.name: file.read_bytes() for file in shell.out.iterdir()} == before


def test_recipe_may_name_its_sources(tiny_pair: TinyPair, tmp_path: Path) -> None:
    recipe = {"method": "slerp", "sources": {"a": str(tiny_pair.a), "b": str(tiny_pair.b)}}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    assert main(["--recipe", str(tmp_path / "recipe.json"), "--output-dir", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out/recipe.json").read_text())["performed"] == "slerp"


def test_the_log_is_not_written_onto_the_recipe(shell: Shell, tmp_path: Path) -> None:
    recipe, link, hard = tmp_path / "r.json", tmp_path / "link.json", tmp_path / "hard.json"
    text = '{"method": "direct"}'
    recipe.write_text(text)
    link.symlink_to(recipe)
    hard.hardlink_to(recipe)
    for file in (recipe, link, hard):
        for words in ([f"--recipe={recipe}"], ["--recipe", str(recipe), "--recipe", str(tmp_path / "other.json")]):
            status, out, err = shell(*words, "--log", str(file), "--lang", "en")
            assert status == 2 and f"--log: “{file}” is the file of the recipe" in err and out == ""
    assert recipe.read_text() == text and not shell.out.exists()
    new = str(tmp_path / "new.json")
    assert shell("--recipe", new, "--log", new)[0] == 2 and not Path(new).exists()
    assert shell("--recipe", str(recipe), "--log", str(tmp_path / "log.txt"))[0] == 0


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"parameters": {}}', '{"method": 3}', '{"method": "direct", "parameters": []}',
     '{"method": "direct", "methods": "x"}', '{"method": "direct", "method": "slerp"}',
     '{"method": "direct", "parameters": {"direct_alpha": NaN}}', "\ud800" * 3],
)  # fmt: skip
def test_bad_recipes(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(BadRecipe) as caught:
        read_recipe_file(tmp_path / "r.json")
    assert caught.value.sentence("ru") and caught.value.remedy("en")


@pytest.mark.parametrize(
    ("suffix", "text", "ru", "en"),
    [
        ("yaml", "method: direct\nparameters: [1", "в строке 2, столбце 15", "in line 2, column 15"),
        ("yaml", "method: direct\nmethod: slerp\n", "«method» названо дважды", "“method” is given twice"),
        ("yaml", "method: direct\nparameters: {direct_alpha: 1, direct_alpha: 0}", "«direct_alpha»", "“direct_alpha”"),
        ("yaml", "method: \x07", "не YAML.", "not YAML."),
        ("yaml", "method: 2026-02-30", "не YAML.", "not YAML."),
        ("yaml", "[" * 5000, "не YAML", "not YAML"),
        ("yaml", "method: !!bool x", "не YAML.", "not YAML."),
        ("yaml", 'method: !!int ""', "не YAML.", "not YAML."),
        ("yaml", "method: !!timestamp x", "не YAML.", "not YAML."),
        ("json", '{"method":\n direct}', "в строке 2, столбце 2", "in line 2, column 2"),
        ("json", '{"method": "direct", "method": "slerp"}', "«method» названо дважды", "“method” is given twice"),
        ("json", '{"method": NaN}', "NaN: это не число", "NaN, which is not a number"),
        ("json", '{"method": ' + "9" * 5000 + "}", "не JSON.", "not JSON."),
        ("json", "[" * 100_000, "не JSON", "not JSON"),
    ],
)  # fmt: skip
def test_unreadable_recipes_are_told_in_one_line(suffix: str, text: str, ru: str, en: str, tmp_path: Path) -> None:
    (tmp_path / f"r.{suffix}").write_text(text)
    with pytest.raises(BadRecipe) as caught:
        read_recipe_file(tmp_path / f"r.{suffix}")
    told = {lang: caught.value.sentence(lang) for lang in ("ru", "en")}
    assert ru in told["ru"] and en in told["en"]
    assert "\n" not in told["ru"] + told["en"]


def test_yaml_may_give_again_what_it_merges_in(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "method: ties\nparameters: &all {ties_density: 0.8}\nparts:\n  encoder: {<<: *all, ties_density: 0.9}\n"
    )
    recipe = read_recipe_file(tmp_path / "r.yaml").recipe
    assert recipe == MergeRecipe.build("ties", {"ties_density": 0.8}, parts={"encoder": {"ties_density": 0.9}})


@pytest.mark.parametrize("value", [None, True, "0.5", float("nan"), 10**400, [0.5], {}, -1e-9, 1.0000001])
def test_values_that_are_no_share(value: Any) -> None:
    with pytest.raises(BadParameter) as caught:
        MergeRecipe.build("direct", {"direct_alpha": value})
    assert "(direct_alpha)" in caught.value.sentence("ru")


def test_digest_is_of_the_recipe_and_not_of_its_sources() -> None:
    recipe = MergeRecipe.build("ties", {"ties_density": 0.85})
    assert recipe.digest == MergeRecipe.build("ties", {"ties_density": 0.85}, sources={"a": "x"}).digest
    assert recipe.digest != MergeRecipe.build("ties", {"ties_density": 0.86}).digest
    tuned = MergeRecipe.build("ties", {"ties_density": 0.85}, parts={"encoder": {"ties_density": 1}})
    assert recipe.digest != tuned.digest


def test_curves_are_exact_at_anchors_and_straight_between() -> None:
    recipe = MergeRecipe.build("direct", parts={"encoder": {"direct_alpha": [0.0, 1.0, 0.5]}})
    config = {"encoder_layers": 5, "decoder_layers": 5}

    def at(name: str) -> float:
        alpha: float = recipe.parameters_at(place_of(name, (4,), config))["direct_alpha"]
        return alpha

    found = [at(f"model.encoder.layers.{block}.fc1.bias") for block in range(5)]
    assert found == [0.0, 0.5, 1.0, 0.75, 0.5]
    assert at("model.encoder.conv1.bias") == 0.0 and at("model.encoder.layer_norm.bias") == 0.5
    assert at("model.encoder.embed_positions.weight") == 0.0  # embeddings inherit from the stack they lie in
    assert at("model.decoder.layers.0.fc1.bias") == 0.5  # the default of direct


def test_curves_on_the_command_line() -> None:
    alpha, pair = get_method("direct").parameters[0], get_method("ties").parameters[1]
    assert isinstance(alpha.control, Slider) and isinstance(pair.control, WeightPair)
    assert parse_curve(alpha, "0.25") == 0.25
    assert parse_curve(alpha, "0,0.5,1") == [0.0, 0.5, 1.0]
    assert parse_curve(pair, "0.6,0.4") == [0.6, 0.4]
    assert parse_curve(pair, "0.6,0.4/0.5,0.5") == [[0.6, 0.4], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("method", "part", "ru", "en"),
    [
        ("linear", {"weights": [[1, 0], [1, 0, 0]]}, "в каждом — поровну чисел", "as many numbers as the others"),
        ("direct", {"direct_alpha": []}, "их может быть от 1 до 64", "1 to 64 of them"),
        ("swap", {"decoder_from": "b"}, "один на всю модель", "one value of it for the whole model"),
        ("dare-ties", {"seed": 3}, "один на всю модель", "one value of it for the whole model"),
        ("ties-merging", {"scope": "model"}, "один на всю модель", "one value of it for the whole model"),
        ("ties", {"encoder_weights": [1, 0]}, "действует на: encoder", "acts on: encoder"),
    ],
)
def test_parts_that_do_not_fit_are_told_in_words(method: str, part: dict[str, Any], ru: str, en: str) -> None:
    with pytest.raises(BadParameter) as caught:
        MergeRecipe.build(method, parts={"decoder": part})
    told = {lang: f"{caught.value.sentence(lang)} {caught.value.remedy(lang)}" for lang in ("ru", "en")}
    assert ru in told["ru"] and en in told["en"]
    assert ": —" not in told["ru"] + told["en"] and "(—)" not in told["ru"] + told["en"]
