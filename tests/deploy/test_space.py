"""A Space: where it writes, and that README.md and the repository are what Hugging Face accepts."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from ui import space

ROOT = Path(__file__).resolve().parents[2]
FRONT = yaml.safe_load((ROOT / "README.md").read_text(encoding="utf-8").split("---\n")[1])
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
LARGEST = 10 * 1000 * 1000  # above that Hugging Face's git wants LFS or Xet


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp" / "whisper-merge"


def test_nothing_is_moved_elsewhere(tmp_path: Path) -> None:
    assert space.places({"HOME": "/root"}, tmp_path) == {}


def test_a_space_without_storage_writes_to_tmp_only(temporary: Path, tmp_path: Path) -> None:
    assert space.places({"SPACE_ID": "lab/x", "HOME": str(tmp_path)}, Path("/nowhere-at-all")) == {
        "WHISPER_MERGE_DATA": str(temporary),
        "WHISPER_MERGE_CACHE": f"{temporary}/cache",
        "NUMBA_CACHE_DIR": f"{temporary}/cache/numba",
        "TRITON_CACHE_DIR": f"{temporary}/cache/triton",
        "GRADIO_TEMP_DIR": f"{temporary}/incoming",
    }


def test_storage_for_keeps_is_taken(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    found = space.places({"SPACE_ID": "lab/x", "HOME": str(tmp_path)}, tmp_path / "data")
    assert found["WHISPER_MERGE_DATA"] == f"{tmp_path}/data/whisper-merge"


def test_what_somebody_set_stays(temporary: Path) -> None:
    found = space.places({"SPACE_ID": "lab/x", "WHISPER_MERGE_DATA": "/elsewhere"}, Path("/nowhere-at-all"))
    assert "WHISPER_MERGE_DATA" not in found and "WHISPER_MERGE_CACHE" in found


def test_the_hub_cache_moves_only_where_the_home_cannot_be_written(temporary: Path, tmp_path: Path) -> None:
    nowhere = Path("/nowhere-at-all")
    assert "HF_HOME" not in space.places({"SPACE_ID": "x/y", "HOME": str(tmp_path)}, nowhere)
    moved = space.places({"SPACE_ID": "x/y", "HOME": "/nobodys-home"}, nowhere)
    assert moved["HF_HOME"] == f"{temporary}/cache/huggingface"


def test_front_matter() -> None:
    assert FRONT["sdk"] == "gradio" and (ROOT / FRONT["app_file"]).is_file()
    assert f"gradio=={FRONT['sdk_version']}" in (ROOT / "requirements.txt").read_text()
    assert FRONT["python_version"] == "3.12", "what ZeroGPU has of the versions that this project runs on"
    assert {FRONT["colorFrom"], FRONT["colorTo"]} <= COLOURS
    assert len(FRONT["short_description"]) <= 60
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+", model) for model in FRONT["models"])
    assert FRONT["license"] == "apache-2.0"


def test_no_file_is_too_large_for_a_spaces_git() -> None:
    told = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    files = told.split(b"\0")[:-1]
    sizes = {name: os.path.getsize(ROOT / os.fsdecode(name)) for name in files if (ROOT / os.fsdecode(name)).exists()}
    assert max(sizes.values()) < LARGEST, max(sizes, key=sizes.get)  # type: ignore[arg-type]
    assert sum(sizes.values()) < 1e9
