"""Disks that fill up or cannot be written, a history that is locked: said at once, and nothing there is lost."""

import hashlib
import os
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.store import Store, Vote
from merger.errors import DiskFull
from merger.recipe import MergeRecipe
from tests.faults.conftest import LONG, Reached, how_many, in_time
from tests.ui.conftest import OWNER, write_tone
from ui import export
from ui.local_executor import LocalExecutor
from ui.settings import Settings
from ui.worker import Job, JobState
from ui.workshop import Workshop

SECONDS = 60.0
RECIPE = MergeRecipe.build("direct", {"direct_alpha": 0.25})
MODELS = {"a": "a", "b": "b", "base": None}
MB = 1_000_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MB in memory. Making one takes root."""
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, left: int) -> Path:
    """Takes all but `left` bytes of the file system."""
    ballast = place / f"ballast-{time.monotonic_ns()}"
    with ballast.open("wb") as file:
        wanted = max(0, shutil.disk_usage(place).free - left)
        os.posix_fallocate(file.fileno(), 0, max(1, wanted))
    return ballast


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def opened(settings: Settings, tmp_path: Path, **changes: Any) -> Workshop:
    return Workshop(replace(settings, **changes), uploads=tmp_path, executors=[LocalExecutor("cpu")])


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_an_export_onto_a_disk_that_fills_up(
    settings: Settings,
    small_disk: Path,
    tmp_path: Path,
    share: float,
    reached: Reached,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Room is there when the export begins; somebody else takes it when `share` of the bytes are written."""
    workshop = opened(settings, tmp_path, export_root=small_disk)
    try:
        old, _ = export.submit(workshop, OWNER, RECIPE, MODELS, "old")
        assert old.wait(SECONDS) and old.state is JobState.DONE
        before, filled = digests(small_disk / "old"), threading.Event()
        say = Job.report

        def report(job: Job, stage: str, done: float = 0.0, total: float = 0.0, **facts: Any) -> None:
            if stage == "export.write" and total and done >= share * total and not filled.is_set():
                fill(small_disk, 0)
                filled.set()
            say(job, stage, done, total, **facts)

        monkeypatch.setattr(Job, "report", report)
        if share < 0.5:  # the room is gone before a byte is written
            fill(small_disk, int(share * MB))
            filled.set()
        started = time.monotonic()
        job, _ = export.submit(workshop, OWNER, MergeRecipe.build("slerp"), MODELS, "new")
        assert job.wait(SECONDS)
        took = time.monotonic() - started
        if filled.is_set() and job.state is not JobState.DONE:
            assert job.error is not None and job.error["code"] == "DISK_FULL" and in_time(took, 5)
            assert not (small_disk / "new").exists()
            reached(
                f"disk full, export at {share:.0%}", "DISK_FULL ≤ 5 s, old export intact",
                f"DISK_FULL after {took:.2f} s, old export the same bytes",
            )  # fmt: skip
        else:  # all bytes were written before the room was taken
            assert share == 0.99 and job.state is JobState.DONE
            reached(f"disk full, export at {share:.0%}", "DISK_FULL ≤ 5 s, old export intact", "written in time, whole")
        assert digests(small_disk / "old") == before
        assert [one for one in small_disk.iterdir() if one.name.startswith(".")] == []
    finally:
        workshop.close()


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_history_on_a_disk_that_is_full(small_disk: Path, share: float, reached: Reached) -> None:
    """`share` of a page of room is left."""
    store = Store(small_disk / "h.sqlite")
    store.add_vote("ann", Vote("c", "A", "B", "left"))
    ballast = fill(small_disk, int(share * 4096))
    started, acknowledged = time.monotonic(), 1
    with pytest.raises(DiskFull):
        for _ in range(2000):
            store.add_vote("ann", Vote("c" * 2000, "A", "B", "left"))
            acknowledged += 1
    took = time.monotonic() - started
    assert in_time(took, 5) and len(store.votes("ann")) == acknowledged
    ballast.unlink()
    store.add_vote("ann", Vote("c", "A", "B", "left"))
    store.close()
    assert len(Store(small_disk / "h.sqlite").votes("ann")) == acknowledged + 1
    reached(
        f"disk full, history at {share:.0%} of a page", "DISK_FULL ≤ 5 s, no row lost",
        f"DISK_FULL after {took:.2f} s, {acknowledged} of {acknowledged} rows",
    )  # fmt: skip


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_an_upload_onto_a_disk_that_is_full(
    settings: Settings, small_disk: Path, tmp_path: Path, share: float, reached: Reached
) -> None:
    """`share` of the recording's bytes would fit."""
    (tmp_path / "given").mkdir()
    workshop = opened(settings, tmp_path / "given", data=small_disk)
    try:
        clip = write_tone(tmp_path / "given" / "clip.wav", seconds=20.0)
        ballast = fill(small_disk, int(share * clip.stat().st_size))
        started = time.monotonic()
        with pytest.raises(DiskFull):
            workshop.clips.add(OWNER, clip, "clip.wav")
        took = time.monotonic() - started
        assert in_time(took, 5) and [file for file in (small_disk / "clips").rglob("*") if file.is_file()] == []
        ballast.unlink()
        again = write_tone(tmp_path / "given" / "again.wav", seconds=20.0)
        assert workshop.clips.add(OWNER, again, "again.wav").seconds == pytest.approx(20.0)
        reached(f"disk full, upload at {share:.0%}", "DISK_FULL ≤ 5 s", f"DISK_FULL after {took:.2f} s, nothing kept")
    finally:
        workshop.close()


def test_an_output_that_cannot_be_written_is_said_before_anything_is_merged(
    settings: Settings, small_disk: Path, tmp_path: Path, reached: Reached
) -> None:
    workshop = opened(settings, tmp_path, export_root=small_disk)
    try:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        started = time.monotonic()
        job, _ = export.submit(workshop, OWNER, RECIPE, MODELS, "new")
        assert job.wait(SECONDS) and job.state is JobState.FAILED
        took = time.monotonic() - started
        assert job.error is not None and job.error["code"] == "OUTPUT_NOT_WRITABLE"
        assert job.done == 0
        reached("read-only output", "error before merging", f"OUTPUT_NOT_WRITABLE after {took:.2f} s, 0 bytes merged")
    finally:
        workshop.close()


def test_a_locked_history_is_waited_for(tmp_path: Path, reached: Reached) -> None:
    seconds = 10.0 if LONG else 1.0
    store = Store(tmp_path / "h.sqlite")
    other = sqlite3.connect(tmp_path / "h.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(seconds, lambda: other.execute("COMMIT"))
    started = time.monotonic()
    release.start()
    assert store.works()  # a lock is no fault
    store.add_vote("ann", Vote("c", "A", "B", "left"))
    took = time.monotonic() - started
    assert took >= seconds * 0.9 and len(store.votes("ann")) == 1
    release.join()
    reached(f"history locked for {seconds:g} s", "waits", f"the row is written after {took:.1f} s")


def test_a_writer_that_is_killed_loses_nothing_that_was_acknowledged(tmp_path: Path, reached: Reached) -> None:
    import sys

    path, kills, rows = tmp_path / "h.sqlite", how_many(20, 2), 0
    script = (
        "import sys\nfrom evaluation.store import Store, Vote\n"
        "store = Store(sys.argv[1])\n"
        "while True:\n    print(store.add_vote('ann', Vote('c' * 3000, 'A', 'B', 'left')), flush=True)\n"
    )
    told: list[str] = []
    for number in range(kills):
        writer = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(5 + 3 * number):
            told.append(writer.stdout.readline().strip())
        writer.kill()
        told += [line.strip() for line in writer.stdout.read().splitlines() if len(line.strip()) == 32]
        store = Store(path)
        rows = len(store.votes("ann"))
        assert store.quarantined is None and rows >= len(told)
        store.close()
    reached(f"kill -9 of a writer, {kills} times", "0 lost rows", f"{len(told)} acknowledged, {rows} there")
