"""The parts of the guard by themselves: visitors, uploads, nonces, bodies, and what the log hides."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attack.registry import ATTACKS
from tests.ui.acting import awaited
from ui import redaction, request_bodies
from ui.http_errors import RequestTooLarge, RequestTooSlow, language
from ui.request_bodies import counted, objects, whole
from ui.security_headers import NONCE, SCRIPT, Nonces, headers
from ui.setting_kinds import Networks
from ui.settings import ROOT, Settings
from ui.uploads import Uploads
from ui.visitors import Visitors, cookie_line

PROXIES = Settings(trusted_proxies=Networks().read("", "10.0.0.0/8, ::1"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "address", "scheme"),
    [
        ("10.0.0.5", "203.0.113.7", "203.0.113.7", "https"),
        ("10.0.0.5", "6.6.6.6, 203.0.113.7", "203.0.113.7", "https"),  # the first was written by the client
        ("10.0.0.5", "203.0.113.7, 10.0.0.9", "203.0.113.7", "https"),
        ("10.0.0.5", "not an address", "10.0.0.5", "https"),
        ("::1", "2001:db8::1", "2001:db8::1", "https"),
        ("203.0.113.9", "1.2.3.4", "203.0.113.9", "http"),
    ],
)
def test_addresses_behind_proxies(peer: str, forwarded: str, address: str, scheme: str) -> None:
    lines = [(b"x-forwarded-for", forwarded.encode()), (b"x-forwarded-proto", b"https"), (b"X-Forwarded-Host", b"e")]
    scope: dict[str, Any] = {"client": (peer, 1), "scheme": "http", "headers": lines}
    Visitors(PROXIES).unwrap(scope)
    assert (scope["client"][0], scope["scheme"]) == (address, scheme)
    assert bool(scope["headers"]) == scope["whisper_merge.trusted_peer"] == (peer != "203.0.113.9")


def test_cookies_carry_the_flags_of_where_they_are() -> None:
    assert cookie_line("a", "b", "http", False, 9) == "a=b; Path=/; HttpOnly; Max-Age=9; SameSite=Lax"
    assert cookie_line("a", "b", "https", False, 9).endswith("Secure; SameSite=Lax")
    assert cookie_line("a", "b", "https", True, 9).endswith("Secure; SameSite=None; Partitioned")


def test_uploads_belong_to_who_sent_them(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    rooms = {uploads.room() for _ in range(5)}
    assert len(rooms) == 5 and all(room.stat().st_mode & 0o777 == 0o700 for room in rooms)
    uploads.sent("/x/a.wav", "anna")
    assert uploads.belongs("/x/a.wav", "anna")
    assert not uploads.belongs("/x/a.wav", "boris") and not uploads.belongs("/x/../x/a.wav", "anna")


def test_only_script_tags_get_the_nonce_plain_and_inside_json() -> None:
    page = b'<script>a</script><script src="x"><scripture>"\\u003cscript\\u003e\\u003c/script\\u003e"'
    wanted = b'<script nonce=n>a</script><script nonce=n src="x"><scripture>"\\u003cscript nonce=n\\u003e'
    assert SCRIPT.sub(rb"\g<0> nonce=n", page) == wanted + b'\\u003c/script\\u003e"'


def test_a_page_is_rewritten_and_nothing_else_is() -> None:
    async def ask(kind: bytes) -> list[dict[str, Any]]:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            lines = [(b"content-type", kind), (b"content-length", b"9")]
            await send({"type": "http.response.start", "status": 200, "headers": lines})
            await send({"type": "http.response.body", "body": b"<scr", "more_body": True})
            await send({"type": "http.response.body", "body": b"ipt>"})

        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await Nonces(app)({"type": "http", NONCE: "abc"}, None, send)  # type: ignore[arg-type]
        return sent

    page = awaited(ask(b"text/html; charset=utf-8"))
    assert page[1]["body"] == b"<script nonce=abc>" and (b"content-length", b"18") in page[0]["headers"]
    assert [one.get("body") for one in awaited(ask(b"text/plain"))] == [None, b"<scr", b"ipt>"]


def test_frames_are_for_spaces_only() -> None:
    lab, space = (dict(headers("n", public)) for public in (False, True))
    assert b"frame-ancestors 'self'" in lab[b"content-security-policy"] and lab[b"x-frame-options"] == b"SAMEORIGIN"
    assert b"https://huggingface.co" in space[b"content-security-policy"] and b"x-frame-options" not in space


def receiving(parts: list[bytes], pause: float = 0.0) -> Any:
    waiting = list(parts)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(pause)
        part = waiting.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(waiting)}

    return receive


def test_bodies_are_counted_and_must_not_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    assert awaited(whole(counted(receiving([b"ab", b"cd"]), 4))) == b"abcd"
    with pytest.raises(RequestTooLarge):
        awaited(whole(counted(receiving([b"ab", b"cde"]), 4)))
    monkeypatch.setattr(request_bodies, "IDLE_SECONDS", 0.01)
    with pytest.raises(RequestTooSlow):
        awaited(whole(counted(receiving([b"ab"], pause=5.0), 4)))


def test_every_object_inside_a_value_is_found() -> None:
    value = {"a": [{"b": {"c": 1}}, [[{"d": 2}]]], "e": "f"}
    assert sorted(sorted(one)[0] for one in objects(value)) == ["a", "b", "c", "d"]


def test_the_browsers_language_is_answered() -> None:
    assert [language(one) for one in ("", "en-US,ru;q=0.5", "de, ru;q=0.8", "fr")] == ["ru", "en", "ru", "ru"]


@pytest.fixture
def cleaned() -> Iterator[None]:
    environment = {"HF_TOKEN": "token-of-the-lab", "PATH": "/usr/bin", "DB_PASSWORD": "short"}
    end = redaction.install({**environment, "MY_SECRET": "s3cret-word"})
    yield
    end()


@pytest.mark.parametrize(
    ("said", "hidden"),
    [
        ("fetching with hf_abcdefghijklmnopqrst now", "hf_abcdefghijklmnopqrst"),
        ("Authorization: Bearer abc.def-123", "abc.def-123"),
        ("Authorization: Basic YW5uYTpwYXNzd29yZA==", "YW5uYTpwYXNzd29yZA=="),
        ("cookie: wm_login=AbC-123_x; wm_visitor=QQQ", "AbC-123_x"),
        ("token-of-the-lab was refused", "token-of-the-lab"),
        ("the word is s3cret-word", "s3cret-word"),
        ('{"password": "open sesame"}', "open"),
        ("username=a&password=letmein-please", "letmein-please"),
        ("anna:scrypt$32768$8$3$c2FsdA==$aGFzaA==", "aGFzaA=="),
        (f"'owner': '{'ab12' * 12}'", "ab12ab12"),
    ],
)
def test_the_log_hides_secrets(cleaned: None, caplog: pytest.LogCaptureFixture, said: str, hidden: str) -> None:
    logger = logging.getLogger("test.redaction")
    logger.warning("%s", said)
    try:
        raise ValueError(said)
    except ValueError:
        logger.exception("failed")
    assert hidden not in caplog.text and redaction.HIDDEN in caplog.text
    assert "ValueError" in caplog.text


def test_ordinary_words_stay(cleaned: None, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("test.redaction").warning("merged %d tensors in /usr/bin, short", 7)
    assert "merged 7 tensors in /usr/bin, short" in caplog.text


def test_every_attack_stands_in_the_documentation() -> None:
    from tests.attack import files, web  # noqa: F401 (they register their attacks)

    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    for one in ATTACKS.values():
        assert f"| {one.name} | {one.about} |" in page
