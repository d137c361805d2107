"""The command line: exit status, messages in both languages, JSON, parts and curves, stored recipes, more sources."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from merger.__main__ import main
from merger.arguments import parse_arguments, read_request
from merger.bilingual import byte_size, number, percent, preferred_language
from merger.console import ProgressBar
from merger.curves import parse_curve
from merger.disk import Progress
from merger.errors import BadParameter, BadRecipe, Fault, IncompatibleModels, WhisperMergeError
from merger.layout import place_of
from merger.params import Slider, WeightPair
from merger.recipe import MergeRecipe, read_recipe_file
from merger.registry import get_method
from tests.conftest import TinyPair
from tests.factories import make_whisper_folder


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    """The program sets up its log once per process; tests run it many times."""
    handlers = list(logging.getLogger("merger").handlers)
    yield
    logging.getLogger("merger").handlers[:] = handlers


class Shell:
    """Runs the program in this process."""

    def __init__(self, pair: TinyPair, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.pair, self.out, self._capsys = pair, out, capsys

    def __call__(self, *words: str, a: Path | None = None, b: Path | None = None) -> tuple[int, str, str]:
        places = ["--model-a", str(a or self.pair.a), "--model-b", str(b or self.pair.b), "--output-dir", str(self.out)]
        status = main([*places, *words])
        shown = self._capsys.readouterr()
        assert "Traceback" not in shown.out + shown.err
        return status, shown.out, shown.err


@pytest.fixture
def shell(tiny_pair: TinyPair, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tiny_pair, tmp_path / "out", capsys)


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
        (["--method", "magic"], "нет метода «magic»", "there is no method “magic”"),
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


@pytest.mark.parametrize("value", [None, True, "0.5", float("nan"), 10**400, [0.5], {}, -1e-9, 1.0000001])
def test_values_that_are_no_share(value: Any) -> None:
    with pytest.raises(BadParameter) as caught:
        MergeRecipe.build("direct", {"direct_alpha": value})
    assert "--direct-alpha" in caught.value.sentence("ru")


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


def test_model_with_a_colon_in_its_path() -> None:
    places = ["--model-a=A", "--model-b=B", "--output-dir=O"]
    given, faults = parse_arguments(["--method=linear", *places, "--model", "c=C:/models/x", "--model", "d=y:0.25"])
    request = read_request(given, faults)
    assert request.sources == {"a": "A", "b": "B", "c": "C:/models/x", "d": "y"}
    assert request.recipes[""].parameters["weights"] == (1.0, 1.0, 1.0, 0.25)


def test_sentences_in_plain_words() -> None:
    space = "\u00a0"
    seventy = MergeRecipe.build("direct", {"direct_alpha": 0.7}).sentence("ru")
    assert seventy == f"70{space}%{space}A + 30{space}%{space}B"
    assert MergeRecipe.build("direct", {"direct_alpha": 1}).sentence("en", "Rus", "Pod") == f"100%{space}Rus"
    given = {"ties_density": 0.85, "decoder_weights": [0.5, 0.5]}
    assert MergeRecipe.build("ties", given).sentence("ru").replace(space, " ") == (
        "TIES: кодировщик 60 % A + 40 % B, декодер 50 % A + 50 % B, плотность 0,85"
    )


def test_a_method_without_a_base_does_not_name_one() -> None:
    def words(method: str) -> str:
        return MergeRecipe.build(method).sentence("en", "A", "B", base_name="Base")

    assert "Base" not in words("linear")
    assert "from the base Base" in words("task-arithmetic")


def test_numbers_read_naturally() -> None:
    assert (number(0.85, "ru"), number(2.0, "en")) == ("0,85", "2")
    assert (percent(0.3, "ru"), percent(1 / 3, "en")) == ("30\u00a0%", "33.3333%")
    assert (byte_size(999, "en"), byte_size(3_090_000_000, "ru")) == ("999\u00a0B", "3,1\u00a0ГБ")
    assert byte_size(999_960, "en") == "1.0\u00a0MB"


@pytest.mark.parametrize(
    ("environment", "lang"),
    [
        ({}, "ru"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "C.UTF-8"}, "ru"),
        ({"LC_ALL": "ru_RU.UTF-8", "LANG": "en_US.UTF-8"}, "ru"),
        ({"LC_ALL": "", "LC_MESSAGES": "en_GB", "LANG": "ru_RU"}, "en"),
        ({"WHISPER_MERGE_LANG": "en", "LC_ALL": "ru_RU.UTF-8"}, "en"),
    ],
)
def test_language_of_the_locale(environment: dict[str, str], lang: str) -> None:
    assert preferred_language(environment) == lang


def test_progress_bar_shows_rate_and_remaining_time() -> None:
    line = ProgressBar("ru").line(Progress("merging", 1_000_000_000, 4_000_000_000), 2.0)
    shown = "слияние  25% [#####···············] 1,0 ГБ из 4,0 ГБ, 500,0 МБ/с, осталось 6 с"
    assert line.replace("\u00a0", " ") == shown
    english = ProgressBar("en").line(Progress("merging", 4_000_000_000, 4_000_000_000), 2.0)
    assert english.endswith("2.0\u00a0GB/s, 0 s left")


def error_classes(root: type[WhisperMergeError]) -> Iterator[type[WhisperMergeError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from error_classes(kind)


OWN_ERRORS = [each for each in error_classes(WhisperMergeError) if each.__module__ == "merger.errors"]


@pytest.mark.parametrize("kind", OWN_ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_has_both_languages_and_survives_pickling(kind: type[WhisperMergeError]) -> None:
    import pickle

    from merger.bilingual import Text

    if issubclass(kind, IncompatibleModels):
        error: WhisperMergeError = kind(mismatches=[Fault(Text("а", "a"), Text("б", "b"))])
    elif kind.code in {"ERROR", "BAD_PARAMETER", "BAD_RECIPE"} and kind.__init__ is not WhisperMergeError.__init__:
        error = kind(faults=[Fault(Text("а", "a"), Text("б", "b"))])
    else:
        error = kind(file="f", detail=Text("д", "d"), path="p", files=["x"], needed="1", free="0", device="cpu",
                     model="m", tensors=["t"], index="i", expected=2, found=1)  # fmt: skip
    for lang in ("ru", "en"):
        told = error.to_json(lang)
        assert told["code"] == kind.code and told["sentence"] and told["remedy"]
        assert "{" not in told["sentence"] + told["remedy"]
    assert error.sentence("ru") != error.sentence("en")
    assert pickle.loads(pickle.dumps(error)).to_json("ru") == error.to_json("ru")


def test_log_file_has_the_recipe_and_no_secret(shell: Shell, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    assert shell("--method", "direct", "--log", str(log))[0] == 0
    text = log.read_text()
    assert '"performed": "direct"' in text and "arguments" in text
