"""docs/licences.md says what is installed; a licence that nobody looked at fails."""

import site
from email.message import Message
from pathlib import Path

import pytest

from deploy import licences

DOCUMENTED = licences.documented()
PINS = set.union(*(licences.locked(lock) for lock in licences.LOCKS))
LOCKED = sorted({(name, version.removesuffix("+cpu")) for name, version in PINS})


def metadata(**headers: str | list[str]) -> Message:
    made = Message()
    for name, values in headers.items():
        for value in [values] if isinstance(values, str) else values:
            made[name.replace("_", "-")] = value
    return made


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (metadata(License_Expression="MIT AND BSD-3-Clause", License="other"), "MIT AND BSD-3-Clause"),
        (metadata(License="Apache 2.0"), "Apache-2.0"),
        (metadata(License="GNU Lesser General Public License v2 (LGPLv2)"), "LGPL"),
        (metadata(License="x" * 9000 + " GNU GENERAL PUBLIC LICENSE, GNU General Public"), "GPL"),
        (metadata(Classifier=["License :: OSI Approved", "License :: OSI Approved :: MIT License"]), "MIT"),
        (metadata(Classifier=["License :: OSI Approved :: BSD License"], License="whatever"), "BSD"),
        (metadata(), "none stated"),
        (metadata(License="ask me"), "none stated"),
    ],
)
def test_licence_of_metadata(stated: Message, expected: str) -> None:
    assert licences.licence_of(stated) == expected


def test_every_locked_package_is_listed_and_nothing_else() -> None:
    assert sorted(DOCUMENTED) == LOCKED


@pytest.mark.parametrize(("name", "version"), LOCKED)
def test_the_list_says_what_the_installed_metadata_say(name: str, version: str) -> None:
    found = licences.installed(name, version)
    if found is not None:
        assert DOCUMENTED[name, version] == licences.licence_of(found)


@pytest.mark.parametrize(("name", "version"), LOCKED)
def test_what_is_not_free_is_named_with_its_reason(name: str, version: str) -> None:
    unfree = licences.parts(DOCUMENTED[name, version]) - licences.FREE
    if unfree == {"LicenseRef-NVIDIA-Proprietary"}:
        assert name.startswith(("nvidia-", "cuda-"))
        return
    assert not unfree or name in licences.NAMED, f"{name} {version}: {unfree} is neither free nor named"
    assert "AGPL" not in unfree


def test_nothing_of_nvidia_is_installed_without_cuda() -> None:
    assert not [name for name, _ in licences.locked("cpu") if name.startswith(("nvidia-", "cuda-", "triton"))]


def test_copyleft_libraries_inside_wheels_are_named() -> None:
    """What the wheels bring in `NAME.libs`: each library that is known to be under (L)GPL has its package named."""
    copyleft = ("libx264", "libx265", "libavcodec", "libgfortran", "libgomp", "libquadmath", "libsndfile")
    found = {
        (folder.name.removesuffix(".libs").replace("_", "-"), library.name)
        for root in site.getsitepackages()
        for folder in Path(root).glob("*.libs")
        for library in folder.iterdir()
        if library.name.startswith(copyleft)
    }
    assert found, "the wheels of numpy and av bring such libraries"
    locked = {name for name, _ in LOCKED}
    assert {package for package, _ in found if package in locked} <= set(licences.NAMED)


def test_the_document_is_what_the_script_writes() -> None:
    rows = [licences.Row(name, version, licence) for (name, version), licence in sorted(DOCUMENTED.items())]
    assert licences.DOCUMENT.read_text(encoding="utf-8") == licences.document(rows)
