"""The pins: every file has its hash, the three files agree, and no address of anybody's own index is in them."""

import re
from pathlib import Path

import pytest

from deploy.licences import LOCKS, PIN

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "requirements"
DIRECT = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;#]+)", re.MULTILINE)


def pins(path: Path) -> set[tuple[str, str]]:
    return {(name.lower().replace("_", "-"), version) for name, version in PIN.findall(path.read_text())}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_a_hash(lock: str) -> None:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", (FOLDER / f"{lock}.lock").read_text().split("make lock\n", 1)[1])
    assert len(blocks) > 80
    for block in blocks:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", block), block.split("\\")[0]


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_no_address_of_an_index(path: Path) -> None:
    assert not re.search(r"://|--index|--find-links|--extra|file:|\n/", path.read_text())


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_hold_the_tested_versions(lock: str) -> None:
    tested = pins(FOLDER / "versions.txt")
    assert {(name, version.removesuffix("+cpu")) for name, version in pins(FOLDER / f"{lock}.lock")} <= tested


@pytest.mark.parametrize(
    ("source", "pinned"),
    [
        ("requirements.txt", "cuda.lock"),
        ("requirements-dev.txt", "versions.txt"),
        ("requirements-cluster.txt", "versions.txt"),
    ],
)
def test_what_is_asked_for_is_what_is_pinned(source: str, pinned: str) -> None:
    asked = {(name.lower().replace("_", "-"), version) for name, version in DIRECT.findall((ROOT / source).read_text())}
    assert asked and asked <= pins(FOLDER / pinned)


def test_the_two_locks_differ_in_torch_only() -> None:
    cpu, cuda = (dict(pins(FOLDER / f"{lock}.lock")) for lock in ("cpu", "cuda"))
    assert cpu["torch"] == cuda["torch"] + "+cpu"
    assert set(cpu) < set(cuda)
    assert all(name.startswith(("nvidia-", "cuda-")) or name == "triton" for name in set(cuda) - set(cpu))
