"""Killed at any moment, on a full disk, without permission: the old state or the whole new model, never half of one."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from merger.checkpoint import open_checkpoint
from merger.disk import STAGES, merge_to_folder
from merger.errors import DiskFull, OutputNotWritable
from merger.output import OutputFile
from merger.recipe import MergeRecipe
from merger.transaction import FolderTransaction, exchange, sweep
from tests.conftest import TinyPair

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.faults
RECIPE = MergeRecipe.build("direct")
# `make faults` kills ten times at each named point and at 200 moments; the usual run twice and at 50.
LONG = os.environ.get("FAULTS") == "long"


def sources(pair: TinyPair) -> dict[str, Any]:
    return {"a": open_checkpoint(pair.a), "b": open_checkpoint(pair.b)}


def killed(cases: list[dict[str, Any]], pair: TinyPair, folder: Path) -> list[dict[str, Any]]:
    """Run the cases in the driver; returns its findings."""
    driver = [sys.executable, "-m", "tests.merger.kill_driver", str(pair.a), str(pair.b), str(folder)]
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run(driver, cwd=ROOT, input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a killed process loses nothing that it wrote, on whatever disk."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path / "out"
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder) / "out"


def check(case: dict[str, Any], found: dict[str, Any]) -> None:
    assert found["after"] in ({"old", "new"} if case.get("old") else {"absent", "new"}), (case, found)
    assert set(found["visible"]) <= {"merged"}
    assert (found["next"], found["hidden"]) == ("new", 0), (case, found)
    assert found["subfolder"] == ("direct" if case.get("old") else None)


def test_killed_at_eight_named_points(tiny_pair: TinyPair, quick_folder: Path) -> None:
    assert len(STAGES) == 8
    cases = [{"stage": stage, "old": old} for stage in STAGES for old in (False, True)] * (5 if LONG else 1)
    for case, found in zip(cases, killed(cases, tiny_pair, quick_folder), strict=True):
        assert found["killed"]
        check(case, found)
        renamed = STAGES.index(case["stage"]) >= STAGES.index("committed")
        assert found["after"] == ("new" if renamed else "old" if case["old"] else "absent")


def test_killed_at_random_moments(tiny_pair: TinyPair, quick_folder: Path) -> None:
    chance = random.Random(7)
    count = 200 if LONG else 50
    cases = [{"delay": chance.uniform(0, 1.1), "old": chance.random() < 0.5} for _ in range(count)]
    found = killed(cases, tiny_pair, quick_folder)
    for case, each in zip(cases, found, strict=True):
        check(case, each)
    assert sum(each["killed"] for each in found) > count / 2  # most moments fell into the merge


def test_full_disk_at_the_start_and_on_the_way(
    tiny_pair: TinyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    merge_to_folder(RECIPE, sources(tiny_pair), out)
    before = (out / "model.safetensors").read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for target, name in ((os, "posix_fallocate"), (OutputFile, "write"), (OutputFile, "finish")):
        with monkeypatch.context() as patched:
            patched.setattr(target, name, full)
            with pytest.raises(DiskFull):
                merge_to_folder(MergeRecipe.build("slerp"), sources(tiny_pair), out)
    monkeypatch.setattr("merger.space.free_bytes", lambda _: 1000)
    with pytest.raises(DiskFull) as caught:
        merge_to_folder(MergeRecipe.build("slerp"), sources(tiny_pair), out)
    assert "свободно 1,0\u00a0КБ" in caught.value.sentence("ru")
    assert "33.7\u00a0MB needed" in caught.value.sentence("en")
    assert (out / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_really_full_disk(tiny_pair: TinyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(small)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        monkeypatch.setattr("merger.disk.require_space", lambda *_: None)
        with pytest.raises(DiskFull):
            merge_to_folder(RECIPE, sources(tiny_pair), small / "out")
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_unwritable_places_are_refused(tiny_pair: TinyPair, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for target in (tmp_path / "file" / "out", tmp_path / ("x" * 300)):
        with pytest.raises(OutputNotWritable):
            merge_to_folder(RECIPE, sources(tiny_pair), target)


def test_a_read_only_disk_is_refused_before_merging(tiny_pair: TinyPair, tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "none", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a read-only file system needs root")
    stages: list[str] = []
    try:
        with pytest.raises(OutputNotWritable):
            merge_to_folder(RECIPE, sources(tiny_pair), tmp_path / "out", on_progress=lambda p: stages.append(p.stage))
        assert "merging" not in stages
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_living_merges_are_not_swept(tmp_path: Path) -> None:
    with FolderTransaction(tmp_path / "out") as transaction:
        (transaction.folder / "file").write_text("x")
        assert sweep(tmp_path) == []
        assert (transaction.folder / "file").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_mount_point_is_refused_before_anything_is_written() -> None:
    with pytest.raises(OutputNotWritable) as caught, FolderTransaction(Path("/proc")):
        pass
    assert "точка монтирования" in caught.value.sentence("ru")


def test_exchange_without_the_system_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    exchange(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "one" / "two").exists() and (tmp_path / "two" / "one").exists()
