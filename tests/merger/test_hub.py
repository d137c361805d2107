"""Hub ids: small files first, weights only of models that fit, a clear word when there is no network."""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from merger.checkpoint import open_checkpoint
from merger.compatibility import open_all
from merger.disk import merge_to_folder
from merger.errors import IncompatibleModels, Offline
from merger.hub import WEIGHTS
from merger.recipe import MergeRecipe
from tests.conftest import TinyPair
from tests.factories import make_whisper_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tiny_pair: TinyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """A Hub with lab/a, lab/b and an unlike lab/wide; the list collects what is asked for."""
    wide = make_whisper_folder(tmp_path / "wide", 1, d_model=32)
    models = {"lab/a": tiny_pair.a, "lab/b": tiny_pair.b, "lab/wide": wide}
    asked: list[tuple[str, list[str]]] = []

    def snapshot_download(repo_id: str, *, allow_patterns: list[str], **_: Any) -> str:
        asked.append((repo_id, allow_patterns))
        if repo_id not in models:
            raise ConnectionError("no network in tests")
        folder = tmp_path / "cache" / repo_id / "snapshots" / COMMIT
        folder.mkdir(parents=True, exist_ok=True)
        (models[repo_id] / "pytorch_model.bin").touch()
        for file in models[repo_id].iterdir():
            if any(fnmatch(file.name, pattern) for pattern in allow_patterns):
                shutil.copy(file, folder)
        (models[repo_id] / "pytorch_model.bin").unlink()
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_unlike_models_are_refused_before_any_weights(hub: list[tuple[str, list[str]]]) -> None:
    with pytest.raises(IncompatibleModels, match="model width: 16 in “a”, 32 in “wide”"):
        open_all({"a": "lab/a", "b": "lab/wide"})
    assert [name for name, _ in hub] == ["lab/a", "lab/wide"]
    assert not any(set(WEIGHTS) & set(patterns) for _, patterns in hub)


def test_only_safe_files_are_fetched_and_the_commit_is_recorded(
    hub: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    models = open_all({"a": "lab/a", "b": "lab/b"})
    assert not list((tmp_path / "cache").rglob("*.bin"))
    assert (models["a"].name, models["a"].hub_id, models["a"].revision) == ("a", "lab/a", COMMIT)
    report = merge_to_folder(MergeRecipe.build("direct"), models, tmp_path / "out")
    card = (report.folder / "README.md").read_text()
    assert "base_model:\n- lab/a\n- lab/b\n" in card and "language:\n- ru\n" in card
    assert COMMIT in (report.folder / "recipe.json").read_text()


def test_no_network_is_said_at_once(hub: list[tuple[str, list[str]]]) -> None:
    with pytest.raises(Offline) as caught:
        open_checkpoint("nobody/nothing")
    assert "nobody/nothing" in caught.value.sentence("ru") and "сеть" in caught.value.remedy("ru")


def test_a_folder_goes_before_a_hub_id(
    hub: list[tuple[str, list[str]]], tiny_pair: TinyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_pair.a, tmp_path / "lab" / "a")
    monkeypatch.chdir(tmp_path)
    assert open_checkpoint("lab/a").hub_id is None
    assert hub == []
