"""Settings from the environment: limits, the public face, and misspelt names."""

import os
from pathlib import Path

import pytest

from ui.settings import BadSetting, Settings, from_environment


def test_nothing_set_gives_a_private_server_with_the_demo_pair() -> None:
    settings = from_environment({})
    assert (settings.public, settings.max_upload_mb, settings.max_audio_seconds) == (False, 200, 3600.0)
    assert settings.lang == "ru"
    assert settings.roots == (Settings().demo_models,)


def test_a_space_is_public_and_small_unless_told_otherwise() -> None:
    assert from_environment({"SPACE_ID": "lab/demo"}).max_upload_mb == 25
    assert from_environment({"SPACE_ID": "lab/demo"}).max_audio_seconds == 300
    assert from_environment({"SPACE_ID": "lab/demo", "WHISPER_MERGE_PUBLIC": "0"}).max_upload_mb == 200
    assert from_environment({"SPACE_ID": "x", "WHISPER_MERGE_MAX_UPLOAD_MB": "50"}).max_upload_mb == 50


def test_paths_and_roots(tmp_path: Path) -> None:
    roots = os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "two")])
    settings = from_environment({"WHISPER_MERGE_DATA": str(tmp_path), "WHISPER_MERGE_MODEL_ROOTS": roots})
    assert settings.roots == (settings.demo_models, tmp_path / "one", tmp_path / "two")
    assert settings.export_root == tmp_path / "exports"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_UPLOAD_MB", "many"),
        ("MAX_UPLOAD_MB", "0"),
        ("PUBLIC", "perhaps"),
        ("LANG", "de"),
        ("MAX_UPLAOD_MB", "5"),
    ],
)
def test_what_cannot_be_understood_is_named(name: str, value: str) -> None:
    with pytest.raises(BadSetting, match=name):
        from_environment({f"WHISPER_MERGE_{name}": value})


def test_the_demo_pair_is_the_default_and_a_named_pair_goes_first(tmp_path: Path) -> None:
    for role in ("a", "b"):
        (tmp_path / role).mkdir()
        (tmp_path / role / "config.json").write_text("{}")
    settings = Settings(demo_models=tmp_path)
    assert settings.default_models == {"a": "a", "b": "b", "base": None}
    named = Settings(demo_models=tmp_path, model_a="x/y", model_b="x/z")
    assert named.default_models == {"a": "x/y", "b": "x/z", "base": None}


def test_settings_of_the_merging_engine_are_known_too() -> None:
    engine = {"WHISPER_MERGE_KERNELS": "off", "WHISPER_MERGE_CACHE": "/tmp/cache"}
    assert from_environment(engine) == from_environment({})
