"""An uploaded zip of audio and a manifest, unpacked within limits."""

from __future__ import annotations

import shutil
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from evaluation.errors import BadManifest
from merger.bilingual import Text
from merger.errors import Fault

_CHUNK = 1 << 20


@dataclass(frozen=True)
class ArchiveLimits:
    """Counted on what comes out of the archive, not on what its directory claims. Sizes in bytes.

    `max_ratio` is unpacked : packed of one file, beyond the first megabyte; `max_packed` the archive itself;
    `max_manifest` and `max_lines` its manifest.
    """

    max_files: int = 5_000
    max_bytes: int = 2_000_000_000
    max_ratio: int = 100
    max_packed: int = 500_000_000
    max_manifest: int = 20_000_000
    max_lines: int = 20_000


def unpack(archive: Path, folder: Path, limits: ArchiveLimits | None = None) -> Path:
    """Extract into the new folder `folder`; returns the path of its manifest, the only *.jsonl file in it.

    Raises BadManifest for anything that is no plain zip of files with one manifest, and leaves nothing behind then.
    """
    limits = limits or ArchiveLimits()
    if archive.is_file() and archive.stat().st_size > limits.max_packed:
        size = limits.max_packed // 1_000_000
        raise _bad(f"архив больше {size} МБ", f"the archive is larger than {size} MB")
    folder.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as packed:
            _extract(packed, folder, limits)
        manifests = sorted(folder.rglob("*.jsonl"))
        if len(manifests) != 1:
            raise _bad(
                f"в архиве должен быть один манифест .jsonl, а их {len(manifests)}",
                f"the archive must hold one .jsonl manifest, it holds {len(manifests)}",
            )
        _check_manifest(manifests[0], limits)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError, OSError, ValueError) as error:
        shutil.rmtree(folder)
        raise _bad("архив не читается", "the archive cannot be read") from error
    except BaseException:
        shutil.rmtree(folder)
        raise
    return manifests[0]


def _extract(packed: zipfile.ZipFile, folder: Path, limits: ArchiveLimits) -> None:
    members = [member for member in packed.infolist() if not member.is_dir()]
    if len(members) > limits.max_files:
        raise _bad(
            f"в архиве больше {limits.max_files} файлов", f"the archive holds more than {limits.max_files} files"
        )
    left = limits.max_bytes
    for member in members:
        target = folder / _safe(member)
        target.parent.mkdir(parents=True, exist_ok=True)
        most = _CHUNK + limits.max_ratio * member.compress_size
        with packed.open(member) as source, target.open("xb") as out:
            while chunk := source.read(_CHUNK):
                left -= len(chunk)
                most -= len(chunk)
                if left < 0:
                    size = limits.max_bytes // 1_000_000
                    raise _bad(f"в архиве больше {size} МБ", f"the archive unpacks to more than {size} MB")
                if most < 0:
                    raise _bad(
                        f"файл в архиве сжат сильнее, чем {limits.max_ratio} : 1",
                        f"a file in the archive is packed more than {limits.max_ratio} : 1",
                    )
                out.write(chunk)


def _check_manifest(manifest: Path, limits: ArchiveLimits) -> None:
    """Before it is read as a whole."""
    if manifest.stat().st_size > limits.max_manifest:
        size = limits.max_manifest // 1_000_000
        raise _bad(f"манифест больше {size} МБ", f"the manifest is larger than {size} MB")
    with manifest.open("rb") as file:
        lines = sum(1 for line in file if line.strip())
    if lines > limits.max_lines:
        count = limits.max_lines
        raise _bad(f"в манифесте больше {count} строк", f"the manifest has more than {count} lines")


def _safe(member: zipfile.ZipInfo) -> PurePosixPath:
    name = PurePosixPath(member.filename.replace("\\", "/"))
    mode = member.external_attr >> 16
    plain = not mode or stat.S_IFMT(mode) in {0, stat.S_IFREG}
    if name.is_absolute() or ".." in name.parts or not name.parts or ":" in name.parts[0] or not plain:
        raise _bad("в архиве есть недопустимое имя файла", "the archive holds a file name that is not accepted")
    return name


def _bad(ru: str, en: str) -> BadManifest:
    remedy = Text(
        "Запакуйте в zip папку с записями и одним манифестом .jsonl.",
        "Zip a folder with the recordings and one .jsonl manifest.",
    )
    return BadManifest(faults=[Fault(Text(f"{ru.capitalize()}.", f"{en.capitalize()}."), remedy)])
