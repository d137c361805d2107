"""Kernels compiled in advance: the right one is taken, an old one never, and each has numpy's bits."""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from merger import native, prebuilt

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler here")


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Level name → its library."""
    made = prebuilt.build_all(tmp_path_factory.mktemp("kernels"))
    return dict(zip((level.name for level in prebuilt.levels()), made, strict=True))


@pytest.fixture
def fresh() -> None:
    native.load.cache_clear()
    yield
    native.load.cache_clear()


def test_no_level_is_of_the_builders_own_processor() -> None:
    for levels in (*prebuilt.LEVELS.values(), prebuilt.levels("aarch64")):
        assert not any("native" in flag for level in levels for flag in level.flags)
        assert levels[-1].needs == frozenset(), "the last level runs everywhere"
        for better, worse in itertools.pairwise(levels):
            assert better.needs > worse.needs


@pytest.mark.parametrize("needs", [prebuilt.V4, prebuilt.V3, prebuilt.V2, frozenset()])
def test_the_best_that_the_processor_can_run(
    needs: frozenset[str], libraries: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {prebuilt.V4: "x86-64-v4", prebuilt.V3: "x86-64-v3", prebuilt.V2: "x86-64-v2"}.get(needs, "x86-64")
    if expected not in libraries:
        pytest.skip("not an x86-64 machine")
    monkeypatch.setattr(prebuilt, "instructions", lambda: needs | {"fpu"})
    assert prebuilt.find(libraries[expected].parent) == libraries[expected]


def test_one_instruction_short_is_one_level_down(
    libraries: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "x86-64-v3" not in libraries:
        pytest.skip("not an x86-64 machine")
    monkeypatch.setattr(prebuilt, "instructions", lambda: prebuilt.V4 - {"avx512bw"})
    assert prebuilt.find(libraries["x86-64-v3"].parent) == libraries["x86-64-v3"]


def test_a_library_of_another_source_is_never_taken(
    libraries: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    changed = tmp_path / "kernels.c"
    changed.write_text(native.SOURCE.read_text() + "\n/* one comment more */\n")
    monkeypatch.setattr(native, "SOURCE", changed)
    assert prebuilt.find(next(iter(libraries.values())).parent) is None


@pytest.mark.usefixtures("fresh")
def test_the_setting_names_the_folder(
    libraries: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = next(iter(libraries.values())).parent
    monkeypatch.setenv("WHISPER_MERGE_KERNELS", str(folder))
    monkeypatch.setenv("WHISPER_MERGE_CACHE", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda _: None)  # what is loaded cannot have been compiled now
    library = native.load()
    assert library is not None and Path(library._name).parent == folder
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("fresh")
def test_a_library_that_others_may_write_is_not_run(
    libraries: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    level = prebuilt.levels()[-1]
    open_to_all = Path(shutil.copy(libraries[level.name], tmp_path))
    open_to_all.chmod(0o777)
    monkeypatch.setenv("WHISPER_MERGE_KERNELS", str(tmp_path))
    assert native.load() is None


@pytest.mark.parametrize("level", prebuilt.levels(), ids=lambda level: level.name)
def test_every_level_has_the_bits_of_numpy(level: prebuilt.Level, libraries: dict[str, Path], tmp_path: Path) -> None:
    """All tests of the kernels, with this level's library alone and no compiler to fall back on."""
    if not level.needs <= prebuilt.instructions():
        pytest.skip("this processor cannot run it")
    shutil.copy(libraries[level.name], tmp_path)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/merger/test_kernels.py"],
        cwd=ROOT, env={"WHISPER_MERGE_KERNELS": str(tmp_path), "PATH": "", "HOME": os.environ.get("HOME", "/")},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-2000:]
    assert " passed" in run.stdout and "skipped" not in run.stdout, run.stdout[-500:]


def test_the_command_says_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prebuilt.main([str(tmp_path)]) == 0
    assert {Path(line).name for line in capsys.readouterr().out.split()} == {path.name for path in tmp_path.iterdir()}
    assert prebuilt.main([]) == 2
