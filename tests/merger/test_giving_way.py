"""What stays of a folder that gives way to a result, and what is left where memory runs out."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import threading
from pathlib import Path

import pytest

from merger.disk import merge_to_folder
from merger.errors import OutOfMemory, OutputNotWritable
from merger.output import Writers
from merger.provenance import CHECKSUMS_FILE
from merger.recipe import MergeRecipe
from merger.report import Progress
from merger.transaction import FolderTransaction, exchange, sweep
from tests.conftest import TinyPair
from tests.merger.merging import HALF, opened

pytestmark = pytest.mark.faults


def test_what_others_put_into_the_folder_meanwhile_stays(tiny_pair: TinyPair, tmp_path: Path) -> None:
    out = tmp_path / "out"
    merge_to_folder(HALF, opened(tiny_pair), out)
    before = (out / "recipe.json").read_bytes()

    def write(progress: Progress) -> None:
        if progress.stage == "merging" and not (out / "notes.md").exists():
            (out / "notes.md").write_text("mine")
            (out / "checkpoints").mkdir()
            (out / "checkpoints" / "step").touch()

    report = merge_to_folder(MergeRecipe.build("slerp"), opened(tiny_pair), out, on_progress=write)
    assert any("notes.md" in warning.en for warning in report.warnings)
    assert (out / "notes.md").read_text() == "mine" and (out / "checkpoints" / "step").exists()
    assert (out / "recipe.json").read_bytes() != before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_keeps_its_mode_and_group(tiny_pair: TinyPair, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    group = 12345 if os.geteuid() == 0 else os.getegid()
    os.chown(out, -1, group)
    out.chmod(0o2770)
    for _ in range(2):
        merge_to_folder(HALF, opened(tiny_pair), out)
        assert stat.S_IMODE(out.stat().st_mode) == 0o2770 and out.stat().st_gid == group
        assert (out / "recipe.json").exists()


def foreign_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name == "notes.md"]


def replaced(target: Path) -> FolderTransaction:
    """A result with a note of somebody's, and a new one that is to take its place."""
    target.mkdir()
    for name in ("old", "notes.md", CHECKSUMS_FILE):
        (target / name).touch()
    transaction = FolderTransaction(target, foreign_in).__enter__()
    (transaction.folder / "new").touch()
    return transaction


@pytest.mark.parametrize("refused", ["chmod", "chown"])
def test_a_file_system_without_modes_or_groups(refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transaction = replaced(tmp_path / "out")

    def refuse(*given: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path if refused == "chmod" else os, refused, refuse)
    assert transaction.commit() == ["notes.md"]
    transaction.__exit__()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["new", "notes.md"]


def test_what_cannot_be_put_back_stays_in_sight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transaction, rename = replaced(tmp_path / "out"), os.rename

    def refuse(one: Path, other: Path) -> None:
        if Path(one).name == "notes.md":
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        rename(one, other)

    monkeypatch.setattr(os, "rename", refuse)
    transaction.commit()
    transaction.__exit__()
    assert (tmp_path / "out" / "new").exists()
    [kept] = [path for path in tmp_path.iterdir() if path.name != "out"]
    assert kept.name.startswith("out.kept-") and (kept / "notes.md").exists()


def test_killed_between_the_exchange_and_what_is_put_back(tmp_path: Path) -> None:
    transaction = replaced(tmp_path / "out")
    exchange(transaction.folder, transaction.target)
    os.close(transaction._lock)  # as a killed process leaves it
    sweep(tmp_path, foreign_in)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["out", "out/new", "out/notes.md"]


def test_writers_that_cannot_all_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    begin, begun = threading.Thread.start, []

    def start(thread: threading.Thread) -> None:
        if len(begun) == 2:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError), Writers():
        pass
    assert len(begun) == 2 and not any(thread.is_alive() for thread in begun)


def test_a_folder_that_may_not_be_written_is_not_replaced(
    tiny_pair: TinyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != out)  # root may write everywhere
    with pytest.raises(OutputNotWritable):
        merge_to_folder(HALF, opened(tiny_pair), out)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("failing", ["mmap", "thread"])
def test_no_room_for_buffers_or_threads_is_lack_of_memory(
    failing: str, tiny_pair: TinyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, begun = threading.Thread.start, []

    def map_nothing(*given: object, **named: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("merge-"):
            if begun:
                raise RuntimeError("can't start new thread")
            begun.append(thread)
        begin(thread)

    if failing == "mmap":
        monkeypatch.setattr(mmap, "mmap", map_nothing)
    else:
        monkeypatch.setattr(threading.Thread, "start", start)
        monkeypatch.setattr(os, "cpu_count", lambda: 4)
    with pytest.raises(OutOfMemory):
        merge_to_folder(HALF, opened(tiny_pair), tmp_path / "out", device="cpu")
    assert len(begun) == (failing == "thread")
    assert not any(thread.is_alive() for thread in begun), "a worker goes on by itself"
    assert list(tmp_path.iterdir()) == []
