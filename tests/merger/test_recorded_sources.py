"""The recipe of an export knows its models: their order, their hashes, their names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from merger.commands import main
from tests.conftest import TinyPair
from tests.merger.merging import tree
from tests.merger.shell import Shell, quiet_log, shell

__all__ = ["quiet_log", "shell"]


def stored(out: Path, file: Path, **changes: Any) -> str:
    """Takes a result's recipe.json away, changed; the folder is then free for another result."""
    record = {**json.loads((out / "recipe.json").read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in record.items() if value is not None}))
    shutil.rmtree(out)
    return str(file)


def test_each_model_gets_its_own_weight_in_whatever_order_they_are_given(
    tiny_pair: TinyPair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    zed, c = f"--model=zed={tiny_pair.a}", f"--model=c={tiny_pair.b}"
    assert main(["--method", "linear", f"{zed}:0.9", f"{c}:0.1", "--output-dir", str(out)]) == 0
    before, record = tree(out), json.loads((out / "recipe.json").read_text())
    assert record["order"] == ["zed", "c"] and record["recipe"]["parameters"]["weights"] == [0.9, 0.1]
    for words in ([zed, c], [c, zed]):
        recipe = stored(out, tmp_path / "recipe.json")
        assert main(["--recipe", recipe, *words, "--output-dir", str(out)]) == 0
        assert tree(out) == before
    recipe = stored(out, tmp_path / "recipe.json", order=None)  # as it was written before there was an order
    assert main(["--recipe", recipe, c, zed, "--output-dir", str(out), "--lang", "en"]) == 2
    err = capsys.readouterr().err
    assert "the order of the models (c, zed) is lost" in err and "add --other-sources" in err and not out.exists()
    assert main(["--recipe", recipe, zed, c, "--output-dir", str(out), "--other-sources"]) == 0
    assert tree(out) == before


def test_models_called_a_b_c_need_no_order(shell: Shell, tiny_pair: TinyPair) -> None:
    assert shell("--method", "linear", "--model", f"c={tiny_pair.base}", "--base", str(tiny_pair.base))[0] == 0
    assert "order" not in json.loads((shell.out / "recipe.json").read_text())


def test_exchanged_models_are_noticed(shell: Shell, tiny_pair: TinyPair, tmp_path: Path) -> None:
    assert shell("--method", "direct", "--direct-alpha", "1")[0] == 0
    recipe = stored(shell.out, tmp_path / "recipe.json")
    for lang, words in (("ru", "те же модели, но под другими именами"), ("en", "same models under other names")):
        status, out, err = shell("--recipe", recipe, "--lang", lang, a=tiny_pair.b, b=tiny_pair.a)
        assert status == 2 and out == "" and "BAD_RECIPE" in err and words in err
        assert f": --model-a {tiny_pair.a} --model-b {tiny_pair.b}." in err
    assert not shell.out.exists()
    assert shell("--recipe", recipe, "--other-sources", a=tiny_pair.b, b=tiny_pair.a)[0] == 0
    merged, b = (load_file(folder / "model.safetensors") for folder in (shell.out, tiny_pair.b))
    assert all(merged[name].tobytes() == b[name].tobytes() for name in b)


def test_a_model_that_is_another_lacking_or_too_many_is_named(
    shell: Shell, tiny_pair: TinyPair, tmp_path: Path
) -> None:
    base = ["--base", str(tiny_pair.base)]
    assert shell("--method", "task-arithmetic", *base)[0] == 0
    recipe = stored(shell.out, tmp_path / "recipe.json")
    _, _, err = shell("--recipe", recipe, *base, "--lang", "en", b=tiny_pair.base)
    assert "The model b (“base”) is not the one" in err and "model a" not in err and "same models" not in err
    status, _, err = shell("--recipe", recipe, "--lang", "en")
    assert status == 2 and "The model base (“base”), which this recipe's result was made from, is missing" in err
    status, _, err = shell("--recipe", recipe, *base, "--model", f"c={tiny_pair.a}", "--lang", "en")
    assert status == 2 and "has no model c (“a”)" in err and "--other-sources" in err
    assert not shell.out.exists()


def test_folders_may_be_renamed(shell: Shell, tiny_pair: TinyPair, tmp_path: Path) -> None:
    assert shell("--method", "slerp")[0] == 0
    before = tree(shell.out)
    recipe = stored(shell.out, tmp_path / "recipe.json")
    other = shutil.copytree(tiny_pair.a, tmp_path / "renamed")
    assert shell("--recipe", recipe, a=other)[0] == 0
    assert tree(shell.out) == before


def test_a_record_without_hashes_fits_any_models(shell: Shell, tiny_pair: TinyPair, tmp_path: Path) -> None:
    assert shell("--method", "slerp")[0] == 0
    for sources in (None, {}, {"a": {"name": "x"}, "b": {"name": "y"}}, {"a": "models/x", "b": "models/y"}):
        recipe = stored(shell.out, tmp_path / "recipe.json", sources=sources)
        assert shell("--recipe", recipe, a=tiny_pair.b, b=tiny_pair.a)[0] == 0


@pytest.mark.parametrize(
    "change",
    [{"sources": []}, {"sources": 3}, {"sources": {"a": {"name": "a", "sha256": []}}},
     {"sources": {"a": {"name": "a", "sha256": {"model.safetensors": 5}}, "b": {"name": "b"}}},
     {"sources": {"a": {"sha256": {"model.safetensors": "0"}}}}, {"order": ["a"]}, {"order": 1}, {"order": ["a", 2]},
     {"order": ["a", "b", "b"]}, {"order": ["base", "a"]}],
)  # fmt: skip
def test_a_record_of_its_models_that_is_not_understood(change: dict[str, Any], shell: Shell, tmp_path: Path) -> None:
    assert shell("--method", "slerp")[0] == 0
    recipe = stored(shell.out, tmp_path / "recipe.json", **change)
    status, _, err = shell("--recipe", recipe, "--lang", "en")
    assert status == 2 and "source models is not understood" in err and not shell.out.exists()


@pytest.mark.parametrize("dtype", [[], {}, 3])
def test_a_recorded_dtype_of_another_kind(dtype: Any, shell: Shell, tmp_path: Path) -> None:
    assert shell("--method", "slerp")[0] == 0
    recipe = stored(shell.out, tmp_path / "recipe.json", dtype=dtype)
    status, _, err = shell("--recipe", recipe, "--lang", "en")
    assert status == 2 and "BAD_RECIPE: The record of the result is not understood" in err and not shell.out.exists()


@pytest.mark.parametrize(
    ("change", "ru", "en"),
    [
        ({"name": "x\n# y"}, r'символы: "x\n# y"', r'control characters: "x\n# y"'),
        ({"name": "\u2028"}, r'символы: "\u2028"', r'control characters: "\u2028"'),
        ({"name": "\ud800"}, r'символы: "\ud800"', r'control characters: "\ud800"'),
        ({"name": "\x1b[2J"}, r'символы: "\u001b[2J"', r'control characters: "\u001b[2J"'),
        ({"hub_id": "x/y", "revision": "\ud800"}, r'символы: "\ud800"', r'control characters: "\ud800"'),
        ({"hub_id": "x/y\nlicense: mit"}, "не имя на Hugging Face Hub", "no name on the Hugging Face Hub"),
        ({"hub_id": "x/y\n"}, "не имя на Hugging Face Hub", "no name on the Hugging Face Hub"),
        ({"hub_id": "x"}, "владелец/модель", "owner/model"),
        ({"hub_id": ""}, "владелец/модель", "owner/model"),
        ({"hub_id": "[x/y, z]"}, "владелец/модель", "owner/model"),
    ],
)  # fmt: skip
def test_recorded_names_that_would_break_a_card(
    change: dict[str, str], ru: str, en: str, shell: Shell, tmp_path: Path
) -> None:
    assert shell("--method", "slerp")[0] == 0
    sources = json.loads((shell.out / "recipe.json").read_text())["sources"]
    recipe = stored(shell.out, tmp_path / "recipe.json", sources={**sources, "a": {**sources["a"], **change}})
    for lang, words in (("ru", ru), ("en", en)):
        status, out, err = shell("--recipe", recipe, "--lang", lang)
        assert status == 2 and out == "" and "BAD_RECIPE" in err and words in err and not shell.out.exists()


def test_a_recorded_key_or_donor_that_would_break_a_line(shell: Shell, tmp_path: Path) -> None:
    assert shell("--method", "slerp")[0] == 0
    sources = json.loads((shell.out / "recipe.json").read_text())["sources"]
    recipe = stored(shell.out, tmp_path / "recipe.json", sources={"a\nb": sources["a"], "b": sources["b"]})
    status, _, err = shell("--recipe", recipe, "--lang", "en")
    assert status == 2 and r'control characters: "a\nb"' in err and err.count("\n") == 1
    (tmp_path / "recipe.json").write_text(r'{"recipe": {"method": "slerp"}, "donor": "\ud800"}')
    status, _, err = shell("--recipe", recipe, "--other-sources", "--lang", "en")
    assert status == 2 and r'control characters: "\ud800"' in err and not shell.out.exists()


def test_recorded_names_of_the_hub_and_in_any_script(shell: Shell, tmp_path: Path) -> None:
    assert shell("--method", "slerp")[0] == 0
    sources = json.loads((shell.out / "recipe.json").read_text())["sources"]
    sources["a"] |= {"name": "модель – 1 \u00a0 👩\u200d🔬", "hub_id": "an-owner/whisper_v3.1", "revision": "0" * 40}
    assert shell("--recipe", stored(shell.out, tmp_path / "recipe.json", sources=sources))[0] == 0
    assert json.loads((shell.out / "recipe.json").read_text())["sources"] == sources
    assert "base_model:\n- an-owner/whisper_v3.1\n" in (shell.out / "README.md").read_text()


def test_other_models_have_another_donor_where_the_recorded_one_is_not_among_them(
    tiny_pair: TinyPair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    pair = (tiny_pair.a, tiny_pair.b)
    recorded = [f"--model={key}={folder}" for key, folder in zip("xy", pair, strict=True)]
    assert main(["--method", "slerp", *recorded, "--donor", "y", "--output-dir", str(out)]) == 0
    recipe = stored(out, tmp_path / "recipe.json")
    words = ["--recipe", recipe, "--output-dir", str(out), "--lang", "en"]
    others = ["--model-a", str(tiny_pair.a), "--model-b", str(tiny_pair.b), "--other-sources"]
    warning = "There is no model “y”, the recipe's donor of config and tokenizer: those of “{}” are taken."
    for more, donor in ((others, "a"), ([*others, "--donor", "b"], "b"), ([*recorded, "--other-sources"], "y")):
        capsys.readouterr()
        assert main([*words, *more]) == 0
        assert (warning.format(donor) in capsys.readouterr().out) == (more == others)
        assert json.loads((out / "recipe.json").read_text())["donor"] == donor
