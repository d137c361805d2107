"""Hub ids: small files first, weights only of models that fit, a clear word when there is no network."""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import huggingface_hub
import pytest

from merger.checkpoint import open_checkpoint
from merger.compatibility import open_all
from merger.disk import merge_to_folder
from merger.errors import IncompatibleModels, MissingFile, ModelTooLarge, Offline, UnsafeFormat
from merger.hub import WEIGHTS, HubRules
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


class FakeApi:
    """What the Hub tells of a model: 4 MB of weights at a commit. Without a token it knows public models only."""

    tokens: ClassVar[list[Any]] = []

    def __init__(self, token: Any = None) -> None:
        self.tokens.append(token)

    def model_info(self, repo_id: str, **_: Any) -> SimpleNamespace:
        names = ("a.safetensors", "b.safetensors", "c.bin")
        files = [SimpleNamespace(rfilename=name, size=2_000_000) for name in names]
        return SimpleNamespace(siblings=files, sha=COMMIT)


def test_strangers_ids_are_asked_for_without_the_token_and_weighed_before_they_are_fetched(
    hub: list[tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[dict[str, Any]] = []
    fetch = huggingface_hub.snapshot_download
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeApi)
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, **more: fetched.append(more) or fetch(name, **more)
    )
    with pytest.raises(ModelTooLarge, match=r"4\.0\sMB; 3\.9\sMB is the most"):
        open_checkpoint("lab/a", hub=HubRules(anonymous=True, max_bytes=3_900_000))
    assert fetched == []
    opened = open_checkpoint("lab/a", hub=HubRules(anonymous=True, max_bytes=4_000_000))
    assert opened.revision == COMMIT
    assert [(one["token"], one["revision"]) for one in fetched] == [(False, COMMIT)]
    assert FakeApi.tokens == [False, False]


def test_of_unknown_size_only_what_is_here_already_is_opened(
    hub: list[tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(FakeApi):
        def model_info(self, repo_id: str, **_: Any) -> SimpleNamespace:
            raise ConnectionError

    fetched: list[dict[str, Any]] = []
    fetch = huggingface_hub.snapshot_download
    monkeypatch.setattr(huggingface_hub, "HfApi", Silent)
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, **more: fetched.append(more) or fetch(name, **more)
    )
    open_checkpoint("lab/a", hub=HubRules(max_bytes=1))
    assert fetched[0]["local_files_only"] is True


def test_a_model_of_pickles_only_is_refused_with_a_way_out(
    hub: list[tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Pickles(FakeApi):
        def model_info(self, repo_id: str, **_: Any) -> SimpleNamespace:
            names = ("config.json", "logs/events.bin", "pytorch_model.bin")
            return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name, size=9) for name in names], sha=COMMIT)

    class Silent(FakeApi):
        def model_info(self, repo_id: str, **_: Any) -> SimpleNamespace:
            raise ConnectionError

    fetch = huggingface_hub.snapshot_download

    def without_weights(repo_id: str, **more: Any) -> str:
        folder = Path(fetch(repo_id, **more))
        for file in folder.glob("*.safetensors"):
            file.unlink()
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", without_weights)
    monkeypatch.setattr(huggingface_hub, "HfApi", Pickles)
    with pytest.raises(UnsafeFormat, match=r"lab/a/pytorch_model\.bin.*save_pretrained"):
        open_all({"a": "lab/a", "b": "lab/b"})
    monkeypatch.setattr(huggingface_hub, "HfApi", Silent)
    with pytest.raises(MissingFile, match=r"“lab/a” has no weights in safetensors.*may be pickled.*save_pretrained"):
        open_checkpoint("lab/a")


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
