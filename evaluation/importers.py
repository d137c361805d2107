"""Other people's corpora as manifests: Common Voice, CSV, a folder of audio + txt, a Hugging Face "audiofolder"."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evaluation.audio import load_clip
from evaluation.errors import BadManifest
from evaluation.manifest import ManifestWriter
from merger.bilingual import Text
from merger.errors import Fault, WhisperMergeError

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".webm", ".aac"})
# Column names under which datasets publish the same thing; the first that is there is taken.
_AUDIO = ("audio_filepath", "file_name", "path", "audio", "file", "filename", "wav")
_TEXT = ("text", "sentence", "transcription", "transcript", "reference", "normalized_text")
_OPTIONAL = ("id", "speaker", "recording", "style", "dialect", "noise", "snr_db", "tempo", "split", "license")

Row = tuple[str, Path, str, dict[str, Any]]  # where it stands, audio, text, further fields
Rows = Iterator[Row | Fault]  # a fault in the place of a row that cannot be used


NOT_UTF8 = Text("файл не читается; нужен текст в UTF-8.", "the file cannot be read; text in UTF-8 is needed.")


def import_corpus(
    kind: str, source: str | Path, output: str | Path, *, seen_by: tuple[str, ...] = (), skip_bad: bool = False
) -> tuple[Path, list[Fault]]:
    """Write a manifest of `source` to `output`; returns its path and what was skipped.

    kind: a key of IMPORTERS. Every recording is decoded once, for its duration. Raises BadManifest with all bad rows.
    """
    writer, faults = ManifestWriter(Path(output)), list[Fault]()
    for row in IMPORTERS[kind](Path(source)):
        if isinstance(row, Fault):
            faults.append(row)
            continue
        where, audio, text, more = row
        try:
            clip = load_clip(audio)
        except WhisperMergeError as error:
            faults.append(_fault(where, Text(error.sentence("ru"), error.sentence("en"))))
            continue
        writer.add(audio, text, clip.seconds, **more, sha256=clip.sha256, seen_by=list(seen_by))
    if not writer.lines and not faults:
        faults.append(_fault(str(source), Text("записей не нашлось.", "no recordings were found.")))
    if faults and (not skip_bad or not writer.lines):
        raise BadManifest(faults=faults)
    return writer.write(), faults


def _fault(where: str, text: Text) -> Fault:
    return Fault(
        Text(f"{where}: {text.ru}", f"{where}: {text.en}"),
        Text("Исправьте данные или запустите с --skip-bad.", "Mend the data or run with --skip-bad."),
    )


def common_voice(tsv: Path) -> Rows:
    """A Common Voice TSV (test.tsv, …) with its folder `clips` beside it; the speaker is `client_id`."""
    for number, row in _table(tsv, "\t"):
        name = row.get("path", "")
        if not name or "sentence" not in row:
            yield _no_columns(f"{tsv.name}:{number}", row)
            continue
        more = {"id": Path(name).stem, "speaker": row.get("client_id"), "split": tsv.stem, "license": "CC0-1.0"}
        more["dialect"] = row.get("accents") or row.get("accent") or row.get("variant")
        yield f"{tsv.name}:{number}", tsv.parent / "clips" / name, row["sentence"], more


def table(path: Path) -> Rows:
    """A CSV (commas, or semicolons as Excel writes in Russia) or TSV with a header; paths are relative to it."""
    delimiter = "\t" if path.suffix == ".tsv" else ","
    for number, row in _table(path, delimiter):
        yield _row(f"{path.name}:{number}", path.parent, row)


def folder(path: Path) -> Rows:
    """Every recording that has a text file of the same name beside it; the subfolder is the speaker."""
    for audio in sorted(path.rglob("*")):
        text = audio.with_suffix(".txt")
        if audio.suffix.lower() in AUDIO_SUFFIXES and text.is_file():
            inside = audio.relative_to(path)
            speaker = inside.parts[0] if len(inside.parts) > 1 else None
            more = {"id": str(inside.with_suffix("")), "speaker": speaker}
            try:
                said = text.read_text(encoding="utf-8-sig").strip()
            except (OSError, UnicodeDecodeError):
                yield _fault(str(inside.with_suffix(".txt")), NOT_UTF8)
                continue
            yield str(inside), audio, said, more


def hugging_face(path: Path) -> Rows:
    """A dataset folder in the "audiofolder" layout: `metadata.csv` or `metadata.jsonl` in it or in its split
    folders."""
    found = sorted(p for name in ("metadata.csv", "metadata.jsonl") for p in path.rglob(name))
    if not found:
        packed = next((p for suffix in ("parquet", "arrow") for p in path.rglob(f"*.{suffix}")), None)
        why = Text("нет metadata.csv и metadata.jsonl.", "there is no metadata.csv or metadata.jsonl.")
        if packed is not None:
            why = Text(
                f"{packed.name}: записи упакованы; разложите их в «audiofolder» (файлы и metadata.csv).",
                f"{packed.name}: the recordings are packed; unpack them as an “audiofolder” (files and metadata.csv).",
            )
        raise BadManifest(faults=[_fault(path.name, why)])
    for metadata in found:
        split = metadata.parent.name if metadata.parent != path else None
        rows = _table(metadata, ",") if metadata.suffix == ".csv" else _json_lines(metadata)
        for number, row in rows:
            found_row = _row(f"{metadata.relative_to(path)}:{number}", metadata.parent, row)
            if not isinstance(found_row, Fault):
                found_row[3]["split"] = found_row[3]["split"] or split
            yield found_row


def _row(where: str, base: Path, row: Mapping[str, Any]) -> Row | Fault:
    audio = next((str(row[name]) for name in _AUDIO if row.get(name)), "")
    text = next((str(row[name]) for name in _TEXT if row.get(name) is not None), None)
    if not audio or text is None:
        return _no_columns(where, row)
    more = {name: row.get(name) for name in _OPTIONAL}
    try:
        more["snr_db"] = None if more["snr_db"] in (None, "") else float(more["snr_db"])
    except (TypeError, ValueError):
        return _fault(where, Text("«snr_db» — не число.", "“snr_db” is not a number."))
    return where, base / audio, text, more


def _no_columns(where: str, row: Mapping[str, Any]) -> Fault:
    columns = ", ".join(map(str, row))
    return _fault(
        where,
        Text(
            f"нет записи или текста (есть столбцы: {columns}).",
            f"no recording or no text (there are the columns: {columns}).",
        ),
    )


def _table(path: Path, delimiter: str) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            if delimiter == "," and "," not in head and ";" in head:
                delimiter = ";"
            # A TSV of Common Voice holds bare quotation marks in its sentences.
            plain = csv.DictReader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE)
            reader = plain if delimiter == "\t" else csv.DictReader(file, delimiter=delimiter)
            for number, row in enumerate(reader, start=2):
                yield number, {key: value or "" for key, value in row.items() if isinstance(key, str)}
    except (OSError, UnicodeDecodeError, csv.Error):
        raise BadManifest(faults=[_fault(path.name, NOT_UTF8)]) from None


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError):
        raise BadManifest(faults=[_fault(path.name, NOT_UTF8)]) from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError):
                fields = None
            yield number, fields if isinstance(fields, dict) else {}


IMPORTERS: dict[str, Callable[[Path], Rows]] = {
    "common-voice": common_voice,
    "csv": table,
    "folder": folder,
    "huggingface": hugging_face,
}
