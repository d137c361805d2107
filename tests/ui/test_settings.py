"""Settings from the environment: limits, the two profiles, misspelt names, and the table in the documentation."""

import math
import os
from pathlib import Path

import pytest

from ui.setting_kinds import Number, Whole
from ui.settings import ROOT, BadSetting, Settings, declarations, from_environment
from ui.settings_table import table


def test_nothing_set_gives_a_lab_with_the_demo_pair() -> None:
    settings = from_environment({})
    assert (settings.public, settings.max_upload_mb, settings.max_audio_seconds) == (False, 200, 3600.0)
    assert settings == Settings()
    assert settings.lang == "ru"
    assert settings.roots == (Settings().demo_models,)


def test_a_space_is_public_and_small_unless_told_otherwise() -> None:
    space = from_environment({"SPACE_ID": "lab/demo"})
    assert (space.public, space.max_upload_mb, space.max_audio_seconds) == (True, 25, 300.0)
    assert from_environment({"SPACE_ID": "lab/demo", "WHISPER_MERGE_PROFILE": "lab"}).max_upload_mb == 200
    assert from_environment({"WHISPER_MERGE_PROFILE": "space"}) == space
    assert from_environment({"SPACE_ID": "x", "WHISPER_MERGE_MAX_UPLOAD_MB": "50"}).max_upload_mb == 50


def test_a_space_is_nowhere_more_generous_than_a_lab() -> None:
    wider = [
        one.variable
        for one in declarations().values()
        if isinstance(one.kind, Number) and one.space > one.lab
    ]
    assert wider == []


def test_a_space_opens_no_folder_but_the_demo(tmp_path: Path) -> None:
    space = from_environment({"WHISPER_MERGE_PROFILE": "space", "WHISPER_MERGE_MODEL_ROOTS": str(tmp_path)})
    assert space.roots == (space.demo_models,)


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
        ("MAX_UPLOAD_MB", "²"),
        ("MAX_AUDIO_SECONDS", "nan"),
        ("MAX_AUDIO_SECONDS", "inf"),
        ("HUB", "perhaps"),
        ("LANG", "de"),
        ("PROFILE", "moon"),
        ("TRUSTED_PROXIES", "gateway"),
        ("LOGIN_HEADER", "X-User"),
        ("MIN_SAMPLE_RATE", "192000000"),
        ("MODEL_A", "only/one"),
        ("DATA", "a\0b"),
        ("MAX_UPLAOD_MB", "5"),
        ("PUBLIC", "1"),
    ],
)
def test_what_cannot_be_understood_is_named(name: str, value: str) -> None:
    with pytest.raises(BadSetting, match=name) as refused:
        from_environment({f"WHISPER_MERGE_{name}": value})
    assert refused.value.sentence("ru") and refused.value.remedy("ru")


@pytest.mark.parametrize("name", [name for name, one in declarations().items() if isinstance(one.kind, Number)])
def test_every_number_is_read_from_its_variable_and_kept_in_its_range(name: str) -> None:
    one = declarations()[name]
    assert isinstance(one.kind, Number)
    for value in (one.kind.least, one.kind.most):
        other = {"WHISPER_MERGE_MAX_SAMPLE_RATE": "768000"} if name == "min_sample_rate" else {}
        low = {"WHISPER_MERGE_MIN_SAMPLE_RATE": "1000"} if name == "max_sample_rate" else {}
        given = {**other, **low, one.variable: one.kind.shown(value)}
        assert getattr(from_environment(given), name) == value
    step = 1 if isinstance(one.kind, Whole) else 1e-3
    for value in (one.kind.least - step, one.kind.most * 1.01 + 1):
        text = str(math.floor(value)) if isinstance(one.kind, Whole) else str(value)
        with pytest.raises(BadSetting, match=one.variable):
            from_environment({one.variable: text})


def test_all_faults_come_at_once_and_a_near_name_is_offered() -> None:
    with pytest.raises(BadSetting) as refused:
        from_environment({"WHISPER_MERGE_MAX_UPLAOD_MB": "5", "WHISPER_MERGE_HUB": "x", "WHISPER_MERGE_LANG": "de"})
    assert len(refused.value.faults) == 3
    assert "WHISPER_MERGE_MAX_UPLOAD_MB" in refused.value.remedy("en")


def test_the_limits_reach_those_who_keep_them() -> None:
    space = Settings.of("space")
    assert (space.audio_limits.max_bytes, space.audio_limits.max_seconds) == (25_000_000, 300.0)
    assert space.audio_limits.max_samples == 60_000_000
    assert (space.archive_limits.max_files, space.archive_limits.max_packed) == (300, 50_000_000)


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


def test_what_is_printed_can_be_set_again() -> None:
    space = Settings.of("space", hosts=("lab.example", "merge.example"))
    told = {name: value for name, value in space.told().items() if value}
    assert from_environment(told) == space


def test_the_page_of_settings_is_the_declarations() -> None:
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == table()
