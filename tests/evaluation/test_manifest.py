"""Manifests and importers: what is wrong is named by line, all at once."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from evaluation.errors import BadManifest
from evaluation.importers import IMPORTERS, import_corpus
from evaluation.manifest import Manifest, read_manifest, tempo

NOISE = np.random.default_rng(0).normal(0, 0.1, 16_000)


def wav(path: Path, seconds: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.resize(NOISE, int(16_000 * seconds)), 16_000)
    return path


def manifest(folder: Path, *lines: Any) -> Path:
    path = folder / "m.jsonl"
    text = "\n".join(line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


def sentences(path: Path, lang: str = "en", **options: Any) -> list[str]:
    with pytest.raises(BadManifest) as caught:
        read_manifest(path, **options)
    return [fault.sentence.get(lang) for fault in caught.value.faults]


def test_a_full_line(tmp_path: Path) -> None:
    wav(tmp_path / "clips" / "a.wav", 2.0)
    fields = {
        "audio_filepath": "clips/a.wav", "text": "Привет", "duration": 2.0, "id": 7, "speaker": "s", "style": "formal",
        "dialect": "южный", "noise": "street", "snr_db": 10, "split": "test", "license": "CC0-1.0", "seen_by": ["a"],
    }  # fmt: skip
    read = read_manifest(manifest(tmp_path, fields))
    assert isinstance(read, Manifest) and len(read.sha256) == 64 and read.seconds == 2.0
    (entry,) = read.entries
    assert (entry.id, entry.block, entry.snr_db, entry.seen_by, entry.line) == ("7", "speaker:s", 10.0, ("a",), 1)
    assert entry.tempo == "slow"  # two syllables in two seconds


def test_blocks_and_defaults(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav"), wav(tmp_path / "b.wav")
    read = read_manifest(
        manifest(
            tmp_path,
            {"audio_filepath": "a.wav", "text": "", "recording": "r"},
            "",
            {"audio_filepath": "b.wav", "text": "да"},
        )
    )
    assert [(e.id, e.block, e.line) for e in read.entries] == [("a", "recording:r", 1), ("b", "clip:b", 3)]


@pytest.mark.parametrize(
    ("text", "seconds", "expected"),
    [
        ("мама мыла раму", 2.0, "slow"),
        ("мама мыла раму", 1.2, "normal"),
        ("мама мыла раму", 0.9, "fast"),
        ("23", 1.0, None),
    ],
)
def test_tempo(text: str, seconds: float, expected: str | None) -> None:
    assert tempo(text, seconds) == expected


def test_every_bad_line_is_named_at_once(tmp_path: Path) -> None:
    good = {"audio_filepath": str(wav(tmp_path / "good.wav")), "text": "да"}
    (tmp_path / "noise.wav").write_bytes(b"not audio")
    path = manifest(
        tmp_path,
        {**good, "id": "x"},
        "{broken",
        "[1]",
        {"audio_filepath": "good.wav"},
        {"text": "да"},
        {**good, "audio_filepath": "none.wav"},
        {**good, "audio_filepath": "noise.wav"},
        {**good, "duration": 2.0},
        {**good, "duration": "2"},
        {**good, "sha256": "0" * 64},
        {**good, "seen_by": "a"},
        {**good, "style": ["formal"]},
        {**good, "id": "x"},
    )
    found = sentences(path)
    assert [sentence.split(":")[0] for sentence in found] == [f"Manifest, line {n}" for n in range(2, 14)]
    expected = ["not JSON", "not a JSON object", "“text”", "“audio_filepath”", "no such file", "known format",
                "lasts 1.00 s", "not a number", "hash", "“seen_by”", "“style”", "used before"]  # fmt: skip
    for part, sentence in zip(expected, found, strict=True):
        assert part in sentence
    assert str(tmp_path) not in " ".join(found)
    assert all(sentence.startswith("Манифест, строка") for sentence in sentences(path, "ru"))
    read = read_manifest(path, skip_bad=True)
    assert [entry.id for entry in read.entries] == ["x"] and len(read.skipped) == 12


def test_empty_and_missing(tmp_path: Path) -> None:
    assert sentences(manifest(tmp_path, "")) == ["The manifest is empty."]
    assert sentences(tmp_path / "none.jsonl") == ["There is no file “none.jsonl”."]
    assert sentences(manifest(tmp_path, "{"), skip_bad=True)  # nothing usable is an error all the same


def test_confined_to_its_folder(tmp_path: Path) -> None:
    wav(tmp_path / "secret.wav")
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "link.wav").symlink_to(tmp_path / "secret.wav")
    lines = [
        {"audio_filepath": name, "text": "да"} for name in ("../secret.wav", str(tmp_path / "secret.wav"), "link.wav")
    ]
    assert len(sentences(manifest(inside, *lines), confined=True)) == 3
    assert len(read_manifest(manifest(inside, lines[0])).entries) == 1


def corpus(kind: str, root: Path) -> Path:
    """Two clips, «да» by speaker s1 and «нет, вот» by s2, in each published form."""
    match kind:
        case "common-voice":
            wav(root / "clips" / "a.wav"), wav(root / "clips" / "b.wav")
            table = 'client_id\tpath\tsentence\taccents\ns1\ta.wav\tда\t\ns2\tb.wav\t"нет, вот\tюжный\n'
            (root / "test.tsv").write_text(table.replace('"', ""), encoding="utf-8")
            return root / "test.tsv"
        case "csv":
            wav(root / "a.wav"), wav(root / "b.wav")
            (root / "x.csv").write_text('path,sentence,speaker\na.wav,да,s1\nb.wav,"нет, вот",s2\n', encoding="utf-8")
            return root / "x.csv"
        case "folder":
            for speaker, name, text in (("s1", "a", "да"), ("s2", "b", "нет, вот")):
                wav(root / speaker / f"{name}.wav").with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
            return root
        case _:
            wav(root / "test" / "a.wav"), wav(root / "test" / "b.wav")
            lines = [{"file_name": "a.wav", "transcription": "да", "speaker": "s1"},
                     {"file_name": "b.wav", "transcription": "нет, вот", "speaker": "s2"}]  # fmt: skip
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (root / "test" / "metadata.jsonl").write_text(text, encoding="utf-8")
            return root


@pytest.mark.parametrize("kind", IMPORTERS)
def test_importers(tmp_path: Path, kind: str) -> None:
    path, skipped = import_corpus(kind, corpus(kind, tmp_path), tmp_path / "out.jsonl", seen_by=("model-a",))
    entries = read_manifest(path).entries
    assert [(e.text, e.speaker, e.seen_by) for e in entries] == [
        ("да", "s1", ("model-a",)),
        ("нет, вот", "s2", ("model-a",)),
    ]
    assert skipped == []
    assert not Path(json.loads(path.read_text().splitlines()[0])["audio_filepath"]).is_absolute()


@pytest.mark.parametrize("kind", IMPORTERS)
def test_importers_name_what_they_cannot_read(tmp_path: Path, kind: str) -> None:
    source = corpus(kind, tmp_path)
    next(tmp_path.rglob("b.wav")).write_bytes(b"junk")
    with pytest.raises(BadManifest) as caught:
        import_corpus(kind, source, tmp_path / "out.jsonl")
    assert len(caught.value.faults) == 1 and "b.wav" in caught.value.sentence("ru")
    path, skipped = import_corpus(kind, source, tmp_path / "out.jsonl", skip_bad=True)
    assert len(read_manifest(path).entries) == 1 and len(skipped) == 1


def test_importers_without_data(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    (tmp_path / "t" / "data.parquet").write_bytes(b"PAR1")
    for kind, source in (("folder", tmp_path / "t"), ("csv", tmp_path / "x.csv"), ("csv", tmp_path / "no.csv"),
                         ("huggingface", tmp_path / "t")):  # fmt: skip
        with pytest.raises(BadManifest):
            import_corpus(kind, source, tmp_path / "out.jsonl")


def test_a_split_folder_names_the_split(tmp_path: Path) -> None:
    path, _ = import_corpus("huggingface", corpus("huggingface", tmp_path), tmp_path / "out.jsonl")
    assert [entry.split for entry in read_manifest(path).entries] == ["test", "test"]


@pytest.mark.parametrize(
    ("kind", "file", "content"),
    [
        ("huggingface", "test/metadata.jsonl", b'{"file_name": "a.wav", "text": "\xd0\xb4"}\n{"file_na\n[1]\n'),
        ("csv", "x.csv", b"path,sentence,snr_db\na.wav,x,10\nb.wav,y,loud\nb.wav,,\n"),
        ("common-voice", "test.tsv", b"client_id\tpath\tsentence\ns1\ta.wav\tx\ns2\t\ty\ns3\t\tz\n"),
        ("folder", "s2/b.txt", "нет".encode("cp1251")),
    ],
)
def test_rows_that_cannot_be_used_are_faults(tmp_path: Path, kind: str, file: str, content: bytes) -> None:
    """Each is named, and left out only where that was asked for; none ends the import by itself."""
    source = corpus(kind, tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(BadManifest) as caught:
        import_corpus(kind, source, tmp_path / "out.jsonl")
    assert len(caught.value.faults) == (1 if kind == "folder" else 2 if kind != "csv" else 1)
    path, skipped = import_corpus(kind, source, tmp_path / "out.jsonl", skip_bad=True)
    assert skipped == list(caught.value.faults) and read_manifest(path).entries[0].audio.name == "a.wav"


def test_a_csv_with_semicolons(tmp_path: Path) -> None:
    source = corpus("csv", tmp_path)
    source.write_text("path;sentence\na.wav;да, вот\n", encoding="utf-8")
    path, _ = import_corpus("csv", source, tmp_path / "out.jsonl")
    assert [entry.text for entry in read_manifest(path).entries] == ["да, вот"]


@pytest.mark.parametrize("content", ["нет".encode("cp1251"), None])
def test_tables_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    for kind, file in (("csv", "x.csv"), ("huggingface", "metadata.jsonl")):
        (tmp_path / file).unlink(missing_ok=True)
        if content is not None:
            (tmp_path / file).write_bytes(content)
        with pytest.raises(BadManifest):
            import_corpus(kind, tmp_path if kind == "huggingface" else tmp_path / file, tmp_path / "out.jsonl")
