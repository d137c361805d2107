"""A model that could not be used as it is, or may not be read, is refused and named by all that take models."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from transformers import WhisperConfig, WhisperForConditionalGeneration

from evaluation.systems import plan_systems
from merger.architecture import expected_tensors
from merger.checkpoint import open_checkpoint
from merger.compatibility import compare
from merger.disk import merge_to_folder
from merger.errors import IncompatibleModels, NonfiniteWeights, UnreadableFile, WeightsOverflow
from merger.live import LiveMerge
from tests.conftest import TinyPair
from tests.merger.merging import HALF, opened
from tests.merger.shell import Shell, quiet_log, shell  # noqa: F401
from tests.merger.spoiling import WEIGHTS

BIAS, MATRIX = "model.encoder.layers.0.fc2.bias", "model.decoder.layers.1.fc1.weight"


def test_the_tensors_are_those_of_transformers() -> None:
    config = WhisperConfig(
        d_model=48, encoder_layers=2, decoder_layers=3, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=80, decoder_ffn_dim=96, num_mel_bins=20, vocab_size=77, max_source_positions=30,
        max_target_positions=40, pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=0,
    )  # fmt: skip
    state = WhisperForConditionalGeneration(config).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items() if name != "proj_out.weight"}
    assert expected_tensors(config.to_dict()) == shapes
    assert expected_tensors(config.to_dict() | {"vocab_size": None}) is None


def lose(tensors: dict[str, Any]) -> None:
    del tensors[BIAS]


def cut(tensors: dict[str, Any]) -> None:
    tensors[MATRIX] = tensors[MATRIX][:10].copy()


@pytest.mark.parametrize(("spoil", "tensor"), [(lose, BIAS), (cut, MATRIX)])
def test_both_models_share_the_defect(
    spoil: Callable[[dict[str, Any]], None], tensor: str, tiny_pair: TinyPair, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        shutil.copytree(getattr(tiny_pair, name), tmp_path / name)
        tensors = load_file(tmp_path / name / WEIGHTS)
        spoil(tensors)
        save_file(tensors, tmp_path / name / WEIGHTS)
    sources = {name: open_checkpoint(tmp_path / name) for name in ("a", "b")}
    with pytest.raises(IncompatibleModels) as caught:
        merge_to_folder(HALF, sources, tmp_path / "out")
    told = caught.value.sentence("en") + str(caught.value)
    assert told.count(tensor) >= 2 and "“a”" in told and "“b”" in told
    assert not (tmp_path / "out").exists()
    with pytest.raises(IncompatibleModels):
        plan_systems({"a": str(tmp_path / "a")}, [])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_not_listened_to(value: float, folder: Path, tiny_pair: TinyPair) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors[BIAS][1] = value
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(NonfiniteWeights) as caught:
        LiveMerge(open_checkpoint(tiny_pair.b), open_checkpoint(folder), device="cpu")
    assert caught.value.facts == {"file": "model", "tensors": [BIAS]}


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", WEIGHTS])
def test_what_may_not_be_read_is_not_called_missing_or_damaged(
    name: str, tiny_pair: TinyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, reading = Path.open, Path.read_text

    def refusing(function: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(path: Path, *given: Any, **named: Any) -> Any:
            if path.parent == tiny_pair.a and path.name == name:
                raise PermissionError(13, "Permission denied")
            return function(path, *given, **named)

        return refuse

    monkeypatch.setattr(Path, "open", refusing(opening))
    monkeypatch.setattr(Path, "read_text", refusing(reading))
    with pytest.raises(UnreadableFile) as caught:
        merge_to_folder(HALF, opened(tiny_pair), tmp_path / "out")
    assert caught.value.facts["file"] == name and not (tmp_path / "out").exists()


def test_of_two_models_the_faulty_one_is_named(shell: Shell, folder: Path, tiny_pair: TinyPair) -> None:  # noqa: F811
    (folder / "config.json").write_text("{")
    status, _, told = shell("--lang", "en", b=folder)
    assert status == 1 and f"“{folder}/config.json” is corrupt" in told
    text = folder / "notes.txt"
    text.touch()
    status, _, told = shell("--lang", "en", b=text)
    assert status == 1 and "NOT_SAFETENSORS" in told and "pickled" not in told
    status, _, told = shell("--lang", "en", a=Path("./nope"), b=Path("./other"))
    assert "MISSING_FILE" in told and "Hub" not in told.split("MISSING_FILE")[1].split("(")[0]


def test_weights_beside_and_models_saved_without_their_head(tiny_pair: TinyPair, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(getattr(tiny_pair, name), tmp_path / name)
        tensors = load_file(tmp_path / name / WEIGHTS)
        bare = {key.removeprefix("model."): value for key, value in tensors.items()}
        save_file({**bare, "extra": np.zeros(0, np.float16)}, tmp_path / name / WEIGHTS)
    sources = {name: open_checkpoint(tmp_path / name) for name in ("a", "b")}
    assert compare(*sources.values()).ok


def test_a_config_that_speaks_of_millions_of_layers(folder: Path, tiny_pair: TinyPair) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "decoder_layers": 10**9}))
    found = compare(open_checkpoint(tiny_pair.b), open_checkpoint(folder))
    assert any("1000000002 layers" in fault.sentence.en for fault in found.mismatches)


def test_weights_larger_than_half_precision_holds(folder: Path, tiny_pair: TinyPair) -> None:
    tensors = {name: value.astype(np.float32) for name, value in load_file(folder / WEIGHTS).items()}
    tensors[BIAS][1] = 1e5
    save_file(tensors, folder / WEIGHTS)
    sources = open_checkpoint(tiny_pair.b), open_checkpoint(folder)
    with pytest.raises(WeightsOverflow) as caught:
        LiveMerge(*sources, device="cpu", dtype="float16")
    assert "float32" in caught.value.remedy("en")
    LiveMerge(*sources, device="cpu", dtype="float32")


def test_a_folder_that_may_not_be_entered(tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(UnreadableFile):
        open_checkpoint(tiny_pair.a)


@pytest.mark.parametrize("encoding", ["ascii", "cp1251", "utf-8"])
def test_a_terminal_that_lacks_signs(encoding: str, tiny_pair: TinyPair, tmp_path: Path) -> None:
    places = ["--model-a", str(tiny_pair.a), "--model-b", str(tiny_pair.b), "--output-dir", str(tmp_path / "out")]
    for words in (["--lang", "ru", "--method", "direct", *places, "--json"], ["--help"]):
        ran = subprocess.run(
            [sys.executable, "-m", "merger", *words],
            env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        if "--json" in words:
            assert json.loads(ran.stdout.decode(encoding))["ok"] is True
    assert (tmp_path / "out" / WEIGHTS).exists()
