"""Who comes in, how often somebody may ask, and how long a guesser stays out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from ui import login
from ui.buckets import Buckets, Lockouts
from ui.http_errors import LoginFailed, LoginLocked
from ui.login import Doorkeeper, Users, fits, hash_password
from ui.settings import ROOT, BadSetting, Settings


class Clock:
    """Seconds that pass only when they are told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def light_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "N", 16)


def test_a_bucket_gives_its_burst_and_then_its_rate(clock: Clock) -> None:
    buckets = Buckets(per_minute=60, burst=3, clock=clock)
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]
    assert buckets.take("b") == 0.0
    clock.now += 0.75
    assert buckets.take("a") == pytest.approx(0.25)
    clock.now += 0.25
    assert buckets.take("a") == 0.0
    clock.now += 3600  # no more than the burst is saved up
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]


def test_a_name_stays_locked_out_for_as_long_as_said(clock: Clock) -> None:
    lockouts = Lockouts(2, 60, clock)
    for _ in range(2):
        assert lockouts.left("a") == 0.0
        lockouts.failed("a")
    assert lockouts.left("a") == 60.0 and lockouts.left("a", times=4) == 0.0
    clock.now += 61
    assert lockouts.left("a") == 0.0
    lockouts.failed("a")  # after the time it begins anew
    assert lockouts.left("a") == 0.0
    lockouts.failed("a")
    lockouts.succeeded("a")
    assert lockouts.left("a") == 0.0


def test_passwords_are_hashed_with_salt_and_compared_whole() -> None:
    stored = hash_password("correct horse")
    assert stored.startswith("scrypt$16$8$3$") and "correct" not in stored
    assert stored != hash_password("correct horse")
    assert fits("correct horse", stored)
    for wrong in ("correct hors", "correct horse ", "", "Correct horse"):
        assert not fits(wrong, stored)
    for broken in ("", "scrypt$", "md5$16$8$3$AA==$AA==", "scrypt$x$8$3$AA==$AA=="):
        assert not fits("correct horse", broken)


def test_the_users_file_is_private_and_written_whole(tmp_path: Path) -> None:
    users = Users(tmp_path / "deep" / "users")
    users.put("редактор", "a long password")
    users.put("b@lab", "another password")
    assert (tmp_path / "deep" / "users").stat().st_mode & 0o777 == 0o600
    assert set(Users(tmp_path / "deep" / "users").hashes()) == {"редактор", "b@lab"}
    users.put("b@lab", None)
    assert set(users.hashes()) == {"редактор"}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["users"]
    long = "a long password"
    for name, password in (("a:b", long), ("", long), ("a", "short"), ("a", "x" * 2000), ("z", None)):
        with pytest.raises(BadSetting):
            users.put(name, password)


@pytest.fixture
def door(tmp_path: Path, clock: Clock) -> Doorkeeper:
    Users(tmp_path / "users").put("anna", "a long password")
    return Doorkeeper(Settings(login_file=tmp_path / "users", login_attempts=2, login_hours=1.0), clock)


def cookie(token: str) -> Headers:
    return Headers({"cookie": f"{login.COOKIE}={token}"})


def test_a_login_lasts_its_hours_and_ends_with_the_password(door: Doorkeeper, clock: Clock, tmp_path: Path) -> None:
    token = door.sign_in("anna", "a long password", "1.1.1.1")
    assert door.user({}, cookie(token)) == "anna"
    assert door.user({}, cookie(token[:-1])) is None and door.user({}, Headers({})) is None
    clock.now += 3601
    assert door.user({}, cookie(token)) is None
    token = door.sign_in("anna", "a long password", "1.1.1.1")
    Users(tmp_path / "users").put("anna", "yet another password")
    assert door.user({}, cookie(token)) is None
    token = door.sign_in("anna", "yet another password", "1.1.1.1")
    door.sign_out(cookie(token))
    assert door.user({}, cookie(token)) is None


def test_unknown_names_are_hashed_too_and_told_the_same(door: Doorkeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    real = login._scrypt
    monkeypatch.setattr(login, "_scrypt", lambda password, *rest: hashed.append(password) or real(password, *rest))
    told = []
    for name in ("anna", "nobody"):
        with pytest.raises(LoginFailed) as refused:
            door.sign_in(name, "wrong password", "1.1.1.1")
        told.append(str(refused.value))
    assert len(hashed) == 2 and told[0] == told[1]


def test_guessing_locks_the_guesser_out_and_nobody_else(door: Doorkeeper, clock: Clock) -> None:
    for _ in range(2):
        with pytest.raises(LoginFailed):
            door.sign_in("anna", "wrong password", "6.6.6.6")
    with pytest.raises(LoginLocked) as locked:
        door.sign_in("anna", "a long password", "6.6.6.6")
    assert locked.value.retry_after == 900
    assert door.sign_in("anna", "a long password", "1.1.1.1")
    clock.now += 901
    assert door.sign_in("anna", "a long password", "6.6.6.6")


def test_one_address_cannot_try_many_names_nor_many_addresses_one_name(door: Doorkeeper) -> None:
    for number in range(8):
        with pytest.raises(LoginFailed):
            door.sign_in(f"user{number}", "wrong password", "6.6.6.6")
    with pytest.raises(LoginLocked):
        door.sign_in("anna", "a long password", "6.6.6.6")
    for number in range(40):
        with pytest.raises(LoginFailed):
            door.sign_in("anna", "wrong password", f"7.7.7.{number}")
    with pytest.raises(LoginLocked):
        door.sign_in("anna", "a long password", "1.1.1.1")


def test_a_file_without_users_lets_nobody_start(tmp_path: Path) -> None:
    with pytest.raises(BadSetting):
        Doorkeeper(Settings(login_file=tmp_path / "none"))


def test_a_user_is_added_from_the_command_line(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "WHISPER_MERGE_LOGIN_FILE": str(tmp_path / "users")}
    command = [sys.executable, str(ROOT / "app.py"), "--add-user", "anna"]
    done = subprocess.run(
        command, env=environment, input="a long password\n", capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert fits("a long password", Users(tmp_path / "users").hashes()["anna"])
    assert "a long password" not in done.stdout + done.stderr
