"""Every error is told in both languages, stands in the documentation, and leaks nothing of the server."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from merger import commands
from merger.bilingual import Text
from tests.attack.files import leaks
from tests.attack.target import Target
from tests.ui.server import serving
from ui import errors, views
from ui.errors_table import errors as tree
from ui.errors_table import table
from ui.settings import ROOT, Settings
from ui.studio import _act
from ui.workshop import Workshop

ODD: list[Any] = [
    None, "", "x", "../../etc/passwd", "/etc/passwd", "a\0b", "${7*7}", "\u202e", -1, 1e308, True, [], {}, "я" * 3000,
]  # fmt: skip
OWNER = "o" * 32


def test_the_page_of_errors_is_the_tree() -> None:
    assert (ROOT / "docs" / "errors.md").read_text(encoding="utf-8") == table()


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.code)
def test_every_error_speaks_both_languages(kind: type) -> None:
    for text in (kind.sentence_text, kind.remedy_text):
        assert isinstance(text, Text) and text.ru and text.en
        assert set(_braces(text.ru)) == set(_braces(text.en))
    assert kind.code == kind.code.upper() and kind.__doc__


def _braces(text: str) -> Iterator[str]:
    return (part.split("}")[0] for part in text.split("{")[1:])


def test_a_report_has_an_id_that_the_log_has_too(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ZeroDivisionError("secret inside")
    except ZeroDivisionError as error:
        told = errors.report(error)
    assert told["code"] == "INTERNAL" and "secret" not in json.dumps(told)
    assert set(told["sentence"]) == set(told["remedy"]) == {"ru", "en"}
    (record,) = caplog.records
    assert told["id"] in record.getMessage() and record.exc_info and record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize("name", sorted((views.load(), views.ACTIONS)[1]))
def test_no_action_of_the_page_leaks_anything(workshop: Workshop, name: str) -> None:
    act = _act(workshop)
    keys = ("id", "path", "name", "ref", "role", "text", "key", "value", "recipe", "preset", "method", "file", "clips")
    payloads = [*ODD, *(dict.fromkeys(keys, value) for value in ODD), {"recipe": {"method": "ties", "parameters": 7}}]
    for payload in payloads:
        answer = act({"owner": OWNER, "action": name, "payload": payload, "known": {}})
        told = json.dumps(answer, ensure_ascii=False, default=str)
        given = json.dumps(payload, ensure_ascii=False)
        assert leaks(told.replace("/etc/passwd", "")) == [], (given[:100], told[:500])


@pytest.fixture(scope="module")
def served(demo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    root = tmp_path_factory.mktemp("fuzz")
    settings = Settings(
        data=root / "data", export_root=root / "exports", demo_models=demo_folder / "models",
        samples=demo_folder / "samples", device="cpu", hub=False, request_burst=10_000,
    )  # fmt: skip
    with serving(settings) as (address, _):
        yield Target(address)


@pytest.mark.parametrize(
    ("endpoint", "count"), [("methods", 0), ("merge", 4), ("compare", 6), ("export", 5), ("status", 1)]
)
def test_no_endpoint_leaks_anything(served: Target, endpoint: str, count: int) -> None:
    person = served.person()
    lines = [[value] * count for value in ODD]
    lines += [[{"method": "direct"}, value, value, value, value, value][:count] for value in ODD]
    lines += [[], [1] * 9, {"a": 1}, None, "x"]  # type: ignore[list-item]
    for data in lines:
        told = person.call(endpoint, data)
        assert leaks(told.replace("/etc/passwd", "")) == [], (str(data)[:100], told[:500])
        assert "complete" in told or '"error"' in told or not told, told[:300]


def test_no_address_leaks_anything(served: Target) -> None:
    person = served.person()
    paths = ("/", "/config", "/nothing", "/gradio_api/info", "/gradio_api/queue/data", "/gradio_api/heartbeat/x y",
             "/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/component_server/", "/gradio_api/cancel",
             "/gradio_api/call/nothing", "/gradio_api/call/merge", "/studio/clips/a/b/c.wav", "/studio/login",
             "/login")  # fmt: skip
    bodies = (b"", b"{", b"[]", b"{}", b"\x00\xff", b'{"data": 7, "session_hash": "x", "fn_index": 99}',
              b'{"event_id": 1, "fn_index": "x", "session_hash": "x"}', b"--x\r\n\r\n--x--", b"a=b")  # fmt: skip
    kinds = ("application/json", "multipart/form-data; boundary=x", "multipart/form-data", "text/plain", "x")
    for path, body, kind in itertools.product(paths, bodies, kinds):
        reply = person.ask("POST", path, {"Content-Type": kind}, body)
        assert leaks(reply.text) == [], (path, body, reply.text[:500])
        assert reply.status < 400 or reply.code not in {"", "INTERNAL"}, (path, body, kind, reply.text[:300])
    for path in paths:
        for query in ("", "?session_hash=%00", "?x=" + "y" * 5000, "?page=../../x"):
            reply = person.ask("GET", path.replace(" ", "%20") + query)
            assert leaks(reply.text) == [], (path, query, reply.text[:500])


LINES = [
    ["merge"], ["nonsense"], ["--method"], ["--method", "nonsense"], ["verify", "/nowhere"],
    ["verify"], ["explain", "x", "y"], ["explain", "../..", "~nobody"], ["--lang", "de"], ["--ties-density", "nan"],
    ["--method", "ties", "--model-a", "x", "--model-b", "y", "--output-dir", "/proc/x"], ["methods", "--what"],
    ["--log", "/proc/nothing/x"], ["verify", "x" * 5000], ["explain", "x" * 5000, "y"],
]  # fmt: skip


@pytest.mark.parametrize("line", LINES, ids=lambda line: " ".join(line)[:40])
def test_the_merging_command_line_ends_with_a_code(
    line: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WHISPER_MERGE_CACHE", str(tmp_path))
    for lang in ([], ["--lang", "en"]):
        assert commands.main([*line, *lang]) in {1, 2}
        out, err = capsys.readouterr()
        assert leaks((out + err).replace(str(tmp_path), "")) == []
        assert err.startswith(("Ошибка ", "Error ")) and "INTERNAL" not in err, err


@pytest.mark.parametrize(
    "line",
    [["nonsense"], ["score", "/nowhere"], ["import", "x", "y", "z"], ["who"], ["report", "/nowhere"],
     ["/etc/passwd", "--output", "x"], ["score", "x" * 5000], ["--output"]],
    ids=lambda line: " ".join(line)[:30],
)  # fmt: skip
def test_the_evaluating_command_line_ends_with_a_code(
    line: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from evaluation.__main__ import main

    monkeypatch.setenv("WHISPER_MERGE_CACHE", str(tmp_path))
    assert main(line) in {1, 2}
    out, err = capsys.readouterr()
    assert leaks((out + err).replace(str(tmp_path), "")) == []
    assert err.startswith(("Ошибка ", "Error ")) and "INTERNAL" not in err, err


@pytest.mark.parametrize(
    ("arguments", "environment", "code"),
    [
        (["--add-user", "x"], {}, "BAD_SETTING"),
        (["--add-user", "a b"], {"WHISPER_MERGE_LOGIN_FILE": "users"}, "BAD_SETTING"),
        ([], {"WHISPER_MERGE_LOGIN_FILE": "nothing-there"}, "BAD_SETTING"),
        ([], {"WHISPER_MERGE_PROFILE": "moon"}, "BAD_SETTING"),
        (["--profile", "space"], {"WHISPER_MERGE_MAX_CLIPS": "0"}, "BAD_SETTING"),
    ],
)
def test_the_app_ends_with_a_code(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], code: str
) -> None:
    own = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "WHISPER_MERGE_DATA": str(tmp_path / "data")}
    given = {**own, **environment}
    done = subprocess.run(
        [sys.executable, str(ROOT / "app.py"), *arguments], env=given, cwd=tmp_path, input="a long password\n",
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and f" {code}: " in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr
