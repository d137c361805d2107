"""How both command lines end badly: a coded sentence with a number, the trace only in the log."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from merger import commands
from merger.errors import DiskFull
from merger.failures import coded, tell

NUMBER = re.compile(r"\(([0-9a-f]{8})\)$")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHISPER_MERGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_nobody_expected_is_a_number_for_the_person_and_a_trace_for_the_log(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> int:
        raise ZeroDivisionError("/home/somebody/secret")

    monkeypatch.setitem(commands.COMMANDS, "methods", broken)
    assert commands.main(["methods", "--json", "--lang", "en"]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("Error INTERNAL: The program has failed.")
    assert not {"Traceback", "ZeroDivision", "/home"} & set(re.findall(r"\w+|/home", out + err))
    found = NUMBER.search(err.strip())
    assert found and json.loads(out)["error"]["id"] == found[1]
    log = (cache / "errors.log").read_text(encoding="utf-8")
    assert f"error {found[1]}: INTERNAL" in log
    assert "ZeroDivisionError: /home/somebody/secret" in log and "Traceback" in log


def test_a_coded_error_has_its_number_in_the_log_that_was_named(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "own.log"
    logger = logging.getLogger("merger")
    before = list(logger.handlers)
    try:
        assert commands.main(["verify", str(tmp_path / "nothing"), "--lang", "ru", "--log", str(log)]) == 1
    finally:
        for handler in set(logger.handlers) - set(before):
            logger.removeHandler(handler)
            handler.close()
    found = NUMBER.search(capsys.readouterr().err.strip())
    assert found and f"error {found[1]}: " in log.read_text(encoding="utf-8")
    assert not (cache / "errors.log").exists()


def test_a_cache_that_cannot_be_written_is_no_second_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WHISPER_MERGE_CACHE", str(tmp_path / "file" / "cache"))
    assert tell(KeyboardInterrupt(), "en", False, logging.getLogger("test-failures")) == 130
    assert capsys.readouterr().err.startswith("Error CANCELLED:")


def test_members_of_the_tree_stay_what_they_are() -> None:
    error = DiskFull(needed="1", free="0")
    assert coded(error) is error
    assert [coded(one).code for one in (KeyboardInterrupt(), MemoryError(), KeyError("x"))] == [
        "CANCELLED", "OUT_OF_MEMORY", "INTERNAL",
    ]  # fmt: skip
