"""Every attack against really started servers: a lab without a login, with one, behind a proxy, and a Space."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.attack import files, web
from tests.attack.registry import ATTACKS, NotHere
from tests.attack.target import Target
from tests.conftest import TinyPair
from tests.ui.conftest import demo_folder
from tests.ui.server import serving
from ui.login import Users
from ui.setting_kinds import Networks
from ui.settings import Settings

__all__ = ["demo_folder", "files", "web"]

Planted = tuple[Path, dict[str, str]]  # the root, and what is in it
LOGIN = ("редактор", "correct horse battery")


@dataclass
class Proof:
    """A pickle that makes a file when it is loaded."""

    path: str

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


@pytest.fixture(scope="module")
def planted(tiny_pair: TinyPair, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """(model root, what is in it): a pickled model, a link to a folder outside, a folder whose weights are a link."""
    root, outside = tmp_path_factory.mktemp("roots"), tmp_path_factory.mktemp("outside")
    shutil.copytree(tiny_pair.b, outside / "private")
    proof = outside / "the-pickle-has-run"
    (root / "pickled").mkdir()
    shutil.copy(tiny_pair.b / "config.json", root / "pickled")
    (root / "pickled" / "pytorch_model.bin").write_bytes(pickle.dumps(Proof(str(proof))))
    (root / "link").symlink_to(outside / "private")
    (root / "weights").mkdir()
    for file in tiny_pair.b.iterdir():
        place = root / "weights" / file.name
        place.symlink_to(outside / "private" / file.name) if file.suffix == ".safetensors" else shutil.copy(file, place)
    (root / "config").mkdir()
    for file in tiny_pair.b.iterdir():
        place = root / "config" / file.name
        place.symlink_to("/etc/passwd") if file.name == "config.json" else shutil.copy(file, place)
    return root, {"pickle": "pickled", "pickle_proof": str(proof), "links": "link,weights,config"}


@pytest.fixture(scope="module")
def base(demo_folder: Path, planted: Planted) -> Settings:
    return Settings(
        demo_models=demo_folder / "models", samples=demo_folder / "samples", model_roots=(planted[0],), device="cpu",
        hub=False, max_upload_mb=2, max_archive_mb=2, max_audio_seconds=60.0,
    )  # fmt: skip


def at(settings: Settings, folder: Path, **changes: object) -> Settings:
    return replace(settings, data=folder / "data", export_root=folder / "exports", **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def lab(base: Settings, planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    settings = at(base, tmp_path_factory.mktemp("lab"), request_burst=10_000, max_streams=12)
    more = {"upload_limit": "2000000", "hosts_checked": "1", "streams": "12"}
    with serving(settings) as (address, _):
        yield Target(address, {**planted[1], **more})


@pytest.fixture(scope="module")
def locked(base: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("locked")
    Users(folder / "users").put(*LOGIN)
    with serving(at(base, folder, login_file=folder / "users")) as (address, _):
        yield Target(address, login=("%D1%80%D0%B5%D0%B4%D0%B0%D0%BA%D1%82%D0%BE%D1%80", "correct+horse+battery"))


@pytest.fixture(scope="module")
def behind_proxy(base: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    settings = at(base, tmp_path_factory.mktemp("proxy"), login_header="X-Remote-User",
                  trusted_proxies=Networks().read("", "127.0.0.3"))  # fmt: skip
    with serving(settings) as (address, _):
        yield Target(address, {"login_header": "X-Remote-User"})


@pytest.fixture(scope="module")
def flooded(base: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    settings = at(base, tmp_path_factory.mktemp("flood"), address_request_burst=40, address_requests_per_minute=60)
    with serving(settings) as (address, _):
        yield Target(address, {"flood": "40"})


@pytest.mark.parametrize("name", list(ATTACKS))
def test_a_lab_holds(lab: Target, name: str) -> None:
    try:
        ATTACKS[name].run(lab)
    except NotHere as missing:
        assert name in OTHERWHERE, missing


OTHERWHERE = {"forged-cookie", "brute-force-login", "rate-flood"}  # tried against the servers below


WITH_LOGIN = ("forged-cookie", "cookie-flags", "proxy-header-spoof", "foreign-upload", "foreign-session",
              "open-redirect", "reflected-script", "brute-force-login")  # fmt: skip


@pytest.mark.parametrize("name", WITH_LOGIN)
def test_a_lab_with_a_login_holds(locked: Target, name: str) -> None:
    ATTACKS[name].run(locked)


def test_a_flood_is_held_off(flooded: Target) -> None:
    ATTACKS["rate-flood"].run(flooded)


def test_only_the_stated_proxy_names_users(behind_proxy: Target) -> None:
    ATTACKS["proxy-header-spoof"].run(behind_proxy)
    named = {"X-Remote-User": "editor"}
    assert behind_proxy.ask("GET", "/config", named, source="127.0.0.3").status == 200
    assert behind_proxy.ask("GET", "/config", source="127.0.0.3").code == "LOGIN_REQUIRED"
    odd = {"X-Remote-User": "a b;c"}
    assert behind_proxy.ask("GET", "/config", odd, source="127.0.0.3").code == "LOGIN_REQUIRED"
    for host in ("merge.lab.example", "evil.example"):
        told = {**named, "X-Forwarded-Host": "merge.lab.example", "Origin": f"https://{host}"}
        asked = behind_proxy.ask("POST", "/gradio_api/queue/join", told, b"{}", "127.0.0.3")
        assert (asked.code == "ORIGIN_NOT_ALLOWED") == (host == "evil.example")
    page = behind_proxy.ask("GET", "/", {**named, "X-Forwarded-Proto": "https"}, source="127.0.0.3")
    assert "Secure" in page.header("set-cookie")


def test_the_script_prints_a_list(lab: Target) -> None:
    command = [sys.executable, "-m", "tests.attack", lab.address]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=False,
                          env={**os.environ, "PYTHONPATH": str(root)})  # fmt: skip
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(lines) == len(ATTACKS) + 1
    assert lines[-1] == f"{len(ATTACKS)} attacks, 0 got through or failed"
