"""Every command line of the user's guide runs as written (the paths of the models aside)."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from merger.checkpoint import open_checkpoint
from merger.layout import place_of
from merger.registry import get_method
from tests.conftest import TinyPair

ROOT = Path(__file__).resolve().parents[2]
# (command as the guide prints it, subfolder → the recipe it means)
TIES_DEFAULTS = {"ties_density": 0.8, "encoder_weights": (0.6, 0.4), "decoder_weights": (0.4, 0.6)}
ALL = {
    "direct": ("direct", {"direct_alpha": 0.5}),
    "slerp": ("slerp", {"slerp_t": 0.5}),
    "ties": ("ties", TIES_DEFAULTS),
}
COMMANDS: list[tuple[str, dict[str, tuple[str, dict]]]] = [
    ("./whisper_merge.sh", ALL),
    ("./whisper_merge.sh --method direct", {"": ("direct", {"direct_alpha": 0.5})}),
    ("./whisper_merge.sh --method slerp", {"": ("slerp", {"slerp_t": 0.5})}),
    ("./whisper_merge.sh --method ties", {"": ("ties", TIES_DEFAULTS)}),
    ("./whisper_merge.sh --method all", ALL),
    ("./whisper_merge.sh --method direct --direct-alpha 0.7", {"": ("direct", {"direct_alpha": 0.7})}),
    ("./whisper_merge.sh --method slerp --slerp-t 0.3", {"": ("slerp", {"slerp_t": 0.3})}),
    ("./whisper_merge.sh --method ties --ties-density 0.85", {"": ("ties", {**TIES_DEFAULTS, "ties_density": 0.85})}),
    (
        './whisper_merge.sh --method ties --encoder-weights "0.7,0.3"',
        {"": ("ties", {**TIES_DEFAULTS, "encoder_weights": (0.7, 0.3)})},
    ),
    (
        './whisper_merge.sh --method ties --decoder-weights "0.3,0.7"',
        {"": ("ties", {**TIES_DEFAULTS, "decoder_weights": (0.3, 0.7)})},
    ),
    (
        './whisper_merge.sh --method ties --ties-density 0.85 --encoder-weights "0.6,0.4" --decoder-weights "0.5,0.5"',
        {"": ("ties", {"ties_density": 0.85, "encoder_weights": (0.6, 0.4), "decoder_weights": (0.5, 0.5)})},
    ),
    (
        './whisper_merge.sh --method ties --ties-density 0.9 --encoder-weights "0.5,0.5" --decoder-weights "0.6,0.4"',
        {"": ("ties", {"ties_density": 0.9, "encoder_weights": (0.5, 0.5), "decoder_weights": (0.6, 0.4)})},
    ),
    (
        "./whisper_merge.sh --method ties --ties-density 0.85 "
        '--encoder-weights "0.65,0.35" --decoder-weights "0.6,0.4"',
        {"": ("ties", {"ties_density": 0.85, "encoder_weights": (0.65, 0.35), "decoder_weights": (0.6, 0.4)})},
    ),
    ("./whisper_merge.sh --method slerp --slerp-t 0.4", {"": ("slerp", {"slerp_t": 0.4})}),
    ("./whisper_merge.sh --method direct --direct-alpha 0.6", {"": ("direct", {"direct_alpha": 0.6})}),
]


def run(command: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command line of the guide in the project's folder."""
    whole = {**os.environ, **environment}
    return subprocess.run(["bash", "-c", command], cwd=ROOT, env=whole, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One output folder for all commands, as somebody who follows the guide would have."""
    return tmp_path_factory.mktemp("guide") / "merged"


@pytest.mark.parametrize(("command", "expected"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_command_of_the_guide(
    command: str, expected: dict[str, tuple[str, dict]], tiny_pair: TinyPair, output: Path, tmp_path: Path
) -> None:
    places = {"MODEL_A": str(tiny_pair.a), "MODEL_B": str(tiny_pair.b), "OUTPUT_DIR": str(output)}
    done = run(command, {**places, "LOG_DIR": str(tmp_path / "logs"), "LANG": "ru_RU.UTF-8", "LC_ALL": ""})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Готово") == len(expected)
    assert len(list((tmp_path / "logs").glob("*.log"))) == 1
    config = open_checkpoint(tiny_pair.a).config
    a, b = load_file(tiny_pair.a / "model.safetensors"), load_file(tiny_pair.b / "model.safetensors")
    for folder, (method, parameters) in expected.items():
        merged = load_file(output / folder / "model.safetensors")
        record = json.loads((output / folder / "recipe.json").read_text())
        assert record["performed"] == record["requested"] == method
        assert merged.keys() == a.keys()
        for name in a:
            wide = [model[name].astype(np.float32) for model in (a, b)]
            place = place_of(name, a[name].shape, config)
            plain = get_method(method).merge(wide, None, place, **parameters).astype(np.float16)
            equal = np.array_equal(a[name], b[name])
            np.testing.assert_array_equal(merged[name], a[name] if equal else plain, err_msg=f"{folder} {name}")


def fake_tool(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod((folder / name).stat().st_mode | stat.S_IXUSR)


def test_update_makes_the_conda_environment_where_there_is_conda(tmp_path: Path) -> None:
    tools, base, calls = tmp_path / "bin", tmp_path / "conda", tmp_path / "calls"
    python = base / "envs/whisper-merge/bin/python"
    body = f"printf '#!/bin/sh\\necho pip \"$@\" >> {calls}\\n' > {python}"
    make = f"mkdir -p {python.parent} && {body} && chmod +x {python}"
    fake_tool(tools, "conda", f'case "$1" in info) echo {base};; create) echo "$@" >> {calls}; {make};; esac')
    done = run("./whisper_merge.sh --update", {"PATH": f"{tools}:{os.environ['PATH']}", "LANG": "ru_RU.UTF-8"})
    assert done.returncode == 0, done.stderr
    assert "conda «whisper-merge»" in done.stdout
    create, install = calls.read_text().splitlines()
    assert shlex.split(create)[:5] == ["create", "--yes", "--quiet", "--name", "whisper-merge"]
    assert "requirements.txt" in install


def test_help_is_russian_and_english_on_request(tmp_path: Path) -> None:
    russian = run("./whisper_merge.sh --help", {"LANG": "ru_RU.UTF-8", "LC_ALL": "", "LC_MESSAGES": ""})
    english = run("./whisper_merge.sh --help --lang en", {"LANG": "ru_RU.UTF-8"})
    by_locale = run("./whisper_merge.sh --help", {"LC_ALL": "en_US.UTF-8"})
    assert "Доля модели A" in russian.stdout and "Share of model A" not in russian.stdout
    assert "Share of model A" in english.stdout
    assert english.stdout == by_locale.stdout
    for flag in ("--method", "--direct-alpha", "--slerp-t", "--ties-density", "--encoder-weights", "--decoder-weights"):
        assert flag in russian.stdout and flag in english.stdout


def test_bad_arguments_give_one_sentence_and_status_2(tiny_pair: TinyPair, tmp_path: Path) -> None:
    places = {"MODEL_A": str(tiny_pair.a), "MODEL_B": str(tiny_pair.b), "OUTPUT_DIR": str(tmp_path / "out")}
    environment = {**places, "LOG_DIR": str(tmp_path / "logs"), "LC_ALL": "ru_RU.UTF-8"}
    done = run('./whisper_merge.sh --method ties --ties-density 1.5 --encoder-weights "0.6,0.6"', environment)
    assert done.returncode == 2
    assert "BAD_PARAMETER" in done.stderr and "от 0 до 1" in done.stderr and "0,6 + 0,6 = 1,2" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_script_fills_in_no_models_where_they_are_named_or_nothing_is_merged(
    tiny_pair: TinyPair, tmp_path: Path
) -> None:
    out, environment = tmp_path / "out", {"MODEL_A": str(tmp_path / "none"), "MODEL_B": str(tmp_path / "none")}
    models = f"--model x={tiny_pair.a}:0.3 --model y={tiny_pair.b}:0.7"
    done = run(f"./whisper_merge.sh --method linear {models} --output-dir {out}", environment)
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads((out / "recipe.json").read_text())["sources"]) == ["x", "y"]
    for command, told in ((f"verify {out}", ""), (f"explain {tiny_pair.a} {tiny_pair.b}", ""), ("methods", "slerp")):
        done = run(f"./whisper_merge.sh {command}", environment)
        assert done.returncode == 0 and told in done.stdout, done.stderr


def test_a_folder_whose_name_is_no_unicode_is_merged(tiny_pair: TinyPair, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/" + "модель".encode("cp1251")
    shutil.copytree(os.fsencode(tiny_pair.a), folder)
    command = [sys.executable, "-m", "merger", "--model-a", folder, "--model-b", str(tiny_pair.b), "--method", "direct"]
    done = subprocess.run([*command, "--output-dir", str(tmp_path / "out")], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads((tmp_path / "out" / "recipe.json").read_text())["sources"]["a"]["name"] == "\ufffd" * 6


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_that_cannot_be_written_shows_no_trace(tiny_pair: TinyPair, tmp_path: Path) -> None:
    models = f"--model-a {tiny_pair.a} --model-b {tiny_pair.b} --method direct --output-dir {tmp_path / 'out'}"
    done = run(f"./whisper_merge.sh {models} --log /dev/full", {})
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


def test_the_program_starts_without_torch() -> None:
    code = "import sys, merger, merger.commands; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
