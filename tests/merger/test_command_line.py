"""The command line: exit status, messages in both languages, JSON, parts and curves, stored recipes, more sources."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from merger.arguments import read_request
from merger.commands import main
from merger.flags import parse_arguments
from tests.conftest import TinyPair
from tests.factories import make_whisper_folder
from tests.merger.merging import tree
from tests.merger.shell import Shell, quiet_log, shell

__all__ = ["quiet_log", "shell"]


def test_json_summary(shell: Shell) -> None:
    status, out, _ = shell("--method", "ties", "--json", "--lang", "en")
    [result] = json.loads(out)["results"]
    assert status == 0
    assert (result["requested"], result["performed"]) == ("ties", "ties")
    assert result["folder"] == str(shell.out)
    assert result["bytes"] > 100_000 and result["tensors"] == 89
    status, out, err = shell("--method", "ties", "--ties-density", "7", "--json", "--lang", "en")
    error = json.loads(out)["error"]
    assert status == 2
    assert error["code"] == "BAD_PARAMETER" and error["sentence"] in err


@pytest.mark.parametrize(
    ("words", "ru", "en"),
    [
        (["--method", "magic"], "Нет метода «magic»", "There is no method “magic”"),
        (["--method", "direct", "--direct-alpha", "x"], "не число", "not a number"),
        (["--method", "direct", "--direct-alpha", "nan"], "не число", "not a number"),
        (["--method", "direct", "--direct-alpha", "-0.1"], "от 0 до 1", "from 0 to 1"),
        (["--method", "ties", "--encoder-weights", "0.5"], "два числа", "two numbers"),
        (["--method", "ties", "--encoder-weights", "1.2,-0.2"], "два числа", "two numbers"),
        (["--method", "direct", "--slerp-t", "0.5"], "не относится к методу direct", "does not belong to direct"),
        (["--method", "direct", "--part", "ears.direct_alpha=1"], "непонятно", "unclear"),
        (["--method", "ties", "--part", "decoder.encoder_weights=1,0"], "не действует", "no effect"),
        (["--method", "task-arithmetic"], "нужна базовая модель", "needs the base model"),
        (["--method", "direct", "--donor", "z"], "нет модели «z»", "no model “z”"),
        (["--method", "direct", "--dtype", "F8"], "нет точности", "no precision"),
        (["--method", "direct", "--direct-alpha"], "нет значения", "lacks its value"),
        (["--frobnicate"], "Незнакомый ключ", "Unknown argument"),
        (["--recipe", "r.json", "--method", "direct"], "нельзя", "Not together"),
        (["--model", "c"], "непонятно", "unclear"),
        (["--method", "sce", "--model", "c=C:0.3"], "Вес в --model не относится к методу sce", "not belong to sce"),
        (["--method", "direct", "--model", "c=C:.3"], "ключи метода — --direct-alpha", "flags are --direct-alpha"),
        (["--model", "c=C:1"], "Вес в --model не относится к методу all", "does not belong to all"),
        (["--method", "linear", "--model", "c=C:0.5", "--weights", "1,2,3"], "указаны дважды", "given twice"),
        (["--recipe", "r.json", "--model", "c=C:7"], "веса — в рецепте", "recipe holds the weights"),
        (["--method", "linear", "--model", "c=C:-1"], "числа от 0", "numbers from 0"),
        (["--method", "linear", "--model", "c=C:0.5.1"], "«0.5.1» — не число", "“0.5.1” is no number"),
        (["--method", "linear", "--model", "c=C:half"], "«half» — не число", "“half” is no number"),
        (["--method", "linear", "--model", "c=C:nan"], "«nan» — не число", "“nan” is no number"),
        (["--method", "linear", "--model", "c=C:"], "«» — не число", "“” is no number"),
        (["--other-sources"], "без --recipe", "without --recipe"),
        (["--method", "direct", "--direct-alpha=0.1", "--direct-alpha=0.2"], "несколько раз", "several times"),
    ],
)
def test_bad_arguments(words: list[str], ru: str, en: str, shell: Shell) -> None:
    for lang, expected in (("ru", ru), ("en", en)):
        status, out, err = shell(*words, "--lang", lang)
        assert status == 2
        assert expected in err and out == ""
    assert not shell.out.exists()


def test_everything_wrong_is_said_at_once(shell: Shell) -> None:
    words = ["--method", "ties", "--ties-density", "2", "--encoder-weights", "1,1", "--slerp-t", "0", "--nonsense"]
    _, _, err = shell(*words, "--lang", "en")
    for flag in ("--ties-density", "--encoder-weights", "--slerp-t", "--nonsense"):
        assert flag in err


def test_bad_models_have_their_codes(shell: Shell, tiny_pair: TinyPair, tmp_path: Path) -> None:
    truncated, pickled = tmp_path / "truncated", tmp_path / "pickled"
    shutil.copytree(tiny_pair.b, truncated)
    weights = truncated / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    shutil.copytree(tiny_pair.b, pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    unlike = make_whisper_folder(tmp_path / "unlike", 1, d_model=32)
    before = sorted(tmp_path.iterdir())
    for folder, code in (
        (truncated, "INCOMPLETE_FILE"),
        (pickled, "UNSAFE_FORMAT"),
        (unlike, "INCOMPATIBLE_MODELS"),
        (tmp_path / "nowhere", "MISSING_FILE"),
    ):
        status, out, err = shell("--lang", "ru", b=folder)
        assert status == 1
        assert code in err and out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_output_that_is_an_input(shell: Shell, tiny_pair: TinyPair, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--method", "direct", "--model-a", str(tiny_pair.a), "--model-b", str(tiny_pair.b),
                   "--output-dir", str(tiny_pair.b), "--lang", "en"])  # fmt: skip
    assert status == 1
    assert "OUTPUT_IS_INPUT" in capsys.readouterr().err


def test_parts_and_curves(shell: Shell, tiny_pair: TinyPair) -> None:
    status, out, _ = shell(
        "--method", "ties", "--part", "encoder.encoder_weights=1,0/0,1", "--part", "cross_attention.ties_density=0",
        "--ties-density", "1", "--part", "embeddings.decoder_weights=1,0", "--lang", "ru",
    )  # fmt: skip
    assert status == 0
    assert "слышит (кодировщик): слышит (кодировщик) 100\u00a0%\u00a0a → 100\u00a0%\u00a0b" in out
    merged, a, b = (load_file(f / "model.safetensors") for f in (shell.out, tiny_pair.a, tiny_pair.b))
    same = np.testing.assert_array_equal
    same(merged["model.encoder.layers.0.fc1.weight"], a["model.encoder.layers.0.fc1.weight"])
    same(merged["model.encoder.layers.1.fc1.weight"], b["model.encoder.layers.1.fc1.weight"])
    same(merged["model.decoder.embed_tokens.weight"], a["model.decoder.embed_tokens.weight"])
    cross = "model.decoder.layers.0.encoder_attn.q_proj.weight"
    wide = [model[cross].astype(np.float32) for model in (a, b)]
    same(merged[cross], (np.float32(0.5) * wide[0] + np.float32(0.5) * wide[1]).astype(np.float16))
    own = "model.decoder.layers.0.fc1.weight"
    wide = [model[own].astype(np.float32) for model in (a, b)]
    same(merged[own], (np.float32(0.4) * wide[0] + np.float32(0.6) * wide[1]).astype(np.float16))


def test_model_with_a_colon_in_its_path() -> None:
    places = ["--model-a=A", "--model-b=B", "--output-dir=O"]
    given, faults = parse_arguments(["--method=linear", *places, "--model", "c=C:/models/x", "--model", "d=y:0.25"])
    request = read_request(given, faults)
    assert request.sources == {"a": "A", "b": "B", "c": "C:/models/x", "d": "y"}
    assert request.recipes[""].parameters["weights"] == (1.0, 1.0, 1.0, 0.25)


@pytest.mark.parametrize(
    ("text", "weight"), [(".5", 0.5), ("1e-3", 0.001), ("0,5", 0.5), ("+2", 2.0), ("2.", 2.0), ("0", 0.0)]
)
def test_weights_in_every_usual_spelling(text: str, weight: float) -> None:
    given, faults = parse_arguments(
        ["--method=linear", "--model-a=A", "--model-b=B", "--output-dir=O", f"--model=c=d:1/x:{text}"]
    )
    request = read_request(given, faults)
    assert request.sources["c"] == "d:1/x"
    assert request.recipes[""].parameters["weights"] == (1.0, 1.0, weight)


def test_folders_with_a_colon_at_their_end(tmp_path: Path) -> None:
    words = ["--method=linear", "--model-a=A", "--model-b=B", "--output-dir=O"]
    (tmp_path / "x:best").mkdir()
    given, faults = parse_arguments([*words, f"--model=c={tmp_path}/x:best", f"--model=d={tmp_path}/x:2/"])
    request = read_request(given, faults)
    assert request.sources["c"] == f"{tmp_path}/x:best" and request.sources["d"] == f"{tmp_path}/x:2/"
    assert request.recipes[""].parameters["weights"] is None


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "new.json"])
def test_nothing_is_written_into_a_model(
    name: str, folder: Path, shell: Shell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(folder)
    link = tmp_path / "link.json"
    link.symlink_to(folder / name)
    for file in (folder / name, link):
        assert main(["explain", str(folder), str(shell.pair.b), "--save", str(file), "--lang", "en"]) == 2
        shown = capsys.readouterr()
        assert f"--save: “{file}” lies in the folder of a model" in shown.err and shown.out == ""
        status, out, err = shell("--method", "direct", "--log", str(file), "--lang", "en", a=folder)
        assert status == 2 and f"--log: “{file}” lies in the folder of a model" in err and out == ""
    assert tree(folder) == before and not shell.out.exists()


def test_nothing_is_written_into_the_cache_of_the_hub(
    tmp_path: Path, shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its folders hold links; the weights lie in another folder, without a suffix."""
    (tmp_path / "snapshots/1").mkdir(parents=True)
    (tmp_path / "blobs").mkdir()
    blob = tmp_path / "blobs" / ("0" * 64)
    blob.write_bytes(b"weights")
    for file in ("model.safetensors", "config.json"):
        (tmp_path / "snapshots/1" / file).symlink_to(blob)
    for place in (blob, tmp_path / "snapshots/1/config.json"):
        assert shell("--method", "direct", "--log", str(place))[0] == 2
    assert blob.read_bytes() == b"weights"


def test_log_file_has_the_recipe_and_no_secret(shell: Shell, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    assert shell("--method", "direct", "--log", str(log))[0] == 0
    text = log.read_text()
    assert '"performed": "direct"' in text and "arguments" in text


@pytest.mark.parametrize("value", ["-0.2,1.2", "-.5,1.5", "-1"])
def test_a_negative_weight_is_named_as_such(shell: Shell, value: str) -> None:
    """It begins like a flag, and is a value all the same."""
    status, _, err = shell("--method", "ties", "--encoder-weights", value, "--lang", "en")
    assert status == 2 and "--encoder-weights" in err
    assert "lacks its value" not in err and "BAD_PARAMETER" in err


def test_every_model_is_called_by_its_name(shell: Shell, tiny_pair: TinyPair) -> None:
    third = shutil.copytree(tiny_pair.b, tiny_pair.b.parent / "dachnaya")
    status, out, _ = shell("--method", "linear", "--model", f"c={third}:2", "--lang", "en")
    assert status == 0 and "dachnaya" in out


def test_what_is_no_result_cannot_be_verified(tiny_pair: TinyPair, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, words in ((tiny_pair.a.parent / "nowhere", "Проверьте путь."), (tiny_pair.a, "сделала эта программа")):
        assert main(["verify", str(folder), "--lang", "ru"]) == 1
        err = capsys.readouterr().err
        assert "MISSING_FILE" in err and words in err and folder.name in err and "config.json" not in err
