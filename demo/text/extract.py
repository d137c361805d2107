"""Reads Debian packages without installing them and yields the running Russian text of the files that matter."""

import gzip
import html
import re
import struct
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

_BLOCK = re.compile(
    r"</?(?:p|para|title|item|li|h\d|td|th|tr|div|dt|dd|br|ul|ol|table|pre|section)\b[^>]*>", re.IGNORECASE
)


def read_html(data: bytes) -> Iterator[str]:
    """Paragraphs of an HTML page; scripts, styles and preformatted text are left out."""
    text = data.decode("utf-8", "replace")
    text = re.sub(r"<(script|style|pre|head)\b.*?</\1>", " ", text, flags=re.DOTALL | re.IGNORECASE)
    text = re.sub(r"\s+", " ", text)
    for block in _BLOCK.split(text):
        yield html.unescape(re.sub(r"<[^>]+>", "", block))


def read_mo(data: bytes) -> Iterator[str]:
    """Translations of a gettext catalogue (GNU gettext manual, "The Format of GNU MO Files")."""
    order = "<" if data[:4] == b"\xde\x12\x04\x95" else ">"
    count, _, table = struct.unpack_from(order + "3I", data, 8)
    for i in range(1, count):  # entry 0 is the header
        length, start = struct.unpack_from(order + "2I", data, table + 8 * i)
        for form in data[start : start + length].decode("utf-8", "replace").split("\0"):
            text = re.sub(r"\\n|\n", " ", form) if "\n\n" not in form else form
            yield re.sub(r"<[^>]+>|_\(|[_&](?=[А-Яа-яё])", "", html.unescape(text))


def read_qm(data: bytes) -> Iterator[str]:
    """Translations of a compiled Qt catalogue: the message section (0x69), tag 3, UTF-16 big-endian."""
    position = 16
    while position + 5 <= len(data):
        tag, size = struct.unpack_from(">BI", data, position)
        if tag == 0x69:
            yield from _qm_messages(data[position + 5 : position + 5 + size])
        position += 5 + size


def _qm_messages(section: bytes) -> Iterator[str]:
    position, end = 0, len(section)
    while position < end:
        tag = section[position]
        position += 1
        if tag == 1:
            continue
        if tag == 5:  # the obsolete hash of the source text
            position += 4
            continue
        (size,) = struct.unpack_from(">I", section, position)
        position += 4
        if size == 0xFFFFFFFF:
            continue
        if tag == 3:
            yield re.sub(
                r"<[^>]+>", " ", html.unescape(section[position : position + size].decode("utf-16-be", "replace"))
            )
        position += size


def read_man(data: bytes) -> Iterator[str]:
    """Paragraphs of a manual page; lines with requests end a paragraph, font escapes are removed."""
    paragraph: list[str] = []
    for line in data.decode("utf-8", "replace").splitlines():
        if line.startswith((".", "'")):
            yield " ".join(paragraph)
            paragraph = []
        else:
            paragraph.append(re.sub(r"\\f.|\\&|\\\(..|\\\[[^]]*\]|\\[-|^]", "", line))
    yield " ".join(paragraph)


def read_po(data: bytes) -> Iterator[str]:
    """Translations of a gettext source catalogue, its continued lines joined."""
    for entry in re.split(r"\n\s*\n", data.decode("utf-8", "replace")):
        _, _, translation = entry.partition("\nmsgstr ")
        yield "".join(re.findall(r'"(.*)"', translation)).replace("\\n", " ").replace('\\"', " ")


def read_text(data: bytes) -> Iterator[str]:
    """Paragraphs of a plain or lightly marked-up text, separated by empty lines."""
    for paragraph in re.split(r"\n\s*\n", data.decode("utf-8", "replace")):
        yield " ".join(re.sub(r"[`*]", "", paragraph).split())


READERS: dict[str, Callable[[bytes], Iterator[str]]] = {
    "html": read_html,
    "mo": read_mo,
    "qm": read_qm,
    "man": read_man,
    "po": read_po,
    "text": read_text,
}


def members(deb: Path, pattern: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files in the package ``deb`` whose name matches ``pattern``, gunzipped when need be."""
    wanted = re.compile(pattern)
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        for member in archive:
            if member.isfile() and wanted.search(member.name):
                file = archive.extractfile(member)
                data = file.read() if file else b""
                yield member.name, gzip.decompress(data) if member.name.endswith(".gz") else data
    if process.returncode:
        raise RuntimeError(f"dpkg-deb could not read {deb} (status {process.returncode})")
