"""Uploaded archives: what is inside comes out, what is hostile leaves nothing behind."""

import stat
import zipfile
from pathlib import Path

import pytest

from evaluation.archive import ArchiveLimits, unpack
from evaluation.errors import BadManifest
from evaluation.manifest import read_manifest
from tests.evaluation.trio import write_corpus


def pack(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return path


def test_a_corpus_comes_out_whole(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write_corpus(source, clips=3)
    archive = pack(tmp_path / "c.zip", {f"corpus/{p.name}": p.read_bytes() for p in source.iterdir()})
    manifest = unpack(archive, tmp_path / "out")
    assert [entry.id for entry in read_manifest(manifest, confined=True).entries] == ["clip0", "clip1", "clip2"]


@pytest.mark.parametrize(
    "files",
    [
        {"../evil.jsonl": b"{}"},
        {"/etc/evil.jsonl": b"{}"},
        {"a/../../evil.jsonl": b"{}"},
        {"C:\\evil.jsonl": b"{}"},
        {"..\\evil.jsonl": b"{}"},
        {},
        {"a.wav": b"x"},
        {"a.jsonl": b"", "b.jsonl": b""},
        {"m.jsonl": b"", "zeros": bytes(3_000_000)},
        {f"{n}.jsonl": b"" for n in range(7)},
    ],
)
def test_hostile_archives(tmp_path: Path, files: dict[str, bytes]) -> None:
    archive = pack(tmp_path / "c.zip", files)
    with pytest.raises(BadManifest):
        unpack(archive, tmp_path / "in" / "out", ArchiveLimits(max_files=5, max_bytes=2_000_000))
    assert {path.name for path in tmp_path.rglob("*")} == {"c.zip", "in"}


def test_links_are_refused(tmp_path: Path) -> None:
    member = zipfile.ZipInfo("m.jsonl")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as packed:
        packed.writestr(member, "/etc/passwd")
    with pytest.raises(BadManifest):
        unpack(tmp_path / "c.zip", tmp_path / "out")


@pytest.mark.parametrize("junk", [b"", b"PK\x03\x04 broken", b"<html>"])
def test_what_is_no_zip(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "c.zip").write_bytes(junk)
    with pytest.raises(BadManifest) as caught:
        unpack(tmp_path / "c.zip", tmp_path / "out")
    assert "zip" in caught.value.remedy("ru") and not (tmp_path / "out").exists()
