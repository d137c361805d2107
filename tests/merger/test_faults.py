"""Killed at any moment, on a full disk, without permission: the old state or the whole new model, never half of one."""

from __future__ import annotations

import errno
import fcntl
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

from merger.disk import STAGES, merge_to_folder
from merger.errors import DiskFull, OutputNotWritable
from merger.output import OutputFile
from merger.recipe import MergeRecipe
from merger.transaction import FolderTransaction, exchange, sweep
from tests.conftest import TinyPair
from tests.merger.merging import HALF, opened

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.faults
# `make faults` kills ten times at each named point and at 200 moments; the usual run twice and at 50.
LONG = os.environ.get("FAULTS") == "long"


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
    before = "old" if case.get("old") else "absent"
    assert set(found["after"]) <= {before, "new"}, (case, found)
    assert set(found["visible"]) <= {"merged"}
    assert (set(found["next"]), found["hidden"]) == ({"new"}, 0), (case, found)
    assert found["subfolder"] == ("old" if case.get("old") else None)


def points(whole: bool) -> list[tuple[dict[str, Any], int]]:
    """Where to kill, and how many of the results are the new ones then; `whole`: all three results, else one."""
    reported = [(stage, 1) for stage in STAGES]
    if whole:  # each result is renamed by itself
        reported += [(stage, time) for time in (2, 3) for stage in ("committing", "committed")]
    renamed = {"committing": -1, "committed": 0, "done": 2 if whole else 0}
    found = [({"stage": stage, "time": time}, max(renamed.get(stage, -time) + time, 0)) for stage, time in reported]
    return found + [({"written": share}, 0) for share in (0.05, 0.5, 0.95)]


@pytest.mark.parametrize("whole", [False, True], ids=["one", "all"])
def test_killed_at_eight_named_points_and_in_the_middle_of_writing(
    whole: bool, tiny_pair: TinyPair, quick_folder: Path
) -> None:
    """No point depends on the clock: the first report of merging comes before the work, the others are counted."""
    assert len(STAGES) == 8
    expected = [(point, new, old) for point, new in points(whole) for old in (False, True)] * (5 if LONG else 1)
    cases = [{**point, "old": old, "all": whole} for point, _, old in expected]
    results = killed(cases, tiny_pair, quick_folder)
    for case, (_, new, old), found in zip(cases, expected, results, strict=True):
        assert found["killed"], case
        check(case, found)
        rest = len(found["after"]) - new
        assert found["after"] == ["new"] * new + ["old" if old else "absent"] * rest, (case, found)


def test_killed_between_the_renames_of_an_exchange(tiny_pair: TinyPair, quick_folder: Path) -> None:
    """Where two folders cannot change places in one call, the sweep of the next start has a whole result in place."""
    cases = [{"rename": number, "old": True} for number in (1, 2, 3)]
    results = killed(cases, tiny_pair, quick_folder)
    for case, found, after in zip(cases, results, ("old", "old", "new"), strict=True):
        assert found["killed"] and found["after"] == [after], (case, found)
        check(case, found)
    assert results[1]["visible"] == []  # killed while the old result was parked


def test_killed_at_random_moments(tiny_pair: TinyPair, quick_folder: Path) -> None:
    chance = random.Random(7)
    count = 200 if LONG else 50
    cases = [
        {"delay": chance.uniform(0, 1.1), "old": chance.random() < 0.5, "all": number % 5 == 0}
        for number in range(count)
    ]
    found = killed(cases, tiny_pair, quick_folder)
    for case, each in zip(cases, found, strict=True):
        check(case, each)
    assert sum(each["killed"] for each in found) > count / 2  # most moments fell into the merge


def test_full_disk_at_the_start_and_on_the_way(
    tiny_pair: TinyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    merge_to_folder(HALF, opened(tiny_pair), out)
    before = (out / "model.safetensors").read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for target, name in ((os, "posix_fallocate"), (OutputFile, "write"), (OutputFile, "finish")):
        with monkeypatch.context() as patched:
            patched.setattr(target, name, full)
            with pytest.raises(DiskFull):
                merge_to_folder(MergeRecipe.build("slerp"), opened(tiny_pair), out)
    monkeypatch.setattr("merger.space.free_bytes", lambda _: 1000)
    with pytest.raises(DiskFull) as caught:
        merge_to_folder(MergeRecipe.build("slerp"), opened(tiny_pair), out)
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
            merge_to_folder(HALF, opened(tiny_pair), small / "out")
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_unwritable_places_are_refused(tiny_pair: TinyPair, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for target in (tmp_path / "file" / "out", tmp_path / ("x" * 300)):
        with pytest.raises(OutputNotWritable):
            merge_to_folder(HALF, opened(tiny_pair), target)


def test_a_read_only_disk_is_refused_before_merging(tiny_pair: TinyPair, tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "none", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a read-only file system needs root")
    stages: list[str] = []
    try:
        with pytest.raises(OutputNotWritable):
            merge_to_folder(HALF, opened(tiny_pair), tmp_path / "out", on_progress=lambda p: stages.append(p.stage))
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


@pytest.mark.parametrize("failing", [2, 3])
def test_an_exchange_that_fails_halfway_leaves_the_target_in_place(
    failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second rename fails: the old folder returns. The third fails once: the next sweep finishes."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").touch()
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    rename, begun = os.rename, 0

    def counting(one: Path, other: Path) -> None:
        nonlocal begun
        begun += 1
        if begun == failing:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        rename(one, other)

    with monkeypatch.context() as patched, pytest.raises(OutputNotWritable), FolderTransaction(target) as transaction:
        (transaction.folder / "new").touch()
        patched.setattr(os, "rename", counting)
        transaction.commit()
    sweep(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        "out", "out/old" if failing == 2 else "out/new",
    ]  # fmt: skip


def test_a_parked_folder_of_a_living_merge_is_not_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / f".{name}.merging-1-00000000").mkdir()
    old, new = tmp_path / "out", tmp_path / ".out.merging-1-00000000"
    old.mkdir()
    new.mkdir()
    (new / "new").touch()
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    rename, swept = os.rename, []

    def sweeping(one: Path, other: Path) -> None:
        rename(one, other)
        if other.name.endswith("-previous"):
            living = os.open(new, os.O_RDONLY)
            fcntl.flock(living, fcntl.LOCK_EX)
            monkeypatch.setattr(os, "rename", rename)
            swept.extend(sweep(tmp_path))
            os.close(living)

    monkeypatch.setattr(os, "rename", sweeping)
    exchange(new, old)
    assert swept == [".one.merging-1-00000000", ".two.merging-1-00000000"]
    assert (old / "new").exists() and new.is_dir()


def test_what_others_have_hidden_is_left_alone(tmp_path: Path) -> None:
    names = [".mine.merging-backup", ".out.merging-1-x", ".foo.merging-note-previous", ".out.merging-1-00000000.old"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    assert sweep(tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
