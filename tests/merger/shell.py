"""The command line, run in the process of a test."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from merger.commands import main
from tests.conftest import TinyPair


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    """The program sets up its log once per process; tests run it many times."""
    handlers = list(logging.getLogger("merger").handlers)
    yield
    logging.getLogger("merger").handlers[:] = handlers


class Shell:
    """Runs the program in this process."""

    def __init__(self, pair: TinyPair, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.pair, self.out, self._capsys = pair, out, capsys

    def __call__(self, *words: str, a: Path | None = None, b: Path | None = None) -> tuple[int, str, str]:
        places = ["--model-a", str(a or self.pair.a), "--model-b", str(b or self.pair.b), "--output-dir", str(self.out)]
        status = main([*places, *words])
        shown = self._capsys.readouterr()
        assert "Traceback" not in shown.out + shown.err
        return status, shown.out, shown.err


@pytest.fixture
def shell(tiny_pair: TinyPair, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tiny_pair, tmp_path / "out", capsys)
