"""Writes docs/licences.md: the licence of every package that is installed to run the app, from its own metadata.

    python -m deploy.licences [WHEELS]

What the locks name is listed. What is installed here is read here. What only other machines install (CUDA's libraries,
say) is taken from the document if it has that version already, otherwise from a wheel in the folder WHEELS (as
`pip download` leaves them), otherwise from the metadata that a package index keeps beside its wheels (PEP 658).
"""

import contextlib
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("cpu", "cuda")
DOCUMENT = ROOT / "docs" / "licences.md"
INDEX = "https://pypi.org/simple"
# The app runs on Linux and macOS; what is for browsers' Python alone is not installed anywhere.
PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)(?!.*sys_platform == 'emscripten')", re.MULTILINE)

ROW = re.compile(r"^\| ([\w.-]+) \| (\d\S*) \| ([^|]+) \| (?:always|with CUDA) \|$", re.MULTILINE)

# What classifiers and free texts mean, by the first pattern that is found in them.
NAMES = (
    (r"\bLGPL|Lesser General Public", "LGPL"),
    (r"\bAGPL|Affero", "AGPL"),
    (r"\bGPL|GNU General Public", "GPL"),
    (r"\bMPL|Mozilla Public", "MPL-2.0"),
    (r"NVIDIA|Proprietary", "LicenseRef-NVIDIA-Proprietary"),
    (r"Apache", "Apache-2.0"),
    (r"\bBSD", "BSD"),
    (r"\bMIT\b", "MIT"),
    (r"\bISC\b", "ISC"),
    (r"Python Software Foundation|\bPSF", "PSF-2.0"),
    (r"\bZlib\b|zlib", "Zlib"),
    (r"Unlicense", "Unlicense"),
    (r"CC0", "CC0-1.0"),
)
FREE = {
    "0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "HPND", "ISC",
    "LLVM-exception", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib",
}  # fmt: skip

# Packages under, or with libraries under, a licence that asks for more than to be named: each with the reason it is
# there and what follows from it. Whatever is not free and not in here fails the tests.
NAMED = {
    "num2words": "LGPL-2.1: imported as it is, unchanged; whoever passes the app on passes its licence on with it.",
    "av": (
        "The wheel brings FFmpeg, which calls itself LGPL-3.0 (avcodec_license) and is linked with libx264 and libx265 "
        "(GPL-2.0 or later): take that part for GPL. The app uses it unchanged, for m4a, webm and video files only; "
        "whoever passes on an image with this wheel passes on that part under the GPL."
    ),
    "soundfile": "The wheel brings libsndfile (LGPL-2.1) as a shared library that can be replaced.",
    "soxr": "LGPL-2.1: the resampler, linked into the package's own extension module.",
    "numpy": "The wheel brings libgfortran and libquadmath: GPL-3.0 with the GCC runtime exception, LGPL-2.1.",
    "scipy": "The wheel brings libgfortran and libquadmath: GPL-3.0 with the GCC runtime exception, LGPL-2.1.",
    "scikit-learn": "The wheel brings libgomp: GPL-3.0 with the GCC runtime exception.",
    "pymorphy3-dicts-ru": "The package is MIT; the words come from OpenCorpora: CC BY-SA 3.0.",
    "certifi": "MPL-2.0: Mozilla's list of certificates, unchanged.",
    "tqdm": "MPL-2.0 and MIT, unchanged.",
    "orjson": "MPL-2.0 in part, unchanged.",
    "cuda-toolkit": "States none: NVIDIA's package without files, that names the versions of the others.",
}
NVIDIA = (
    "NVIDIA's own licence: the libraries may be used and passed on with an application, not changed. "
    "They come with the CUDA build of torch only."
)


@dataclass(frozen=True)
class Row:
    """A package of the locks. `licence` as its metadata says it, shortened to names where that is a text."""

    name: str
    version: str
    licence: str


def locked(lock: str) -> set[tuple[str, str]]:
    """(name, version) of everything in requirements/LOCK.lock; a package may be there twice, by Python version."""
    text = (ROOT / "requirements" / f"{lock}.lock").read_text(encoding="utf-8")
    return {(name.lower(), version) for name, version in PIN.findall(text)}


def licence_of(metadata: Message) -> str:
    """The licence that core metadata states: the expression, otherwise classifiers, otherwise a name in the text."""
    if expression := metadata.get("License-Expression"):
        return str(expression).strip()
    classifiers = [
        text.rsplit("::", 1)[-1].strip()
        for text in metadata.get_all("Classifier", [])
        if text.startswith("License ::") and text != "License :: OSI Approved"
    ]
    stated = str(metadata.get("License") or "").strip()
    if "\n" not in stated and stated.isascii() and 0 < len(stated) < 60 and not classifiers:
        return _short(stated) if stated not in FREE else stated
    names = list(dict.fromkeys(_short(text) for text in classifiers or [stated]))
    return " AND ".join(names)


def _short(text: str) -> str:
    return next((name for pattern, name in NAMES if re.search(pattern, text)), "none stated")


def parts(licence: str) -> set[str]:
    """The licences that an expression names."""
    return {word for word in re.split(r"\s+(?:AND|OR|WITH)\s+|[()]", licence) if word.strip()}


def from_index(name: str, version: str) -> Message:
    """Core metadata of a package that is not installed here, from the file that the index keeps beside a wheel."""
    request = urllib.request.Request(
        f"{INDEX}/{name}/", headers={"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.5"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        kind, body = answer.headers.get_content_type(), answer.read().decode()
    if kind.endswith("json"):
        addresses = [file["url"] for file in json.loads(body)["files"]]
    else:
        addresses = re.findall(r'href="([^"#]+)', body)
    stem = "[-_.]".join(map(re.escape, re.split("[-_.]", name)))
    wheel = re.compile(rf"/{stem}-{re.escape(version)}-[^/]*\.whl$", re.IGNORECASE)
    for address in filter(wheel.search, addresses):
        with (
            contextlib.suppress(urllib.error.HTTPError),  # not every wheel's metadata is kept
            urllib.request.urlopen(urllib.parse.urljoin(request.full_url, address) + ".metadata", timeout=30) as answer,
        ):
            return HeaderParser().parsestr(answer.read().decode())
    raise LookupError(f"the index keeps no metadata of {name} {version}")


def from_wheel(name: str, version: str, folder: Path | None) -> Message | None:
    """Core metadata out of a wheel in the folder; None if it is not there."""
    for path in folder.glob("*.whl") if folder else ():
        found_name, found_version, *_ = path.name.split("-")
        if (re.sub("[-_.]", "-", found_name).lower(), found_version) == (name, version):
            with zipfile.ZipFile(path) as wheel:
                member = next(one for one in wheel.namelist() if one.endswith(".dist-info/METADATA"))
                return HeaderParser().parsestr(wheel.read(member).decode())
    return None


def installed(name: str, version: str) -> Message | None:
    """Core metadata of an installed package; None if it is not installed in this version."""
    with contextlib.suppress(PackageNotFoundError):
        found = distribution(name)
        if found.version.removesuffix("+cpu") == version:
            return found.metadata  # type: ignore[return-value]
    return None


def documented() -> dict[tuple[str, str], str]:
    """(name, version) → licence, as the document has it now."""
    text = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else ""
    return {(name, version): licence for name, version, licence in ROW.findall(text)}


def rows(wheels: Path | None = None) -> list[Row]:
    every = {(name, version.removesuffix("+cpu")) for lock in LOCKS for name, version in locked(lock)}
    known, found = documented(), []
    for name, version in sorted(every):
        metadata = installed(name, version)
        if metadata is None and (name, version) in known:
            licence = known[name, version]
        else:
            licence = licence_of(metadata or from_wheel(name, version, wheels) or from_index(name, version))
        found.append(Row(name, version, licence))
    return found


def document(found: list[Row]) -> str:
    """docs/licences.md for these rows."""
    cpu = {name for name, _ in locked("cpu")}
    lines = [
        "# Licences of what is installed",
        "",
        "Made by `make licences` from the packages' own metadata; `tests/deploy/test_licences.py` keeps it true and",
        "fails for a licence that nobody looked at. whisper-merge itself is Apache-2.0. Published models and voices",
        "have their own licences; a merged model inherits its parents'.",
        "",
        "## To be named",
        "",
        *(f"- **{name}**: {reason}" for name, reason in sorted(NAMED.items())),
        f"- **CUDA libraries** (`nvidia-…`, `cuda-…`): {NVIDIA}",
        "",
        "## Every package",
        "",
        "| package | version | licence | installed |",
        "| --- | --- | --- | --- |",
        *(
            f"| {one.name} | {one.version} | {one.licence} | {'always' if one.name in cpu else 'with CUDA'} |"
            for one in found
        ),
        "",
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    DOCUMENT.write_text(document(rows(Path(arguments[0]) if arguments else None)), encoding="utf-8")
    print(f"{DOCUMENT.relative_to(ROOT)} is written")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
